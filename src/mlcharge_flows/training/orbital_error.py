"""Expected error of a trained orbital network, from its training and validation sets."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from mlcharge_flows.models.orbital.error_estimate import ErrorEstimate, features_of, scalars_of
from mlcharge_flows.models.orbital.familiarity import TrainingSites
from mlcharge_flows.training.error_fit import MIN_MATERIALS, cross_validated, fit_regression
from mlcharge_flows.training.orbital_spin import with_signs
from mlcharge_flows.training.task import FittedEstimate

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mlcharge_flows.models.orbital.network import OrbitalNetwork
    from mlcharge_flows.training.orbital_sample import OrbitalTrainingSample

PARTS = ("density_left", "occupancies_left", "magnetization_left", "spin_occupancies_left")
"""Errors of a crystal; the largest one is expected."""


def fit_estimate(
    network: OrbitalNetwork,
    training: Iterable[OrbitalTrainingSample],
    validation: Iterable[tuple[OrbitalTrainingSample, dict[str, float]]],
) -> FittedEstimate | None:
    """Fit the error that predictions of a trained network leave.

    Parameters
    ----------
    network
        The network, trained.
    training
        Its training set; errors on it are too small and are not used.
    validation
        Crystals outside of the training, with the errors of their predictions.

    Returns
    -------
    FittedEstimate or None
        None if there are too few crystals.
    """
    scalars, materials = [], Counter[str]()
    for sample in training:
        graph = with_signs(sample.graph, sample.spin, network)
        scalars.append(scalars_of(network, graph))
        materials.update(_elements(network, sample))
    # Crystals of other elements are refused, whatever their error.
    found = [one for one in validation if _elements(network, one[0]) <= materials.keys()]
    if len(found) < MIN_MATERIALS:
        return None
    sites = TrainingSites.of(np.concatenate(scalars))
    graphs = [with_signs(sample.graph, sample.spin, network) for sample, _ in found]
    features = np.array([features_of(sites, network, graph, materials) for graph in graphs])
    left = np.array([largest(errors) for _, errors in found])
    estimate = ErrorEstimate(sites, fit_regression(features, left))
    return FittedEstimate(estimate.tensors(), cross_validated(features, left))


def _elements(network: OrbitalNetwork, sample: OrbitalTrainingSample) -> set[str]:
    """Elements of a crystal."""
    species = sample.graph.species[: sample.graph.n_ions[0]].unique().tolist()
    return {network.config.elements[index] for index in species}


def largest(errors: dict[str, float]) -> float:
    """Largest part of the superposition's error that is left in a crystal.

    Parameters
    ----------
    errors
        By name; not a number where they do not apply.

    Returns
    -------
    float
        Of density, occupancies and magnetization.
    """
    values: Sequence[float] = [errors[name] for name in PARTS if name in errors]
    return float(np.nanmax(values))
