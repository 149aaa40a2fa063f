"""The primitive cell of a crystal and its k-points: the same for every cell that describes it."""

from __future__ import annotations

from collections import Counter
from functools import cache
from math import gcd
from typing import TYPE_CHECKING

import numpy as np
import spglib

from mlcharge_flows.density.crystal import Crystal

if TYPE_CHECKING:
    from collections.abc import Sequence

SYMPREC = 1e-4
"""How exactly ions have to repeat, angstrom."""
_EDGE = 1e-3
"""A reciprocal vector this little longer than a multiple of the spacing gets no further point."""


def primitive(crystal: Crystal) -> tuple[Crystal, np.ndarray]:
    """Smallest cell that repeats to a crystal, in the same orientation.

    Its ions are the first of the crystal's that are equivalent by translation, and its lattice is
    Niggli's.

    Parameters
    ----------
    crystal
        Any cell.

    Returns
    -------
    Crystal
        The primitive cell; the crystal itself where no symmetry can be found.
    numpy.ndarray
        Its ion that each ion of the crystal is an image of, shape (ions,).

    Examples
    --------
    >>> import numpy as np
    >>> from mlcharge_flows.density.crystal import Crystal
    >>> chain = Crystal(np.diag([4.0, 3.0, 3.0]), ("Po", "Po"), [[0.1, 0, 0], [0.6, 0, 0]])
    >>> cell, images = primitive(chain)
    >>> len(cell), images.tolist(), round(cell.volume, 6)
    (1, [0, 0], 18.0)
    """
    images = np.arange(len(crystal))
    lattice, found = crystal.lattice, None
    # Only if all elements repeat can the crystal; the search costs more than the rest here.
    if gcd(*Counter(crystal.symbols).values()) > 1:
        found = _dataset(crystal)
    if found is not None:
        _, first, images = np.unique(
            found.mapping_to_primitive, return_index=True, return_inverse=True
        )
        lattice = found.primitive_lattice
    else:
        first = images
    reduced = spglib.niggli_reduce(lattice)
    lattice = lattice if reduced is None else reduced
    positions = crystal.positions[first] @ crystal.lattice @ np.linalg.inv(lattice)
    return Crystal(lattice, tuple(crystal.symbols[ion] for ion in first), positions), images


def kpoints(crystal: Crystal, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """Mesh around Gamma that has the symmetry of the crystal, one of each pair k, -k.

    Parameters
    ----------
    crystal
        A primitive cell with a reduced lattice.
    spacing
        Largest distance between neighbouring points along the reciprocal vectors, 1/angstrom.

    Returns
    -------
    numpy.ndarray
        Shape (k, 3), cartesian, 1/angstrom.
    numpy.ndarray
        Weights, which sum to one.
    """
    lengths = np.linalg.norm(crystal.reciprocal, axis=1)
    size = np.maximum(np.ceil(lengths / spacing - _EDGE), 1).astype(int)
    # Axes that a symmetry of the lattice mixes get the same number of points.
    metric = crystal.reciprocal @ crystal.reciprocal.T
    maps = _unimodular()
    kept = np.abs(maps @ metric @ maps.swapaxes(1, 2) - metric).max((1, 2)) < _EDGE * metric.max()
    mixed = np.any(maps[kept] != 0, axis=0)
    mixed = np.linalg.matrix_power((mixed | mixed.T).astype(int), 3) > 0
    size = np.array([size[row].max() for row in mixed])
    points = np.indices(tuple(size)).reshape(3, -1).T
    opposite = np.ravel_multi_index(tuple((-points % size).T), tuple(size))
    mine = np.arange(len(points))
    kept = mine <= opposite
    weights = np.where(mine == opposite, 1.0, 2.0)[kept] / len(points)
    share = points[kept] / size
    return (share - np.rint(share)) @ crystal.reciprocal, weights


@cache
def _unimodular() -> np.ndarray:
    """Matrices of -1, 0, 1 and determinant 1 or -1: all symmetries of reduced lattices."""
    entries = np.indices((3,) * 9).reshape(9, -1).T.reshape(-1, 3, 3) - 1.0
    return entries[np.abs(np.abs(np.linalg.det(entries)) - 1) < 1e-6]


def _dataset(crystal: Crystal) -> spglib.SpglibDataset | None:
    kinds: Sequence[str] = sorted(set(crystal.symbols))
    numbers = [kinds.index(symbol) for symbol in crystal.symbols]
    try:
        return spglib.get_symmetry_dataset(
            (crystal.lattice.tolist(), crystal.positions.tolist(), numbers), symprec=SYMPREC
        )
    except spglib.SpglibError:
        return None
