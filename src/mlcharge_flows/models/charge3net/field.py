"""The predicted density of one crystal as a function of position."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.models.charge3net.chunks import chunks
from mlcharge_flows.models.charge3net.graph import Edges
from mlcharge_flows.models.charge3net.neighbors import Surroundings
from mlcharge_flows.models.charge3net.species import atomic_numbers
from mlcharge_flows.models.orbits import representatives

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlcharge_flows.models.charge3net.neighbors import Neighbors
    from mlcharge_flows.models.charge3net.network import ChargE3Net

BLOCK = 20_000
"""Points whose neighbors are held at a time."""


class DensityField:
    """The density of a crystal; features of its atoms are computed once.

    The network's output as it is: it does not integrate to a number of electrons.

    Parameters
    ----------
    network
        In evaluation, on any device and in any precision.
    crystal
        The ions.
    probes_per_chunk
        Points that the network sees at a time; by default as many as memory allows.

    Raises
    ------
    ModelError
        An ion is of no known element.
    """

    def __init__(
        self, network: ChargE3Net, crystal: Crystal, probes_per_chunk: int | None = None
    ) -> None:
        self.network, self.crystal = network, crystal
        self.probes_per_chunk = probes_per_chunk
        weights = next(network.parameters())
        self._device, self._dtype = weights.device, weights.dtype
        # The original rounds coordinates to single precision; so trained, so asked.
        lattice = _rounded(crystal.lattice)
        places = _rounded(crystal.positions @ crystal.lattice)
        rounded = Crystal(lattice, crystal.symbols, places @ np.linalg.inv(lattice))
        self._surroundings = Surroundings(rounded, network.config.cutoff)
        with torch.inference_mode():
            self._atoms = network.atom_model(
                torch.as_tensor(atomic_numbers(crystal.symbols), device=self._device),
                self._edges(self._surroundings.of_atoms(), None),
            )

    def at(
        self, points: np.ndarray, progress: Callable[[int, int], None] | None = None
    ) -> np.ndarray:
        """Density at points, electrons per cubic angstrom, shape (n,).

        Parameters
        ----------
        points
            Cartesian, angstrom, anywhere in space, shape (n, 3).
        progress
            Told how many points are done, and how many there are.

        Raises
        ------
        ValueError
            The points have another shape or are not finite.
        """
        points = np.asarray(points, dtype=float)
        if points.ndim != 2 or points.shape[1] != 3:
            raise ValueError(f"points have shape {points.shape}, expected (n, 3)")
        if not np.all(np.isfinite(points)):
            raise ValueError("points are not finite")
        return self._blocks(len(points), lambda block: points[block], progress)

    def on_grid(
        self,
        shape: tuple[int, int, int],
        progress: Callable[[int, int], None] | None = None,
        *,
        symmetry: bool = True,
    ) -> np.ndarray:
        """Density on the points i/n of the cell, electrons per cubic angstrom.

        Parameters
        ----------
        shape
            Points along each lattice vector.
        progress
            Told how many points are done, and how many there are.
        symmetry
            Compute only one of the points that the crystal's symmetry makes equivalent.
        """
        size = np.array(shape)
        if not symmetry:
            wanted, back = np.arange(np.prod(size)), None
        else:
            wanted, back = np.unique(representatives(self.crystal, shape), return_inverse=True)

        def places(block: slice) -> np.ndarray:
            steps = np.stack(np.unravel_index(wanted[block], shape), axis=-1)
            return (steps / size) @ self.crystal.lattice

        values = self._blocks(len(wanted), places, progress)
        return (values if back is None else values[back]).reshape(shape)

    def _blocks(
        self,
        n: int,
        places: Callable[[slice], np.ndarray],
        progress: Callable[[int, int], None] | None,
    ) -> np.ndarray:
        values = np.empty(n)
        done = 0
        for start in range(0, n, BLOCK):
            block = slice(start, min(start + BLOCK, n))
            neighbors = self._surroundings.of_points(_rounded(places(block)))
            for chunk in chunks(
                neighbors.counts, self.network, self._device, self.probes_per_chunk
            ):
                with torch.inference_mode():
                    rho = self.network.probe_model(self._atoms, self._edges(neighbors, chunk))
                values[start + chunk] = rho.cpu().numpy()
                done += len(chunk)
                if progress is not None:
                    progress(done, n)
        return values

    def _edges(self, neighbors: Neighbors, receivers: np.ndarray | None) -> Edges:
        return Edges.of(neighbors, receivers, device=self._device, dtype=self._dtype)


def _rounded(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32).astype(float)
