"""ChargE3Net as a model of the density; it predicts no augmentation occupancies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.density import Density, superpose
from mlcharge_flows.models.charge3net.config import DIFFERENCE_SCALE, network_config
from mlcharge_flows.models.charge3net.field import DensityField
from mlcharge_flows.models.charge3net.network import ChargE3Net
from mlcharge_flows.models.checkpoint import CheckpointError
from mlcharge_flows.models.model import DensityModel, ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pymatgen.core.structure import Structure

    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.models.card import Card
    from mlcharge_flows.models.checkpoint import Checkpoint


class PointModel:
    """A trained network that evaluates the density at points or on grids of any crystal.

    Values are the unscaled output of the network: close to the right number of electrons, but not
    normalized to it.

    Parameters
    ----------
    network
        Trained; switched to evaluation mode.
    probes_per_chunk
        Points evaluated at a time; by default as many as memory allows.
    """

    def __init__(self, network: ChargE3Net, probes_per_chunk: int | None = None) -> None:
        self.network = network.eval()
        self.probes_per_chunk = probes_per_chunk

    def density_at(self, structure: Structure | Crystal, points: np.ndarray) -> np.ndarray:
        """Evaluate the density of a structure at points.

        Parameters
        ----------
        structure
            Ordered structure.
        points
            Cartesian, angstrom, shape (n, 3); anywhere, as the crystal is periodic.

        Returns
        -------
        numpy.ndarray
            Electrons/angstrom^3, shape (n,).

        Raises
        ------
        ModelError
            A site is of no element, or of several.
        ValueError
            The points have another shape or are not finite.
        """
        return self.field(structure).at(points)

    def field(self, structure: Structure | Crystal) -> DensityField:
        """The density of a structure as a function of position.

        Parameters
        ----------
        structure
            Ordered structure.

        Returns
        -------
        DensityField
            Evaluates the density; the features of the atoms are computed already.

        Raises
        ------
        ModelError
            A site is of no element, or of several.
        """
        if not isinstance(structure, Crystal):
            if not structure.is_ordered:
                raise ModelError("sites with several species: the model needs an ordered structure")
            structure = Crystal.from_structure(structure)
        return DensityField(self.network, structure, self.probes_per_chunk)


class ChargE3NetModel(DensityModel):
    """A trained network with its card.

    Parameters
    ----------
    card
        Card of the checkpoint.
    points
        The network.
    atoms
        Free atom of each element; needed only if the network predicts a difference.
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
        """Predict the density of a neutral cell, without augmentation occupancies.

        The density integrates to the valence electrons, see :func:`density_from_output`.

        Parameters
        ----------
        crystal
            The ions.
        shape
            Fine grid (NGXF, NGYF, NGZF).
        progress
            Called with the number of grid points done and of all.

        Returns
        -------
        Density
            Electrons/angstrom^3.

        Raises
        ------
        ModelError
            The output is not finite or holds no electrons.
        """
        output = self.points.field(crystal).on_grid(shape, progress)
        superposition = None
        if self.points.network.config.target == "difference":
            superposition = superpose(crystal, self.atoms, shape).total
        total = density_from_output(output, superposition)
        predicted = Density(crystal, total, comment=self.card.name)
        if not (np.isfinite(predicted.n_electrons) and predicted.n_electrons > 0):
            raise ModelError(
                f"{self.card.name}: predicts {predicted.n_electrons:g} electrons; it is not "
                "trained for this crystal"
            )
        return predicted.scaled_to(self.card.n_electrons(crystal.symbols))


def density_from_output(output: np.ndarray, superposition: np.ndarray | None) -> np.ndarray:
    """Density of the network's output on a grid.

    If the output is a density, the caller scales it to NELECT. If it is a difference, its integral
    is subtracted in proportion to the superposition, which puts no electrons into vacuum; a
    constant shift would.

    Parameters
    ----------
    output
        On all points of the grid, shape (nx, ny, nz).
    superposition
        Superposition of atoms on the same points, electrons/angstrom^3, if the output is the
        difference from it.

    Returns
    -------
    numpy.ndarray
        Electrons/angstrom^3, shape (nx, ny, nz).
    """
    if superposition is None:
        return output
    change = DIFFERENCE_SCALE * output
    density: np.ndarray = superposition * (1 - change.sum() / superposition.sum()) + change
    return density


def load(checkpoint: Checkpoint) -> ChargE3NetModel:
    """Build the model of a checkpoint, on a GPU if there is one.

    Parameters
    ----------
    checkpoint
        Card and weights.

    Returns
    -------
    ChargE3NetModel
        Ready to predict.

    Raises
    ------
    CheckpointError
        The weights do not fit the card, or free atoms are missing.
    """
    card = checkpoint.card
    try:
        network = ChargE3Net.of(network_config(**card.config), checkpoint.weights)
    except ValueError as error:
        raise CheckpointError(f"{card.name}: its weights do not fit its card ({error})") from None
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = ChargE3NetModel(card, PointModel(network.to(device)), checkpoint.atoms)
    if network.config.target == "difference" and not card.paw.keys() <= checkpoint.atoms.keys():
        raise CheckpointError(
            f"{card.name}: lacks free atoms; the network predicts a difference from them"
        )
    return model
