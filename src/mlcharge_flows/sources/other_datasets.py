r"""Predictions for runs whose PAW data sets are not those of the model, without a calibration.

The superposition of the run's own free atoms, plus the change of density and occupancies that the
model predicts. Occupancies of the model's data set A are expressed in the run's, B, by the partial
waves of both, :math:`\Delta D^B = T \, \Delta D^A \, T^t`. Channels that A does not have stay those
of the free atom. Both data sets need the same functional and free atom: the occupancies of the free
atom of A, converted by the same T, are to be those of the free atom of B, up to filled shells
that only one of them counts as valence.

See Also
--------
mlcharge_flows.density.partial_wave_transfer : T, and its reference.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from importlib.util import find_spec
from math import pi, sqrt
from typing import TYPE_CHECKING

from mlcharge_flows.density.augmentation import blocks
from mlcharge_flows.density.partial_wave_transfer import carry_occupancies, transfer_matrix
from mlcharge_flows.models.deformation import deformed_superposition, predict_spin_on_atoms
from mlcharge_flows.models.domain import OutOfDomainError
from mlcharge_flows.settings import Settings, SetupError
from mlcharge_flows.sources.magmom import predicted_spin
from mlcharge_flows.vasp.potcar import PotcarSearch

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np

    from mlcharge_flows.density.density import Density
    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.models.registry import LoadedModel
    from mlcharge_flows.sources.run_inputs import RunInputs

MAX_ATOM_DIFFERENCE = 0.1
"""Electrons of a channel by which the converted free atom may differ: 0.02 at most between the data
sets of GPAW and generated ones, one if the atoms are of different configurations."""
CALIBRATE = "calibrate with a few finished runs (mlcharge calibrate)"


def refusals(loaded: LoadedModel, datasets: Mapping[str, PawDataset]) -> dict[str, str]:
    """Elements of a run whose PAW data sets are not those of a model.

    Parameters
    ----------
    loaded
        The model.
    datasets
        PAW data set of each element of the run.

    Returns
    -------
    dict of str to str
        What differs, by element; empty if nothing does.
    """
    domain = loaded.domain
    found = {s: domain.dataset_refusal(s, datasets[s]) for s in sorted(datasets)}
    return {symbol: refusal for symbol, refusal in found.items() if refusal}


def carried_transfers(
    loaded: LoadedModel, datasets: Mapping[str, PawDataset]
) -> dict[str, np.ndarray]:
    """Expansions of the partial waves of a model's data sets in those of a run.

    Parameters
    ----------
    loaded
        The model; it knows all elements.
    datasets
        PAW data set of each element of the run.

    Returns
    -------
    dict of str to numpy.ndarray
        T of the elements whose data set is not the model's; channels of the run's data set times
        channels of the model's.

    Raises
    ------
    OutOfDomainError
        The occupancies of an element cannot be converted.
    """
    transfers = {}
    for symbol, refusal in refusals(loaded, datasets).items():
        try:
            transfers[symbol] = _transfer(loaded.card.paw[symbol], datasets[symbol])
        except LookupError as error:
            raise OutOfDomainError(f"{refusal}; {error.args[0]}") from None
    return transfers


def predict_on_other_datasets(
    loaded: LoadedModel, inputs: RunInputs
) -> tuple[Density, tuple[str, ...]]:
    """Predict the converged density of a run with other PAW data sets than the model's.

    Parameters
    ----------
    loaded
        The model; it knows all elements of the run.
    inputs
        Inputs of the run, with its POTCAR.

    Returns
    -------
    density : Density
        With augmentation occupancies of the run's PAW data sets, if the model predicts any.
    warnings : tuple of str
        Which occupancies were converted.

    Raises
    ------
    OutOfDomainError
        The occupancies of an element cannot be converted, or the run is outside of the
        applicability domain for another reason.
    ModelError
        The output of the network is no density.
    PotcarError
        The POTCAR is broken.
    """
    card, crystal = loaded.card, inputs.crystal
    paw = {symbol: inputs.datasets[symbol] for symbol in sorted(inputs.elements)}
    transfers = carried_transfers(loaded, paw)
    domain = replace(loaded.domain, paw=paw)
    domain.check(crystal, inputs.grid, inputs.n_electrons)
    lines: tuple[str, ...] = ()
    if (prediction := predicted_spin(loaded.model, inputs)) is not None:
        density, lines = predict_spin_on_atoms(prediction, card.paw, paw, transfers)
    else:
        density = deformed_superposition(
            loaded.model.deformation(crystal, inputs.grid), card.paw, paw, transfers
        )
    carried = (
        f"the PAW data sets of {', '.join(transfers)} are not those of the model {card.name}: its "
        "change of the occupancies is converted by the partial waves, expect it to save less "
        f"until you {CALIBRATE}"
    )
    cutoff = domain.encut_warning(inputs.encut)
    return density, (carried, *([cutoff] if cutoff else ()), *lines)


def _transfer(known: PawDataset, given: PawDataset) -> np.ndarray:
    """T from a model's data set to that of a run; LookupError with the reason if there is none."""
    if given.partial_waves is None or given.atomic_occupancies is None:
        raise LookupError(f"the run's has no partial waves to convert occupancies: {CALIBRATE}")
    own = _whole(known, known.fingerprint or "")
    if own.lexch != given.lexch:
        raise LookupError(f"it is of another functional ({own.lexch} and {given.lexch})")
    transfer = transfer_matrix(own, given)
    if not _is_same_atom(own, given, transfer):
        raise LookupError(
            f"their free atoms differ in more than filled shells of the core: {CALIBRATE}"
        )
    return transfer


