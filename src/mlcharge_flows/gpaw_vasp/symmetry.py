"""Symmetry of a crystal as GPAW uses it, and grids that keep it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from gpaw.dft import Symmetry
from scipy.sparse.csgraph import connected_components

from mlcharge_flows.density.symmetry import SYMPREC, CrystalSymmetry

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
    if isym <= 0:
        return Symmetry(
            rotations=np.eye(3, dtype=int)[None],
            atommaps=np.arange(len(crystal))[None],
            time_reversal=isym >= 0,
        )
    rotations, atom_maps = _rotations(crystal, max(symprec, SYMPREC))
    return Symmetry(rotations=rotations, atommaps=atom_maps, time_reversal=True)


def _rotations(crystal: Crystal, precision: float) -> tuple[np.ndarray, np.ndarray]:
    """Rotations without a translation, acting on rows, and the ion that each puts an ion on."""
    found = CrystalSymmetry.of(crystal, precision)
    # Zero up to a few times what the search tolerates: errors of two rotations add.
    shifts = (found.translations - found.translations.round()) @ crystal.lattice
    still = np.linalg.norm(shifts, axis=1) < 10 * precision
    rotations = np.ascontiguousarray(found.rotations[still].transpose(0, 2, 1), dtype=int)
    apart = (crystal.positions @ rotations)[:, :, None] - crystal.positions
    lengths = np.linalg.norm((apart - apart.round()) @ crystal.lattice, axis=-1)
    return rotations, lengths.argmin(-1)


def symmetric_grid(shape: Sequence[int], rotations: np.ndarray) -> tuple[int, int, int]:
    """A grid, no coarser than a given one, that every rotation maps onto itself.

    GPAW symmetrizes densities point by point. Where a rotation turns one lattice vector into a
    combination of others, as in the primitive cells of centered lattices, these must be divided
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
    A four-fold axis of a body-centered cell, whose third vector is half the diagonal:

    >>> turn = np.array([[[0, -1, 0], [1, 0, 0], [0, 0, 1]], [[0, 1, 0], [-1, 0, 0], [0, -1, 1]]])
    >>> symmetric_grid((16, 16, 20), turn[:1]), symmetric_grid((16, 16, 20), turn)
    ((16, 16, 20), (20, 20, 20))
    """
    mixed = np.any(np.asarray(rotations) != 0, axis=0)
    _, group = connected_components(mixed, directed=False)
    points = np.asarray(shape)
    nx, ny, nz = (int(points[group == mine].max()) for mine in group)
    return nx, ny, nz
