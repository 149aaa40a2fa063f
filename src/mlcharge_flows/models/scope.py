"""Earlier names of the checks of :class:`mlcharge_flows.models.domain.Domain`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.models.card import Card


def check_scope(
    card: Card, crystal: Crystal, shape: Sequence[int], n_electrons: float | None = None
) -> None:
    """Check elements, charge and geometry."""
    card.domain().check(crystal, shape, n_electrons)


def other_cutoff(card: Card, encut: float | None) -> str | None:
    """Warn of another plane-wave cutoff."""
    return card.domain().encut_warning(encut)


def check_paw(card: Card, run: Mapping[str, PawDataset]) -> None:
    """Check TITEL, ZVAL and channels."""
    for symbol, dataset in run.items():
        card.domain().check_dataset(symbol, dataset)


def check_atoms(card: Card, atoms: Mapping[str, PawDataset], run: Mapping[str, PawDataset]) -> None:
    """Check free atoms."""
    for symbol in atoms.keys() & run.keys():
        card.domain(atoms).check_dataset(symbol, run[symbol])
