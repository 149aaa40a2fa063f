"""ChargE3Net, ready to predict densities without occupancies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from mlcharge_flows.density.density import Density
from mlcharge_flows.models.charge3net.config import size_of
from mlcharge_flows.models.charge3net.network import ChargE3Net
from mlcharge_flows.models.charge3net.point_model import PointModel
from mlcharge_flows.models.checkpoint import CheckpointError
from mlcharge_flows.models.model import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlcharge_flows.density.crystal import Crystal
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
    """

    def __init__(self, card: Card, points: PointModel) -> None:
        self.card, self.points = card, points

    def predict(
        self,
        crystal: Crystal,
        shape: tuple[int, int, int],
        progress: Callable[[int, int], None] | None = None,
    ) -> Density:
        """Predict the density of a neutral cell, without occupancies; see the protocol.

        The network's output is scaled to NELECT. A constant shift would correct the number of
        electrons, but no wave that has a Hartree energy, and would put electrons into vacuum.

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
        total = self.points.field(crystal).on_grid(shape, progress)
        predicted = Density(crystal, total, comment=self.card.name)
        if not (np.isfinite(predicted.n_electrons) and predicted.n_electrons > 0):
            raise ModelError(
                f"{self.card.name}: predicts {predicted.n_electrons:g} electrons; it is not "
                "trained for this crystal"
            )
        return predicted.scaled_to(self.card.n_electrons(crystal.symbols))


def load(checkpoint: Checkpoint) -> ChargE3NetModel:
    """Build the model of a checkpoint, on a GPU where there is one.

    Raises
    ------
    CheckpointError
        Its weights do not fit its card.
    """
    card = checkpoint.card
    try:
        network = ChargE3Net.of(size_of(**card.config), checkpoint.weights)
    except ValueError as error:
        raise CheckpointError(f"{card.name}: its weights do not fit its card ({error})") from None
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return ChargE3NetModel(card, PointModel(network.to(device)))
