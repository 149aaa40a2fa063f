"""The orbital model, ready to predict complete starts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from mlcharge_flows.density.superposition import superpose
from mlcharge_flows.models.checkpoint import network_of
from mlcharge_flows.models.model import ModelError
from mlcharge_flows.models.orbital.config import OrbitalConfig
from mlcharge_flows.models.orbital.network import OrbitalNetwork
from mlcharge_flows.models.orbital.occupancies import BEYOND
from mlcharge_flows.models.orbital.plane_waves import PlaneWaves

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.density.density import Density
    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.models.card import Card
    from mlcharge_flows.models.checkpoint import Checkpoint


class OrbitalModel:
    """Superposition of atoms, plus orbitals whose coefficients a network predicts.

    Parameters
    ----------
    card
        What the network was trained on.
    network
        Trained weights.
    atoms
        Free atom of each element.
    """

    def __init__(
        self, card: Card, network: OrbitalNetwork, atoms: Mapping[str, PawDataset]
    ) -> None:
        self.card = card
        self.atoms = atoms
        self.network = network.eval().requires_grad_(requires_grad=False)

    def predict(self, crystal: Crystal, shape: tuple[int, int, int]) -> Density:
        """Predict the density of a neutral cell with its occupancies; see the protocol.

        NELECT is exact because the superposition of atoms integrates to it, the predicted
        monopoles cancel within the cell, and the wave G = 0 is not touched.
        """
        network = self.network
        start = superpose(crystal, self.atoms, shape)
        graph = network.graph(crystal)
        waves = PlaneWaves.of(crystal, start.shape, network.config.largest_wave, network.basis.lmax)
        phases = waves.phases(graph.positions)
        with torch.inference_mode():
            prediction = network(graph)[0]
            density = network.density(prediction, waves, phases)
            changes = network.records(density, prediction.ions, waves, phases)
            correction = waves.on_grid(density)
        total = start.total + correction.double().numpy()
        start = self._changed(start, changes)
        return replace(start, total=total, comment=self.card.name)

    def complete(self, density: Density) -> Density:
        """Give a density, whoever predicted it, the occupancies that belong to it.

        Raises
        ------
        ModelError
            They would change more than those of any ion that it was trained on.
        """
        network, crystal = self.network, density.crystal
        start = superpose(crystal, self.atoms, density.shape)
        waves = PlaneWaves.of(
            crystal, density.shape, network.config.largest_wave, network.basis.lmax
        )
        change = torch.fft.rfftn(torch.from_numpy(density.total - start.total), norm="forward")
        ions = self._species(crystal)
        with torch.inference_mode():
            phases = waves.phases(torch.from_numpy(crystal.positions))
            correction = (change.flatten()[waves.index] * crystal.volume).to(phases.dtype)
            changes = network.records(correction, ions, waves, phases)
        return replace(density, augmentation=self._changed(start, changes).augmentation)

    def with_element_means(self, density: Density) -> Density:
        """Give a density the mean converged occupancies of its elements."""
        start = superpose(density.crystal, self.atoms, density.shape)
        changes = self.network.occupancies.means(self._species(density.crystal))
        return replace(density, augmentation=self._changed(start, changes).augmentation)

    def _species(self, crystal: Crystal) -> torch.Tensor:
        elements = self.network.config.elements
        return torch.tensor([elements.index(symbol) for symbol in crystal.symbols])

    def _changed(self, start: Density, changes: Sequence[torch.Tensor]) -> Density:
        """Add corrections to the records of a superposition of atoms."""
        species = self._species(start.crystal).tolist()
        for ion, (index, change) in enumerate(zip(species, changes, strict=True)):
            if (excess := self.network.occupancies.excess(index, change)) > BEYOND:
                raise ModelError(
                    f"{self.card.name}: the density around ion {ion + 1} "
                    f"({start.crystal.symbols[ion]}) is none of a crystal: its occupancies would "
                    f"change {excess:.1f} times as much as any in training"
                )
        pairs = zip(start.augmentation or (), changes, strict=True)
        return replace(
            start, augmentation=tuple(record + change.double().numpy() for record, change in pairs)
        )


def load(checkpoint: Checkpoint) -> OrbitalModel:
    """Build the model of a checkpoint.

    Raises
    ------
    CheckpointError
        Its weights do not fit its card, or it lacks the free atoms.
    """
    network = network_of(
        checkpoint, lambda options: OrbitalNetwork(OrbitalConfig.model_validate(options))
    )
    return OrbitalModel(checkpoint.card, network, checkpoint.atoms)
