"""The predicted density of a crystal as a function of position, evaluated in chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import psutil
import torch
from pymatgen.core.periodic_table import Element

from mlcharge_flows.density.crystal import Crystal, NeighborList
from mlcharge_flows.density.grid import GridSymmetry
from mlcharge_flows.models.charge3net.network import Edges
from mlcharge_flows.models.charge3net.radial import RADIAL_WIDTH
from mlcharge_flows.models.charge3net.scalar_convolution import ScalarConvolution
from mlcharge_flows.models.model import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pymatgen.core.structure import Structure

    from mlcharge_flows.models.charge3net.network import ChargE3Net

CUTOFF_TOLERANCE = 1e-5
"""Atoms this much beyond the cutoff, angstrom, are neighbors, too: symmetry-equivalent points have
equal neighbors in spite of rounding."""
POINTS_PER_NEIGHBOR_LIST = 20_000
"""Points whose neighbor lists are held in memory at a time."""
CPU_CHUNK_BYTES = 20 * 2**20
"""Memory of a chunk on a CPU: larger chunks leave its caches (``benchmarks/charge3net.py``)."""
MAX_MEMORY_FRACTION = 0.25
"""Largest fraction of the free memory that a chunk may take."""


class DensityField:
    """The density of a crystal; features of its atoms are computed once.

    Values are the unscaled output of the network: they do not integrate to a number of electrons.

    Parameters
    ----------
    network
        In evaluation mode, on any device and in any precision.
    crystal
        The ions.
    probes_per_chunk
        Points evaluated at a time; by default as many as memory allows.

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
        # The original code rounds coordinates to single precision, in training and prediction.
        lattice = _single_precision(crystal.lattice)
        cartesian = _single_precision(crystal.positions @ crystal.lattice)
        positions = cartesian @ np.linalg.inv(lattice)
        self._rounded = Crystal(lattice, crystal.symbols, positions)
        with torch.inference_mode():
            atoms = network.atom_model(
                torch.as_tensor(atomic_numbers(crystal.symbols), device=self._device),
                self._edges(atom_neighbors(self._rounded, network.config.cutoff), None),
            )
            self._sources = network.probe_model.sources(atoms)

    def at(
        self, points: np.ndarray, progress: Callable[[int, int], None] | None = None
    ) -> np.ndarray:
        """Evaluate the density at points.

        Parameters
        ----------
        points
            Cartesian, angstrom, inside or outside of the cell, shape (n, 3).
        progress
            Called with the number of points done and of all points.

        Returns
        -------
        numpy.ndarray
            Electrons/angstrom^3, shape (n,).

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
        return self._evaluate(len(points), lambda block: points[block], progress)

    def on_grid(
        self,
        shape: tuple[int, int, int],
        progress: Callable[[int, int], None] | None = None,
        *,
        symmetry: bool = True,
    ) -> np.ndarray:
        """Evaluate the density on the points i/n of the cell.

        Parameters
        ----------
        shape
            Points along each lattice vector.
        progress
            Called with the number of points done and of all points.
        symmetry
            Evaluate the symmetry-irreducible points only.

        Returns
        -------
        numpy.ndarray
            Electrons/angstrom^3, shape (nx, ny, nz).
        """
        if symmetry:
            first = GridSymmetry.of(self.crystal, shape).irreducible_points()
            wanted, back = np.unique(first, return_inverse=True)
        else:
            wanted = back = np.arange(np.prod(shape))

        def cartesian(block: slice) -> np.ndarray:
            steps = np.stack(np.unravel_index(wanted[block], shape), axis=-1)
            points: np.ndarray = (steps / np.array(shape)) @ self.crystal.lattice
            return points

        return self._evaluate(len(wanted), cartesian, progress)[back].reshape(shape)

    def _evaluate(
        self,
        n: int,
        points: Callable[[slice], np.ndarray],
        progress: Callable[[int, int], None] | None,
    ) -> np.ndarray:
        values = np.empty(n)
        done = 0
        for first in range(0, n, POINTS_PER_NEIGHBOR_LIST):
            block = slice(first, min(first + POINTS_PER_NEIGHBOR_LIST, n))
            neighbors = point_neighbors(
                _single_precision(points(block)), self._rounded, self.network.config.cutoff
            )
            for chunk in chunks(
                neighbors.counts, self.network, self._device, self.probes_per_chunk
            ):
                edges = self._edges(neighbors, chunk)
                with torch.inference_mode():
                    rho = self.network.probe_model(self._sources, edges)
                values[first + chunk] = rho.cpu().numpy()
                done += len(chunk)
                if progress is not None:
                    progress(done, n)
        return values

    def _edges(self, neighbors: NeighborList, receivers: np.ndarray | None) -> Edges:
        return Edges.of(neighbors, receivers, device=self._device, dtype=self._dtype)


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


def atom_neighbors(crystal: Crystal, cutoff: float) -> NeighborList:
    """Neighbors of the atoms of a crystal.

    Parameters
    ----------
    crystal
        The ions.
    cutoff
        Angstrom; atoms up to :data:`CUTOFF_TOLERANCE` beyond count.

    Returns
    -------
    NeighborList
        An atom is a neighbor of its own images, not of itself.
    """
    return NeighborList.of_ions(crystal, cutoff + CUTOFF_TOLERANCE)


def point_neighbors(points: np.ndarray, crystal: Crystal, cutoff: float) -> NeighborList:
    """Atoms around points anywhere in space.

    Parameters
    ----------
    points
        Cartesian, angstrom, shape (n, 3).
    crystal
        The ions.
    cutoff
        Angstrom; atoms up to :data:`CUTOFF_TOLERANCE` beyond count.

    Returns
    -------
    NeighborList
        One center per point; an atom at the very point counts.
    """
    return NeighborList.of_points(points, crystal, cutoff + CUTOFF_TOLERANCE)


def atomic_numbers(symbols: Iterable[str]) -> np.ndarray:
    """Atomic number of each element.

    Parameters
    ----------
    symbols
        Element symbols.

    Returns
    -------
    numpy.ndarray
        Integers, shape (n,).

    Raises
    ------
    ModelError
        A symbol is not an element.

    Examples
    --------
    >>> atomic_numbers(["Na", "Cl"])
    array([11, 17])
    """
    try:
        return np.array([Element(symbol).Z for symbol in symbols], dtype=np.int64)
    except ValueError as error:
        raise ModelError(f"{error}: the model knows elements only") from None


def chunks(
    counts: np.ndarray,
    network: ChargE3Net,
    device: torch.device,
    probes_per_chunk: int | None = None,
) -> Iterator[np.ndarray]:
    """Split probes into chunks, in their order: points of a chunk on a grid share their neighbors.

    Parameters
    ----------
    counts
        Neighbors of each probe, shape (probes,).
    network
        The network that evaluates them.
    device
        Its device.
    probes_per_chunk
        Largest number of probes; by default as many as memory allows.

    Yields
    ------
    numpy.ndarray
        Indices of the probes of a chunk.
    """
    memory, least = free_memory(device), bytes_per_probe(network, 0)
    per_neighbor = bytes_per_probe(network, 1) - least
    first = 0
    while first < len(counts):
        if probes_per_chunk is None:
            most = np.maximum.accumulate(counts[first : first + memory // least + 1])
            needed = (least + most * per_neighbor) * np.arange(1, len(most) + 1)
            size = max(1, int(np.searchsorted(needed, memory, side="right")))
        else:
            size = max(1, probes_per_chunk)
        yield np.arange(first, min(first + size, len(counts)))
        first += size


def bytes_per_probe(network: ChargE3Net, neighbors: int) -> int:
    """Memory that a probe takes while its messages are summed.

    Parameters
    ----------
    network
        The network that evaluates it.
    neighbors
        Its number of neighbors.

    Returns
    -------
    int
        Bytes.
    """
    # Hidden layers, weights and products of an edge, each twice: before and after an operation.
    parts = network.probe_model.modules()
    channels = max(part.n_channels for part in parts if isinstance(part, ScalarConvolution))
    per_edge = 2 * (RADIAL_WIDTH + 2 * channels + network.config.num_basis)
    size = next(network.parameters()).element_size()
    return int(size * (neighbors * (per_edge + network.config.harmonics.dim) + 2 * channels))


def free_memory(device: torch.device) -> int:
    """Memory that a chunk may take.

    Parameters
    ----------
    device
        Device of the evaluation.

    Returns
    -------
    int
        Bytes.
    """
    if device.type == "cuda":
        return int(MAX_MEMORY_FRACTION * torch.cuda.mem_get_info(device)[0])
    return int(min(CPU_CHUNK_BYTES, MAX_MEMORY_FRACTION * psutil.virtual_memory().available))


def _single_precision(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32).astype(float)
