"""ChargE3Net, ready to predict densities without occupancies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from mlcharge_flows.density.density import Density
from mlcharge_flows.density.superposition import superpose
from mlcharge_flows.models.charge3net.config import DIFFERENCE, size_of
from mlcharge_flows.models.charge3net.network import ChargE3Net
from mlcharge_flows.models.charge3net.point_model import PointModel
from mlcharge_flows.models.checkpoint import CheckpointError
from mlcharge_flows.models.model import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.models.card import Card
    from mlcharge_flows.models.checkpoint import Checkpoint


class ChargE3NetModel:
    """A network with its card.

    Parameters
    ----------
    card
        What the network was trained on.
    points
        The network.
    atoms
        Free atom of each element; not needed by a network that gives the density itself.
    """

    def __init__(
        self, card: Card, points: PointModel, atoms: Mapping[str, PawDataset] | None = None
    ) -> None:
        self.card, self.points, self.atoms = card, points, atoms or {}

    def predict(
        self,
        crystal: Crystal,
        shape: tuple[int, int, int],
        progress: Callable[[int, int], None] | None = None,
    ) -> Density:
        """Predict the density of a neutral cell, without occupancies; see the protocol.

        NELECT is exact, see :func:`density_of`.

        Parameters
        ----------
        crystal
            The ions.
        shape
            Fine grid (NGXF, NGYF, NGZF).
        progress
            Told how many grid points are done, and how many there are.

        Raises
        ------
        ModelError
            The network's output is no density.
        """
        output = self.points.field(crystal).on_grid(shape, progress)
        start = None
        if self.points.network.config.target == "difference":
            start = superpose(crystal, self.atoms, shape).total
        total = density_of(output, start)
        predicted = Density(crystal, total, comment=self.card.name)
        if not (np.isfinite(predicted.n_electrons) and predicted.n_electrons > 0):
            raise ModelError(
                f"{self.card.name}: predicts {predicted.n_electrons:g} electrons; it is not "
                "trained for this crystal"
            )
        return predicted.scaled_to(self.card.n_electrons(crystal.symbols))


def density_of(output: np.ndarray, start: np.ndarray | None) -> np.ndarray:
    """Density that the network's output on a grid stands for, electrons/angstrom^3.

    A density is to be scaled to NELECT. A constant shift would correct the number of electrons,
    but no wave that has a Hartree energy, and would put electrons into vacuum. Of a difference,
    the electrons that it holds too many are taken from the superposition in proportion.

    Parameters
    ----------
    output
        On all points of the grid.
    start
        Superposition of atoms on the same points, if the output is the difference from it.
    """
    if start is None:
        return output
    change = DIFFERENCE * output
    return start * (1 - change.sum() / start.sum()) + change


def load(checkpoint: Checkpoint) -> ChargE3NetModel:
    """Build the model of a checkpoint, on a GPU where there is one.

    Raises
    ------
    CheckpointError
        Its weights do not fit its card, or it lacks the free atoms that it corrects.
    """
    card = checkpoint.card
    try:
        network = ChargE3Net.of(size_of(**card.config), checkpoint.weights)
    except ValueError as error:
        raise CheckpointError(f"{card.name}: its weights do not fit its card ({error})") from None
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = ChargE3NetModel(card, PointModel(network.to(device)), checkpoint.atoms)
    if network.config.target == "difference" and not card.paw.keys() <= checkpoint.atoms.keys():
        raise CheckpointError(f"{card.name}: lacks free atoms to correct")
    return model
