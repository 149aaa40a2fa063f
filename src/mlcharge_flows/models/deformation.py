"""Predictions on the superposition of a run's own atoms, from the deformation of a model."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mlcharge_flows.density.augmentation import n_occupancies
from mlcharge_flows.density.density import Density, superpose
from mlcharge_flows.density.partial_wave_transfer import carry_occupancies
from mlcharge_flows.models.model import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.models.model import DensityModel
    from mlcharge_flows.models.orbital.spin_prediction import SpinPrediction


def deformed_superposition(
    deformation: Density,
    known: Mapping[str, PawDataset],
    atoms: Mapping[str, PawDataset],
    transfers: Mapping[str, np.ndarray] | None = None,
) -> Density:
    """Superposition of a run's own atoms, plus the deformation that a model predicts.

    Parameters
    ----------
    deformation
        Predicted change of density and occupancies, these of the model's PAW data sets.
    known
        The model's PAW data set of each element; their free atoms are not used.
    atoms
        The run's PAW data set of each element, with its free atom.
    transfers
        Expansion of the model's partial waves in those of the run, by element; without one,
        channels that are the same are taken to have the same partial waves; occupancies of an
        element of other channels stay those of its free atom.

    Returns
    -------
    Density
        With occupancies of the run's PAW data sets if the model predicts any.

    Raises
    ------
    ModelError
        The free atom of an element of the run is not known.
    """
    crystal, transfers = deformation.crystal, transfers or {}
    try:
        atomic = superpose(crystal, atoms, deformation.shape, deformation.comment)
    except ValueError as error:
        raise ModelError(str(error)) from None
    total = np.add(atomic.total, deformation.total, out=atomic.total)
    if deformation.augmentation is None or atomic.augmentation is None:
        return replace(atomic, total=total, augmentation=None)
    changed = tuple(
        values + carried(change, known[s].channels, atoms[s].channels, transfers.get(s))
        for s, values, change in zip(
            crystal.symbols, atomic.augmentation, deformation.augmentation, strict=True
        )
    )
    return replace(atomic, total=total, augmentation=changed)


def predict_spin_on_atoms(
    prediction: SpinPrediction,
    known: Mapping[str, PawDataset],
    atoms: Mapping[str, PawDataset],
    transfers: Mapping[str, np.ndarray] | None = None,
) -> tuple[Density, tuple[str, ...]]:
    """Density of a spin-polarized run, from the prediction of a model.

    Parameters
    ----------
    prediction
        Of the model.
    known
        The model's PAW data set of each element.
    atoms
        The run's PAW data set of each element, with its free atom.
    transfers
        Expansion of the model's partial waves in those of the run, by element.

    Returns
    -------
    density : Density
        With a magnetization, unless it would be what VASP superposes for MAGMOM.
    warnings : tuple of str
        A line for each element whose magnetization is that of MAGMOM, with the reason.

    Raises
    ------
    ModelError
        The free atom of an element of the run is not known.
    """
    density = deformed_superposition(prediction.deformation, known, atoms, transfers)
    return prediction.magnetized(density, atoms, transfers)


def predict_on_atoms(
    model: DensityModel,
    crystal: Crystal,
    shape: tuple[int, int, int],
    atoms: Mapping[str, PawDataset],
) -> Density:
    """Predict the density of a run whose PAW data sets are the model's.

    Parameters
    ----------
    model
        The model.
    crystal
        The ions.
    shape
        Fine grid (NGXF, NGYF, NGZF).
    atoms
        The run's PAW data set of each element.

    Returns
    -------
    Density
        On the superposition of the run's own atoms, if the model can deform any.

    Raises
    ------
    ModelError
        The output of the network is no density, or a free atom is not known.
    """
    if not model.deforms_any_atoms:
        return model.predict(crystal, shape)
    return deformed_superposition(model.deformation(crystal, shape), model.card.paw, atoms)


def carried(
    change: np.ndarray,
    channels: tuple[int, ...],
    target: tuple[int, ...],
    transfer: np.ndarray | None,
) -> np.ndarray:
    """Occupancies of one PAW data set in another one.

    Parameters
    ----------
    change
        Change of the occupancies of an ion, or those of up minus down.
    channels
        l of each channel of their data set.
    target
        l of each channel of the other one.
    transfer
        Expansion of the partial waves of the one in those of the other, if it is known.

    Returns
    -------
    numpy.ndarray
        Without a transfer the same if the channels are, else zero.
    """
    if transfer is not None:
        return carry_occupancies(change, channels, target, transfer)
    return change if channels == target else np.zeros(n_occupancies(target))
