"""The image network as a model of the density; it predicts no augmentation occupancies."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from mlcharge_flows.density.density import superpose
from mlcharge_flows.density.grid import GridSymmetry, regrid
from mlcharge_flows.models.checkpoint import network_of
from mlcharge_flows.models.model import DensityModel, ModelError
from mlcharge_flows.models.superres.config import SuperResConfig
from mlcharge_flows.models.superres.image import Image
from mlcharge_flows.models.superres.network import SuperResNetwork

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.density.density import Density
    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.models.card import Card
    from mlcharge_flows.models.checkpoint import Checkpoint


class SuperResModel(DensityModel):
    """Superposition of atoms, corrected by a convolutional network on its image.

    Parameters
    ----------
    card
        Card of the checkpoint.
    network
        Trained network.
    atoms
        Free atom of each element.
    symmetrize
        Whether predictions are averaged over the crystal's symmetry; by default as the options of
        the network say.
    """

    def __init__(
        self,
        card: Card,
        network: SuperResNetwork,
        atoms: Mapping[str, PawDataset],
        symmetrize: bool | None = None,
    ) -> None:
        self.card, self.atoms = card, atoms
        self.network = network.eval().requires_grad_(requires_grad=False)
        self.symmetrize = network.config.symmetrize if symmetrize is None else symmetrize

    def predict(self, crystal: Crystal, shape: tuple[int, int, int]) -> Density:
        """Predict the density of a neutral cell, without augmentation occupancies.

        It integrates to the valence electrons: the superposition of atoms does, the network keeps
        its number of electrons, and the mean of the correction, zero up to rounding, is subtracted.

        Parameters
        ----------
        crystal
            The ions.
        shape
            Fine grid (NGXF, NGYF, NGZF).

        Returns
        -------
        Density
            Electrons/angstrom^3.

        Raises
        ------
        ModelError
            The network's output is not finite.
        """
        superposition = superpose(crystal, self.atoms, shape)
        weight = self.network.last.weight
        image = Image.of(crystal, self.atoms, self.network.config).to(weight.device, weight.dtype)
        with torch.inference_mode():
            change = (self.network(image) - image.superposition)[0, 0].cpu().double().numpy()
        if not np.all(np.isfinite(change)):
            raise ModelError(
                f"{self.card.name}: predicts no density; it is not trained for this crystal"
            )
        correction = regrid_neutral(change, superposition.shape)
        if self.symmetrize:
            correction = GridSymmetry.of(crystal, shape).symmetrize(correction)
        total = superposition.total + correction
        return replace(superposition, total=total, augmentation=None, comment=self.card.name)


def regrid_neutral(change: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Regrid a correction of the density, and make its integral exactly zero.

    Parameters
    ----------
    change
        Predicted minus superposed density on the grid of the network, shape (nx, ny, nz).
    shape
        Points of the new grid along each lattice vector.

    Returns
    -------
    numpy.ndarray
        Correction on the new grid.
    """
    return regrid(change - change.mean(), shape)


def load(checkpoint: Checkpoint) -> SuperResModel:
    """Build the model of a checkpoint, on a GPU if there is one.

    Parameters
    ----------
    checkpoint
        Card, free atoms and weights.

    Returns
    -------
    SuperResModel
        Ready to predict.

    Raises
    ------
    CheckpointError
        The weights do not fit the card, or free atoms are missing.
    """
    network = network_of(
        checkpoint, lambda options: SuperResNetwork(SuperResConfig.model_validate(options))
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return SuperResModel(checkpoint.card, network.to(device), checkpoint.atoms)
