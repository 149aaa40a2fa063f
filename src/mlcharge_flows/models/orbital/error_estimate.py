"""Expected error of the orbital model, and of SCDP: part of their checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import torch

from mlcharge_flows.models.checkpoint import CheckpointError
from mlcharge_flows.models.expected_error import ErrorRegression
from mlcharge_flows.models.orbital.familiarity import TrainingSites, familiarity

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from mlcharge_flows.models.checkpoint import Checkpoint
    from mlcharge_flows.models.expected_error import ExpectedError
    from mlcharge_flows.models.orbital.graph import Graph
    from mlcharge_flows.models.orbital.network import OrbitalNetwork

_SITES = "sites."


@dataclass(frozen=True, eq=False)
class ErrorEstimate:
    """Regression of the error on how well the training set covers a crystal.

    Parameters
    ----------
    sites
        Of the training set.
    regression
        Fitted to crystals that the network was not trained on.
    """

    sites: TrainingSites
    regression: ErrorRegression

    def of(
        self, network: OrbitalNetwork, graph: Graph, materials: Mapping[str, int]
    ) -> ExpectedError:
        """Error that the prediction for a crystal is expected to leave.

        Parameters
        ----------
        network
            The trained network.
        graph
            Of one crystal.
        materials
            Training materials with each element.

        Returns
        -------
        ExpectedError
            Median and spread.
        """
        return self.regression.predict(features_of(self.sites, network, graph, materials))

    def tensors(self) -> dict[str, torch.Tensor]:
        """All numbers, for a checkpoint.

        Returns
        -------
        dict of str to torch.Tensor
            In single precision where there are many.
        """
        arrays = {name: torch.tensor(value) for name, value in self.regression.arrays().items()}
        for name, value in vars(self.sites).items():
            arrays[_SITES + name] = torch.tensor(value, dtype=torch.float32)
        return arrays

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, torch.Tensor]) -> Self:
        """Make the estimate of a checkpoint.

        Parameters
        ----------
        tensors
            As :meth:`tensors` gives them.

        Returns
        -------
        ErrorEstimate
            The same, to the precision of the file.

        Raises
        ------
        KeyError
            A tensor is missing.
        """
        arrays = {name: tensor.double().numpy() for name, tensor in tensors.items()}
        sites = (arrays[_SITES + name] for name in ("mean", "projection", "landmarks"))
        return cls(TrainingSites(*sites), ErrorRegression.from_arrays(arrays))


def estimate_of(checkpoint: Checkpoint) -> ErrorEstimate | None:
    """Estimate that a checkpoint holds.

    Parameters
    ----------
    checkpoint
        Of an orbital model.

    Returns
    -------
    ErrorEstimate or None
        None if it holds none.

    Raises
    ------
    CheckpointError
        It is not complete.
    """
    if not checkpoint.estimate:
        return None
    try:
        return ErrorEstimate.from_tensors(checkpoint.estimate)
    except KeyError as error:
        raise CheckpointError(f"{checkpoint.card.name}: its estimate lacks {error}") from None


def scalars_of(network: OrbitalNetwork, graph: Graph) -> np.ndarray:
    """Scalars of the last interaction of the ions of one crystal.

    Parameters
    ----------
    network
        The trained network.
    graph
        Of one crystal; with moments, the scalars do not change if all of them are reversed.

    Returns
    -------
    numpy.ndarray
        Shape (ions, channels).
    """
    with torch.inference_mode():
        features, _ = network.spin_features(graph)
    found: np.ndarray = features[: graph.n_ions[0], 0].double().cpu().numpy()
    return found


def features_of(
    sites: TrainingSites, network: OrbitalNetwork, graph: Graph, materials: Mapping[str, int]
) -> np.ndarray:
    """Features of the regression of one crystal.

    Parameters
    ----------
    sites
        Of the training set.
    network
        The trained network.
    graph
        Of one crystal.
    materials
        Training materials with each element.

    Returns
    -------
    numpy.ndarray
        See :func:`.familiarity.familiarity`.
    """
    n_ions = graph.n_ions[0]
    symbols = [network.config.elements[index] for index in graph.species[:n_ions].tolist()]
    signs = None if graph.spins is None else graph.spins[:n_ions].cpu().numpy()
    return familiarity(sites, scalars_of(network, graph), symbols, materials, signs)
