"""Use of symmetry, and grids that keep it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from gpaw.dft import Symmetry
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    from collections.abc import Sequence


def symmetry(isym: int, symprec: float) -> Symmetry:
    """GPAW's use of symmetry for ISYM: none at all (-1), time reversal only (0), or full.

    Parameters
    ----------
    isym, symprec
        VASP's tags; SYMPREC in angstrom.
    """
    return Symmetry(point_group=isym > 0, time_reversal=isym >= 0, tolerance=max(symprec, 1e-5))


def symmetric_grid(shape: Sequence[int], rotations: np.ndarray) -> tuple[int, int, int]:
    """A grid, no coarser than a given one, that every rotation maps onto itself.

    GPAW symmetrises densities point by point. Where a rotation turns one lattice vector into a
    combination of others, as in the primitive cells of centred lattices, these must be divided
    alike; VASP symmetrises in reciprocal space and need not care.

    Parameters
    ----------
    shape
        Points along the three lattice vectors.
    rotations
        Integer matrices in units of the lattice vectors, shape (n, 3, 3).

    Returns
    -------
    tuple of int
        Points along the lattice vectors, for GPAW's own use.

    Examples
    --------
    A four-fold axis of a body-centred cell, whose third vector is half the diagonal:

    >>> turn = np.array([[[0, -1, 0], [1, 0, 0], [0, 0, 1]], [[0, 1, 0], [-1, 0, 0], [0, -1, 1]]])
    >>> symmetric_grid((16, 16, 20), turn[:1]), symmetric_grid((16, 16, 20), turn)
    ((16, 16, 20), (20, 20, 20))
    """
    mixed = np.any(np.asarray(rotations) != 0, axis=0)
    _, group = connected_components(mixed, directed=False)
    points = np.asarray(shape)
    nx, ny, nz = (int(points[group == mine].max()) for mine in group)
    return nx, ny, nz