def _is_same_atom(own: PawDataset, given: PawDataset, transfer: np.ndarray) -> bool:
    """Whether the converted free atom is the run's, up to filled shells in one of the cores."""
    assert own.atomic_occupancies is not None  # both are of POTCARs
    assert given.atomic_occupancies is not None
    free = carry_occupancies(own.atomic_occupancies, own.channels, given.channels, transfer)
    more = sqrt(4 * pi) * (given.atomic_occupancies - free)
    n_added = 0
    for block in blocks(given.channels):
        shell = 2 * (2 * given.channels[block.a] + 1) if block.a == block.b else 0
        electrons = more[block.offset]
        if block.L == 0 and abs(electrons) > MAX_ATOM_DIFFERENCE:
            if not shell or abs(electrons - shell) > MAX_ATOM_DIFFERENCE:
                return False
            n_added += shell
    left_out = [n for a, n in own.electrons_by_channel.items() if not transfer[:, a].any()]
    n_expected = (own.zval or 0.0) + n_added - sum(left_out)
    return abs(n_expected - (given.zval or 0.0)) <= MAX_ATOM_DIFFERENCE


@lru_cache(maxsize=128)
def _whole(dataset: PawDataset, fingerprint: str) -> PawDataset:
    """Data set of a model with its partial waves; the fingerprint tells equal TITELs apart."""
    if dataset.partial_waves is not None:
        return dataset
    settings = Settings()
    for folder in settings.dataset_folders:
        if found := _search(folder).find(dataset):
            return found
    if find_spec("gpaw") is not None and "GPAW" in dataset.titel:
        try:
            if found := _search(settings.exported_library).find(dataset):
                return found
        except SetupError:
            pass
    raise LookupError(
        "the model's data set is not available to convert occupancies: name the folder of its "
        "POTCARs in MLCHARGE_MODEL_POTCARS (for shipped models one that 'gpaw-vasp potcar FOLDER' "
        f"writes), or {CALIBRATE}"
    )


@lru_cache(maxsize=8)
def _search(folder: Path) -> PotcarSearch:
    return PotcarSearch([folder])
