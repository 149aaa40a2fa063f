"""Predictions of a calibrated model for a run, checked against what it was calibrated for."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from mlcharge_flows.density.density import superpose
from mlcharge_flows.models.calibration import (
    Calibration,
    CalibrationError,
    OtherDatasetError,
    read_calibration,
)
from mlcharge_flows.models.deformation import deformed_superposition
from mlcharge_flows.models.magnetization import predict_magnetization
from mlcharge_flows.models.model import ModelError
from mlcharge_flows.settings import SetupError
from mlcharge_flows.sources.magmom import keeps_density, magmom_of, predicted_spin
from mlcharge_flows.sources.other_datasets import CALIBRATE, carried_transfers
from mlcharge_flows.vasp.potcar import PotcarError

if TYPE_CHECKING:
    import numpy as np

    from mlcharge_flows.density.density import Density
    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.models.orbital.spin_prediction import SpinPrediction
    from mlcharge_flows.models.registry import LoadedModel
    from mlcharge_flows.sources.run_inputs import RunInputs


def calibration_of(path: str, loaded: LoadedModel) -> Calibration:
    """Read the calibration of a model, once per process.

    Parameters
    ----------
    path
        The file.
    loaded
        The model.

    Returns
    -------
    Calibration
        Of this checkpoint.

    Raises
    ------
    CalibrationError
        The file cannot be read, or is of another checkpoint.
    """
    try:
        stamp = Path(path).stat()
    except OSError as error:
        raise CalibrationError(f"{path}: cannot be read ({error.strerror or error})") from None
    found = _read(path, stamp.st_mtime_ns, stamp.st_size)
    if found.checkpoint != loaded.sha256:
        raise CalibrationError(
            f"{path}: is of another checkpoint ({found.model}, {found.checkpoint[:12]}) than the "
            f"model {loaded.card.name} ({loaded.sha256[:12]}): calibrate again"
        )
    return found


@lru_cache(maxsize=8)
def _read(path: str, mtime: int, size: int) -> Calibration:
    return read_calibration(path)


def predict_calibrated(
    loaded: LoadedModel, calibration: Calibration, inputs: RunInputs
) -> tuple[Density, tuple[str, ...]]:
    """Predict the converged density of a run: its own atoms, deformation and constants.

    With ISPIN = 2 and a calibration from spin-polarized runs, it has a magnetization. Elements that
    the model knows and the calibration does not get the deformation without constants, as in a run
    without a calibration. Occupancies of a model of the density alone follow from the density.

    Parameters
    ----------
    loaded
        The model.
    calibration
        Of this model.
    inputs
        Inputs of the run.

    Returns
    -------
    density : Density
        With augmentation occupancies of the run's PAW data sets, unless the model predicts none and
        the calibration has no response of an element.
    warnings : tuple of str
        What differs from the calibrated runs without being refused.

    Raises
    ------
    ModelError
        The run is not of the calibrated settings, or outside of the applicability domain, or the
        occupancies of an element without constants cannot be converted to its PAW data set.
    """
    card, crystal = loaded.card, inputs.crystal
    inputs, paw, bare = _checked(loaded, calibration, inputs)
    part = calibration.part_for(paw.keys() - bare.keys())
    prediction: SpinPrediction | None = None
    transfers: dict[str, np.ndarray] = {}
    if part == "with model":
        transfers = calibration.transfers()
        if card.occupancies != "none":
            transfers |= carried_transfers(loaded, bare)
        prediction = predicted_spin(loaded.model, inputs)
        deformation = (
            loaded.model.deformation(crystal, inputs.grid)
            if prediction is None
            else prediction.deformation
        )
        density = deformed_superposition(deformation, card.paw, paw, transfers)
    else:
        density = superpose(crystal, paw, inputs.grid, comment=f"{card.name}, constants alone")
    density, warnings = calibration.correct(density, part), _warnings(loaded, calibration, inputs)
    if density.augmentation is None and not calibration.without_response(paw):
        density = calibration.complete(density, superpose(crystal, paw, inputs.grid))
    if bare:
        warnings.append(
            f"the calibration has no runs with {', '.join(bare)}: these get the change that the "
            f"model {card.name} predicts without constants, expect it to save less until you "
            f"{CALIBRATE}"
        )
    if prediction is not None and (prediction.knows_all or not calibration.magnetization):
        known = calibration.magnetization, calibration.spin_basis
        density, lines = prediction.magnetized(density, paw, transfers, *known)
        warnings += lines
    elif calibration.magnetization and (magmom := magmom_of(inputs)) is not None:
        magnetization, lines = predict_magnetization(
            density,
            magmom,
            calibration.magnetization,
            paw,
            calibration.spin_basis,
            is_fixed=keeps_density(inputs),
        )
        density, warnings = replace(density, magnetization=magnetization), [*warnings, *lines]
    return density, tuple(warnings)


def complete_calibrated(
    loaded: LoadedModel, calibration: Calibration, inputs: RunInputs, density: Density
) -> tuple[Density, tuple[str, ...]]:
    """Give a density from any source the occupancies that follow from it.

    Parameters
    ----------
    loaded
        The model.
    calibration
        Of this model, with the response of all elements.
    inputs
        Inputs of the run.
    density
        On the grid of the run.

    Returns
    -------
    density : Density
        The same total, with augmentation occupancies of the run's PAW data sets.
    warnings : tuple of str
        What differs from the calibrated runs without being refused.

    Raises
    ------
    ModelError
        The run is not of the calibrated settings, or its occupancies would change much more than
        those of the runs.
    """
    inputs, paw, _ = _checked(loaded, calibration, inputs)
    atomic = superpose(inputs.crystal, paw, density.shape)
    completed = calibration.complete(density, atomic)
    return completed, tuple(_warnings(loaded, calibration, inputs))


def no_response(loaded: LoadedModel, calibration: Calibration, inputs: RunInputs) -> str | None:
    """Reason why a density of a run gets no occupancies from a calibration.

    Parameters
    ----------
    loaded
        The model.
    calibration
        Of this model.
    inputs
        Inputs of the run.

    Returns
    -------
    str or None
        None if there is a response of all elements.
    """
    missing = calibration.without_response(inputs.elements)
    if not missing:
        return None
    return (
        f"the model {loaded.card.name} predicts no occupancies, and its calibration has no runs "
        f"with {', '.join(missing)}: calibrate with runs of these, too, or take the occupancies of "
        "another model"
    )


def _checked(
    loaded: LoadedModel, calibration: Calibration, inputs: RunInputs
) -> tuple[RunInputs, dict[str, PawDataset], dict[str, PawDataset]]:
    """Refuse other runs than the calibrated; data sets, and those of elements without runs."""
    card = loaded.card
    if inputs.elements <= card.paw.keys():  # without a POTCAR: for the model's own data sets
        inputs = inputs.with_datasets({symbol: card.paw[symbol] for symbol in inputs.elements})
    try:
        paw = {symbol: inputs.datasets[symbol] for symbol in sorted(inputs.elements)}
    except PotcarError as error:
        raise ModelError(str(error)) from None
    except (SetupError, OSError, KeyError, ValueError):
        raise ModelError(
            f"the model {card.name} does not know all elements of the run, and without its POTCAR "
            "there are no free atoms to begin with"
        ) from None
    calibrated = calibration.elements.keys() | calibration.alone.keys()
    bare = {s: dataset for s, dataset in paw.items() if s in card.paw and s not in calibrated}
    # Constants on the superposition are needed of all elements.
    is_alone = calibration.part_for(paw.keys() - bare.keys()) == "alone"
    try:
        calibration.check({s: paw[s] for s in paw if is_alone or s not in bare}, inputs.encut)
    except OtherDatasetError as error:
        if inputs.has_potcar:
            raise
        raise OtherDatasetError(
            f"{error}, which was taken from the model because no POTCAR is known: give the POTCAR "
            "of the runs (--potcar)"
        ) from None
    domain = replace(loaded.domain, paw=paw)
    domain.check(inputs.crystal, inputs.grid, inputs.n_electrons)
    return inputs, paw, bare


def _warnings(loaded: LoadedModel, calibration: Calibration, inputs: RunInputs) -> list[str]:
    found = []
    if calibration.encut is None and (warning := loaded.domain.encut_warning(inputs.encut)):
        found.append(warning)
    prec = str(inputs.incar.get("PREC", "Normal")).capitalize()
    if calibration.prec not in (None, prec):
        found.append(f"calibrated with PREC = {calibration.prec}, the run has {prec}")
    return found
