"""The orbital model: superposition of atoms, the network's change of it, and the occupancies."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Self

import torch
from typing_extensions import override

from mlcharge_flows.density.density import Density, superpose
from mlcharge_flows.models.checkpoint import network_of
from mlcharge_flows.models.model import DensityModel, ModelError
from mlcharge_flows.models.orbital.config import OrbitalConfig
from mlcharge_flows.models.orbital.error_estimate import ErrorEstimate, estimate_of
from mlcharge_flows.models.orbital.graph import Graph
from mlcharge_flows.models.orbital.network import OrbitalNetwork
from mlcharge_flows.models.orbital.spin_prediction import SpinPrediction

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.models.card import Card
    from mlcharge_flows.models.checkpoint import Checkpoint
    from mlcharge_flows.models.expected_error import ExpectedError
    from mlcharge_flows.models.orbital.expansion import Expansion
    from mlcharge_flows.models.orbital.fourier_box import FourierBox
    from mlcharge_flows.models.orbital.g_vectors import GVectors


class OrbitalModel(DensityModel):
    """Superposition of atoms plus Gaussian orbitals whose coefficients a network predicts.

    NELECT is exact because the superposition of atoms integrates to it, the predicted monopoles
    cancel within the cell, and the component G = 0 is not changed. A density is refused whose
    occupancies would change more than :data:`.augmentation_response.MAX_RELATIVE_CHANGE` times as
    much as those of any ion in training.

    Parameters
    ----------
    card
        What the network was trained on.
    network
        Trained weights.
    atoms
        Free atom of each element, as far as the checkpoint holds them.
    estimate
        Of the error that predictions leave, if there is one.
    """

    completes_densities = True
    deforms_any_atoms = True

    def __init__(
        self,
        card: Card,
        network: OrbitalNetwork,
        atoms: Mapping[str, PawDataset],
        estimate: ErrorEstimate | None = None,
    ) -> None:
        self.card = card
        self.estimate = estimate
        self.atoms = atoms
        self.network = network.eval().requires_grad_(requires_grad=False)
        self._on_device = self.network

    @override
    def to(self, device: torch.device | str) -> Self:
        """Evaluate the network on a device; its orbitals are summed on the CPU.

        Parameters
        ----------
        device
            Such as ``cpu`` or ``cuda``.

        Returns
        -------
        OrbitalModel
            The same model.
        """
        on_cpu = torch.device(device).type == "cpu"
        self._on_device = self.network if on_cpu else deepcopy(self.network).to(device)
        return self

    @override
    def predict(self, crystal: Crystal, shape: tuple[int, int, int]) -> Density:
        return self.predict_batch([crystal], [shape])[0]

    @override
    def predict_batch(
        self, crystals: Sequence[Crystal], shapes: Sequence[tuple[int, int, int]]
    ) -> list[Density]:
        every = zip(crystals, shapes, self._expansions(crystals), strict=True)
        return [self._predicted(*one) for one in every]

    def _predicted(
        self, crystal: Crystal, shape: tuple[int, int, int], sites: tuple[Expansion, torch.Tensor]
    ) -> Density:
        """Superposition of atoms and predicted change, by one transform to the grid."""
        g_vectors, density, changed = self._change(crystal, shape, sites)
        atomic = self._superposed(crystal, shape, change=g_vectors.planes(density))
        pairs = zip(atomic.augmentation or (), changed, strict=True)
        augmentation = tuple(values + change for values, change in pairs)
        return replace(atomic, augmentation=augmentation, comment=self.card.name)

    @property
    def predicts_magnetization(self) -> bool:  # type: ignore[override]
        """Whether the network was trained with spin."""
        return self.network.spin is not None

    @override
    def predict_spin(
        self,
        crystal: Crystal,
        shape: tuple[int, int, int],
        magmom: np.ndarray,
        is_fixed: bool = False,
    ) -> SpinPrediction:
        network, spin = self.network, self.network.spin
        if spin is None:
            raise ModelError(f"the model {self.card.name} predicts no magnetizations")
        expansion, positions = self._expanded([self._graph(crystal, magmom)])[0]
        deformation = self._deformation(crystal, shape, (expansion, positions))
        return SpinPrediction.of(
            deformation, magmom, is_fixed, self.card, network, expansion, positions
        )

    def _graph(self, crystal: Crystal, magmom: np.ndarray | None) -> Graph:
        """Graph of a crystal, with the signs of its moments if the network knows of them."""
        graph, spin = self.network.graph(crystal), self.network.spin
        if spin is None or magmom is None:
            return graph
        return replace(graph, spins=spin.signs(graph.species, torch.from_numpy(magmom)))

    @override
    def expected_error(
        self, crystal: Crystal, magmom: np.ndarray | None = None
    ) -> ExpectedError | None:
        if self.estimate is None:
            return None
        materials = self.card.data.per_element
        return self.estimate.of(self.network, self._graph(crystal, magmom), materials)

    @override
    def deformation(self, crystal: Crystal, shape: tuple[int, int, int]) -> Density:
        return self._deformation(crystal, shape, self._expansions([crystal])[0])

    def _expansions(self, crystals: Sequence[Crystal]) -> list[tuple[Expansion, torch.Tensor]]:
        """Expansion and positions of the sites of each crystal, by one pass of the network."""
        return self._expanded([self.network.graph(crystal) for crystal in crystals])

    def _expanded(self, graphs: Sequence[Graph]) -> list[tuple[Expansion, torch.Tensor]]:
        together = graphs[0] if len(graphs) == 1 else Graph.batch(graphs)
        device = next(self._on_device.parameters()).device
        with torch.inference_mode():
            found = self._on_device(together if device.type == "cpu" else together.to(device))
        return [(one.to("cpu"), graph.positions) for one, graph in zip(found, graphs, strict=True)]

    def _deformation(
        self, crystal: Crystal, shape: tuple[int, int, int], sites: tuple[Expansion, torch.Tensor]
    ) -> Density:
        g_vectors, density, changed = self._change(crystal, shape, sites)
        with torch.inference_mode():
            total = g_vectors.to_grid(density).double().numpy()
        return Density(crystal, total, changed, comment=self.card.name)

    def _change(
        self, crystal: Crystal, shape: tuple[int, int, int], sites: tuple[Expansion, torch.Tensor]
    ) -> tuple[GVectors | FourierBox, torch.Tensor, tuple[np.ndarray, ...]]:
        """G vectors, Fourier coefficients of the predicted change, and that of occupancies."""
        network, (expansion, positions) = self.network, sites
        g_vectors = network.g_vectors(crystal, shape, len(positions))
        with torch.inference_mode():
            phases = g_vectors.phases(positions)
            density = network.density(expansion, g_vectors, phases)
            changes = network.occupancy_changes(density, expansion.ions, g_vectors, phases)
        return g_vectors, density, network.augmentation.checked(crystal, changes, self.card.name)

    @override
    def complete(self, density: Density, atoms: Mapping[str, PawDataset] | None = None) -> Density:
        atomic = self._superposed(density.crystal, density.shape, atoms)
        response, g_max = self.network.augmentation, self.network.config.g_max
        return response.complete(density, atomic, self.card.name, g_max)

    @override
    def with_element_means(
        self, density: Density, atoms: Mapping[str, PawDataset] | None = None
    ) -> Density:
        atomic = self._superposed(density.crystal, density.shape, atoms)
        response = self.network.augmentation
        means = response.element_means(response.species(density.crystal))
        return response.changed(density, atomic, means, self.card.name)

    def _superposed(
        self,
        crystal: Crystal,
        shape: tuple[int, int, int],
        atoms: Mapping[str, PawDataset] | None = None,
        change: Iterable[np.ndarray | None] | None = None,
    ) -> Density:
        try:
            return superpose(crystal, atoms or self.atoms, shape, change=change)
        except ValueError as error:
            raise ModelError(f"the model {self.card.name} holds no free atoms: {error}") from None


def load(checkpoint: Checkpoint) -> OrbitalModel:
    """Build the model of a checkpoint.

    Parameters
    ----------
    checkpoint
        With the free atom of every element, or its fingerprint.

    Returns
    -------
    OrbitalModel
        Ready to predict.

    Raises
    ------
    CheckpointError
        Its weights do not fit its card, or free atoms are missing.
    """
    network = network_of(
        checkpoint, lambda options: OrbitalNetwork(OrbitalConfig.model_validate(options))
    )
    estimate = estimate_of(checkpoint)
    return OrbitalModel(checkpoint.card, network, checkpoint.card.free_atoms, estimate)
