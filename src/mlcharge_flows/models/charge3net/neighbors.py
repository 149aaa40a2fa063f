"""Atoms within a radius of points of a periodic cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from mlcharge_flows.density.crystal import Crystal

TOLERANCE = 1e-5
"""Angstrom. Atoms this much beyond the radius still count, so that equivalent points have equal
neighbors; an atom this close to a point is at it, since the direction to it is noise."""


@dataclass(frozen=True, eq=False)
class Neighbors:
    """Neighbors of each of n points, one after the other.

    Parameters
    ----------
    starts
        First neighbor of each point, and the end: shape (n + 1,).
    atoms
        Atom that the neighbor is an image of.
    vectors
        From the point to the neighbor, angstrom, shape (neighbors, 3).
    """

    starts: np.ndarray
    atoms: np.ndarray
    vectors: np.ndarray

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def counts(self) -> np.ndarray:
        """Neighbors of each point."""
        return np.diff(self.starts)

    def padded(self, points: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Atoms, vectors, and which of them are neighbors rather than padding.

        Parameters
        ----------
        points
            Which of the points, in which order; all by default.

        Returns
        -------
        tuple of numpy.ndarray
            Shapes (points, width), (points, width, 3), (points, width); the width is the largest
            number of neighbors, at least 1. Padding is atom 0 at distance 0.
        """
        points = np.arange(len(self)) if points is None else points
        starts, counts = self.starts[:-1][points], self.counts[points]
        columns = np.arange(max(1, counts.max(initial=0)))
        present = columns < counts[:, None]
        index = (starts[:, None] + columns)[present]
        atoms = np.zeros(present.shape, dtype=np.int64)
        vectors = np.zeros((*present.shape, 3))
        atoms[present], vectors[present] = self.atoms[index], self.vectors[index]
        return atoms, vectors, present


class Surroundings:
    """The atoms of a crystal and all images that a point of the cell can have as neighbors.

    Parameters
    ----------
    crystal
        The ions.
    radius
        Angstrom.

    Examples
    --------
    >>> import numpy as np
    >>> from mlcharge_flows.density.crystal import Crystal
    >>> po = Crystal(np.eye(3) * 3.0, ("Po",), np.zeros((1, 3)))
    >>> Surroundings(po, 3.0).of_atoms().counts
    array([6])
    >>> Surroundings(po, 3.0).of_points(np.array([[1.5, 1.5, 1.5]])).counts
    array([8])
    """

    def __init__(self, crystal: Crystal, radius: float) -> None:
        self.crystal, self.radius = crystal, radius + TOLERANCE
        self._inverse = np.linalg.inv(crystal.lattice)
        # Distance between lattice planes turns the radius into fractions of the cell.
        reach = self.radius * np.linalg.norm(self._inverse, axis=0)
        home = crystal.positions - np.floor(crystal.positions)
        counts = [np.arange(-np.ceil(r), np.ceil(r) + 1) for r in reach]
        shifts = np.stack(np.meshgrid(*counts, indexing="ij"), axis=-1).reshape(-1, 3)
        images = shifts[:, None] + home
        near = np.all((images >= -reach) & (images <= 1 + reach), axis=-1)
        self._atoms = np.nonzero(near)[1]
        self._places = images[near] @ crystal.lattice
        self._tree = cKDTree(self._places)

    def of_points(self, points: np.ndarray) -> Neighbors:
        """Neighbors of points anywhere in space.

        Parameters
        ----------
        points
            Cartesian, angstrom, shape (n, 3).
        """
        fractions = points @ self._inverse
        return self._within((fractions - np.floor(fractions)) @ self.crystal.lattice)

    def of_atoms(self) -> Neighbors:
        """Neighbors of the atoms themselves, which are not their own neighbors."""
        home = self.crystal.positions - np.floor(self.crystal.positions)
        found = self._within(home @ self.crystal.lattice)
        owners = np.repeat(np.arange(len(found)), found.counts)
        others = (found.atoms != owners) | np.any(found.vectors != 0.0, axis=1)
        starts = np.concatenate([[0], np.cumsum(np.bincount(owners[others], minlength=len(found)))])
        return Neighbors(starts, found.atoms[others], found.vectors[others])

    def _within(self, places: np.ndarray) -> Neighbors:
        if not len(places):
            return Neighbors(np.zeros(1, dtype=int), np.zeros(0, dtype=int), np.zeros((0, 3)))
        pairs = cKDTree(places).sparse_distance_matrix(
            self._tree, self.radius, output_type="ndarray"
        )
        # By point, then by image: sums do not depend on the order that scipy finds them in.
        pairs = pairs[np.lexsort((pairs["j"], pairs["i"]))]
        starts = np.concatenate([[0], np.cumsum(np.bincount(pairs["i"], minlength=len(places)))])
        vectors = self._places[pairs["j"]] - places[pairs["i"]]
        vectors[np.linalg.norm(vectors, axis=1) < TOLERANCE] = 0.0
        return Neighbors(starts, self._atoms[pairs["j"]], vectors)
