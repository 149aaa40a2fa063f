"""The image network, ready to predict densities without occupancies."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from mlcharge_flows.density.fourier import regrid
from mlcharge_flows.density.superposition import superpose
from mlcharge_flows.models.checkpoint import network_of
from mlcharge_flows.models.model import ModelError
from mlcharge_flows.models.superres.config import SuperResConfig
from mlcharge_flows.models.superres.image import Image
from mlcharge_flows.models.superres.network import SuperResNetwork
from mlcharge_flows.models.superres.symmetry import symmetrized

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.density.density import Density
    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.models.card import Card
    from mlcharge_flows.models.checkpoint import Checkpoint


class SuperResModel:
    """Superposition of atoms, corrected by a network that sees it as an image.

    Parameters
    ----------
    card
        What the network was trained on.
    network
        Trained weights.
    atoms
        Free atom of each element.
    symmetrise
        Whether predictions are averaged over the crystal's symmetry; as its options say if not
        given.
    """

    def __init__(
        self,
        card: Card,
        network: SuperResNetwork,
        atoms: Mapping[str, PawDataset],
        symmetrise: bool | None = None,
    ) -> None:
        self.card, self.atoms = card, atoms
        self.network = network.eval().requires_grad_(requires_grad=False)
        self.symmetrise = network.config.symmetrise if symmetrise is None else symmetrise

    def predict(self, crystal: Crystal, shape: tuple[int, int, int]) -> Density:
        """Predict the density of a neutral cell, without occupancies; see the protocol.

        NELECT is exact because the superposition of atoms integrates to it, the network keeps its
        electrons, and the mean of the correction, zero but for rounding, is taken off.

        Raises
        ------
        ModelError
            The network's output is no density.
        """
        start = superpose(crystal, self.atoms, shape)
        weight = self.network.last.weight
        image = Image.of(crystal, self.atoms, self.network.config).to(weight.device, weight.dtype)
        with torch.inference_mode():
            change = (self.network(image) - image.start)[0, 0].cpu().double().numpy()
        if not np.all(np.isfinite(change)):
            raise ModelError(
                f"{self.card.name}: predicts no density; it is not trained for this crystal"
            )
        correction = on_grid(change, start.shape)
        if self.symmetrise:
            correction = symmetrized(correction, crystal)
        return replace(
            start, total=start.total + correction, occupancies=None, comment=self.card.name
        )


def on_grid(change: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Carry a correction from the grid of the network to another one, without any electrons.

    Parameters
    ----------
    change
        Predicted less superposed density on the grid of the network.
    shape
        Points along each lattice vector.
    """
    return regrid(change - change.mean(), shape)


def load(checkpoint: Checkpoint) -> SuperResModel:
    """Build the model of a checkpoint, on a GPU where there is one.

    Raises
    ------
    CheckpointError
        Its weights do not fit its card, or it lacks the free atoms.
    """
    network = network_of(
        checkpoint, lambda options: SuperResNetwork(SuperResConfig.model_validate(options))
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return SuperResModel(checkpoint.card, network.to(device), checkpoint.atoms)
