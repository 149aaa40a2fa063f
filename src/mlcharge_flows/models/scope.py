"""What a model is asked for, against what it knows: the refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlcharge_flows.models.model import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.models.card import Card

SAME_CUTOFF = 1.0
"""eV by which ENCUT may differ from that of the training without a word."""
SAME_CHARGE = 1e-6
"""Electrons by which NELECT may differ from that of neutral atoms."""


class OutOfScopeError(ModelError):
    """A prediction that a model refuses; one line that says why."""


def check_scope(
    card: Card,
    crystal: Crystal,
    shape: Sequence[int],
    n_electrons: float | None = None,
) -> None:
    """Refuse what a model cannot know: unknown elements, charge, distances, coarse grids.

    Parameters
    ----------
    card
        Card of the model.
    crystal
        The ions.
    shape
        Fine grid (NGXF, NGYF, NGZF).
    n_electrons
        NELECT of the run; None: the cell is neutral.

    Raises
    ------
    OutOfScopeError
        The model will not predict.
    """
    if unknown := sorted(set(crystal.symbols) - set(card.paw)):
        raise OutOfScopeError(
            f"the model {card.name} does not know {', '.join(unknown)}; it knows "
            f"{', '.join(card.elements)}"
        )
    neutral = card.n_electrons(crystal.symbols)
    if n_electrons is not None and abs(n_electrons - neutral) > SAME_CHARGE:
        raise OutOfScopeError(
            f"the cell is charged (NELECT = {n_electrons:g}, the atoms have {neutral:g} "
            f"electrons): the model {card.name} knows neutral cells only"
        )
    if defect := card.range.defect(crystal, shape):
        raise OutOfScopeError(f"outside what the model {card.name} was trained on: {defect}")


def other_cutoff(card: Card, encut: float | None) -> str | None:
    """Say that a run has another plane-wave cut-off than a model was trained with, if it has.

    The density that belongs to a cut-off is that model's to know; at another one a start is valid
    still, but removes less of the superposition's error.

    Parameters
    ----------
    card
        Card of the model.
    encut
        ENCUT of the run, eV; None if not known.
    """
    if encut is None or card.data.encut is None:
        return None
    low, high = card.data.encut
    if low - SAME_CUTOFF <= encut <= high + SAME_CUTOFF:
        return None
    return (
        f"the model {card.name} was trained at ENCUT = {card.data.cutoffs}, the run has "
        f"{encut:g} eV: expect it to save less"
    )


def check_paw(card: Card, run: Mapping[str, PawDataset]) -> None:
    """Refuse other PAW data sets than those that a model was trained with.

    Parameters
    ----------
    card
        Card of the model.
    run
        PAW data set of each element of the run.

    Raises
    ------
    OutOfScopeError
        Name, electrons or channels of a data set differ.
    """
    for symbol, own in run.items():
        known = card.paw[symbol]
        for name, trained, given in (
            ("TITEL", known.titel, own.titel),
            ("ZVAL", known.zval, own.zval),
            ("channels", known.channels, tuple(own.channels)),
        ):
            if trained != given:
                raise _other_data(card, symbol, f"{name} is {trained}, the run's is {given}")


def check_atoms(card: Card, atoms: Mapping[str, PawDataset], run: Mapping[str, PawDataset]) -> None:
    """Refuse other free atoms than those that a model was trained with.

    Parameters
    ----------
    card
        Card of the model.
    atoms
        Free atoms of its checkpoint; those that it lacks are not compared.
    run
        Free atom of each element of the run.

    Raises
    ------
    OutOfScopeError
        Density or occupancies of an atom differ.
    """
    for symbol in atoms.keys() & run.keys():
        if name := atoms[symbol].free_atom_difference(run[symbol]):
            raise _other_data(
                card, symbol, f"the {name} of its free atom differs, under the same TITEL"
            )


def _other_data(card: Card, symbol: str, difference: str) -> OutOfScopeError:
    return OutOfScopeError(
        f"the model {card.name} was trained with other PAW data for {symbol} "
        f"({card.paw_family}): {difference}"
    )
