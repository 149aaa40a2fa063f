"""Symmetry of a crystal as GPAW uses it, and grids that keep it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import spglib
from gpaw.dft import Symmetry
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlcharge_flows.density.crystal import Crystal


def symmetry(crystal: Crystal, isym: int, symprec: float) -> Symmetry:
    """GPAW's use of symmetry for ISYM: none at all (-1), time reversal only (0), or full.

    The rotations about the origin are spglib's. Those that GPAW finds by itself are no group, and
    refused, where some hold within SYMPREC and products of them do not; and it knows only matrices
    of 0, 1 and -1, which skewed cells outgrow.

    Parameters
    ----------
    crystal
        Its symmetry is looked for.
    isym, symprec
        VASP's tags; SYMPREC in angstrom.
    """
    only_identity = np.eye(3, dtype=int)[None], np.arange(len(crystal.symbols))[None]
    found = _rotations(crystal, max(symprec, 1e-5)) if isym > 0 else None
    rotations, atom_maps = found or only_identity
    return Symmetry(rotations=rotations, atommaps=atom_maps, time_reversal=isym >= 0)


def _rotations(crystal: Crystal, precision: float) -> tuple[np.ndarray, np.ndarray] | None:
    """Rotations without a translation, acting on rows, and the ion that each puts an ion on."""
    positions = crystal.positions
    kinds = np.unique(crystal.symbols, return_inverse=True)[1].tolist()
    cell = crystal.lattice.tolist(), positions.tolist(), kinds
    try:
        found = spglib.get_symmetry_dataset(cell, symprec=precision)
    except spglib.SpglibError:
        found = None
    if found is None:  # such as ions on top of each other
        return None
    # Zero up to a few times what the search tolerates: errors of two rotations add.
    shifts = (found.translations - found.translations.round()) @ crystal.lattice
    still = np.linalg.norm(shifts, axis=1) < 10 * precision
    rotations = np.ascontiguousarray(found.rotations[still].transpose(0, 2, 1), dtype=int)
    apart = (positions @ rotations)[:, :, None] - positions
    lengths = np.linalg.norm((apart - apart.round()) @ crystal.lattice, axis=-1)
    return rotations, lengths.argmin(-1)


def symmetric_grid(shape: Sequence[int], rotations: np.ndarray) -> tuple[int, int, int]:
    """A grid, no coarser than a given one, that every rotation maps onto itself.

    GPAW symmetrizes densities point by point. Where a rotation turns one lattice vector into a
    combination of others, as in the primitive cells of centerd lattices, these must be divided
    alike; VASP symmetrizes in reciprocal space and need not care.

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
    A four-fold axis of a body-centerd cell, whose third vector is half the diagonal:

    >>> turn = np.array([[[0, -1, 0], [1, 0, 0], [0, 0, 1]], [[0, 1, 0], [-1, 0, 0], [0, -1, 1]]])
    >>> symmetric_grid((16, 16, 20), turn[:1]), symmetric_grid((16, 16, 20), turn)
    ((16, 16, 20), (20, 20, 20))
    """
    mixed = np.any(np.asarray(rotations) != 0, axis=0)
    _, group = connected_components(mixed, directed=False)
    points = np.asarray(shape)
    nx, ny, nz = (int(points[group == mine].max()) for mine in group)
    return nx, ny, nz
