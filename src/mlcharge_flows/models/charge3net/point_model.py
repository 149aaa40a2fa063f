"""A network that is asked for the density at points, or on grids, of any crystal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.models.charge3net.field import DensityField
from mlcharge_flows.models.model import ModelError

if TYPE_CHECKING:
    import numpy as np

    from mlcharge_flows.models.charge3net.network import ChargE3Net


class PointModel:
    """A trained network.

    Its density is the network's output as it is: close to the right number of electrons, but not
    normalized to it.

    Parameters
    ----------
    network
        Trained; it is put into evaluation.
    probes_per_chunk
        Points that the network sees at a time; by default as many as memory allows.
    """

    def __init__(self, network: ChargE3Net, probes_per_chunk: int | None = None) -> None:
        self.network = network.eval()
        self.probes_per_chunk = probes_per_chunk

    def density_at(self, structure: Any, points: np.ndarray) -> np.ndarray:
        """Density at points, in electrons per cubic angstrom, shape (n,).

        Parameters
        ----------
        structure
            Ordered pymatgen Structure, or :class:`~mlcharge_flows.density.crystal.Crystal`.
        points
            Cartesian, angstrom, shape (n, 3); anywhere, as the crystal is periodic.

        Raises
        ------
        ModelError
            A site is of no element.
        ValueError
            The points have another shape or are not finite.
        """
        return self.field(structure).at(points)

    def field(self, structure: Any) -> DensityField:
        """The density of a crystal as a function of position.

        Parameters
        ----------
        structure
            Ordered pymatgen Structure, or :class:`~mlcharge_flows.density.crystal.Crystal`.

        Raises
        ------
        ModelError
            A site is of no element.
        """
        if not isinstance(structure, Crystal):
            if not structure.is_ordered:
                raise ModelError("sites with several species: the model needs an ordered structure")
            structure = Crystal.from_structure(structure)
        return DensityField(self.network, structure, self.probes_per_chunk)
