"""Symmetry of a run as GPAW uses it: rotations that keep crystal and k-point mesh, and grids."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from gpaw.dft import Symmetry
from scipy.sparse.csgraph import connected_components

from mlcharge_flows.density.grid import SYMPREC, CrystalSymmetry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.vasp.kpoints import KPointSet


def gpaw_symmetry(
    crystal: Crystal,
    isym: int,
    symprec: float,
    kpoints: KPointSet,
    kinds: np.ndarray | None = None,
) -> Symmetry:
    """Find the symmetry that GPAW uses: none (ISYM = -1), time reversal (0), or rotations, too.

    The rotations about the origin are spglib's, since those that GPAW finds by itself are no group
    where some hold within SYMPREC and products of them do not, and since it knows only matrices of
    0, 1 and -1, which skewed cells outgrow. Rotations that do not map a k-point mesh onto itself
    are left out: the density of such a mesh lacks them, and forces and stress with it.

    Parameters
    ----------
    crystal
        The ions.
    isym
        ISYM.
    symprec
        SYMPREC, in angstrom.
    kpoints
        Points of the run; lists and paths are taken for irreducible.
    kinds
        Numbers that tell ions of one element apart, such as moments, shape (ions, n); rotations
        keep them. None where nothing does.

    Returns
    -------
    Symmetry
        GPAW's parameter.
    """
    if isym <= 0:
        return Symmetry(
            rotations=np.eye(3, dtype=int)[None],
            atommaps=np.arange(len(crystal))[None],
            time_reversal=isym >= 0,
        )
    rotations, atom_maps = crystal_rotations(crystal, symprec, kinds)
    kept = keeps_mesh(rotations, kpoints)
    return Symmetry(rotations=rotations[kept], atommaps=atom_maps[kept], time_reversal=True)


def crystal_rotations(
    crystal: Crystal, symprec: float, kinds: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Find the rotations of a crystal that need no translation.

    Parameters
    ----------
    crystal
        The ions.
    symprec
        SYMPREC, in angstrom.
    kinds
        Numbers that tell ions of one element apart, such as moments, shape (ions, n). None where
        nothing does.

    Returns
    -------
    rotations : numpy.ndarray
        Integer matrices that act on fractional coordinates as rows, shape (n, 3, 3).
    atom_maps : numpy.ndarray
        Ion that each rotation puts each ion on, shape (n, ions).
    """
    precision = max(symprec, SYMPREC)
    found = CrystalSymmetry.of(crystal, precision, kinds)
    # Zero up to a few times what the search tolerates: errors of two rotations add.
    shifts = (found.translations - found.translations.round()) @ crystal.lattice
    fixed = np.linalg.norm(shifts, axis=1) < 10 * precision
    rotations = np.ascontiguousarray(found.rotations[fixed].transpose(0, 2, 1), dtype=int)
    apart = (crystal.positions @ rotations)[:, :, None] - crystal.positions
    lengths = np.linalg.norm((apart - apart.round()) @ crystal.lattice, axis=-1)
    return rotations, lengths.argmin(-1)


def space_group(
    crystal: Crystal,
    isym: int,
    symprec: float,
    kpoints: KPointSet,
    kinds: np.ndarray | None = None,
) -> CrystalSymmetry:
    """Find all operations under which forces and stress of a run are symmetric.

    Parameters
    ----------
    crystal
        The ions.
    isym
        ISYM; none but the identity below 1.
    symprec
        SYMPREC, in angstrom.
    kpoints
        Points of the run; operations that do not keep their mesh are left out.
    kinds
        Numbers that tell ions of one element apart, such as moments, shape (ions, n); operations
        keep them. None where nothing does.

    Returns
    -------
    CrystalSymmetry
        Those with translations, too.
    """
    if isym <= 0:
        return CrystalSymmetry(np.eye(3, dtype=int)[None], np.zeros((1, 3)))
    found = CrystalSymmetry.of(crystal, max(symprec, SYMPREC), kinds)
    kept = keeps_mesh(found.rotations.transpose(0, 2, 1), kpoints)
    return CrystalSymmetry(found.rotations[kept], found.translations[kept])


def keeps_mesh(rotations: np.ndarray, kpoints: KPointSet) -> np.ndarray:
    """Tell which rotations map a k-point mesh onto itself.

    A mesh is ``k = k_0 + (i / n_1, j / n_2, l / n_3)``. The rotation R of row vectors turns k into
    ``k R^T``, which maps steps of the mesh to steps and k_0 to a point of the mesh, or does not.

    Parameters
    ----------
    rotations
        Integer matrices that act on fractional coordinates as rows, shape (n, 3, 3).
    kpoints
        Points of the run; every rotation keeps a list or path.

    Returns
    -------
    numpy.ndarray
        Booleans, shape (n,).

    Examples
    --------
    >>> from mlcharge_flows.vasp.kpoints import KPointSet
    >>> quarter_turn = np.array([[[0, -1, 0], [1, 0, 0], [0, 0, 1]]])
    >>> [keeps_mesh(quarter_turn, KPointSet("Gamma", n))[0] for n in ((4, 4, 2), (4, 3, 2))]
    [np.True_, np.False_]
    """
    if not kpoints.is_mesh:
        return np.ones(len(rotations), dtype=bool)
    size = np.asarray(kpoints.divisions)
    first = kpoints.first
    transposed = np.asarray(rotations).transpose(0, 2, 1)
    steps = transposed * size / size[:, None]
    shifts = (first @ transposed - first) * size
    whole = [np.isclose(values, np.rint(values), atol=1e-6) for values in (steps, shifts)]
    return np.asarray(whole[0].all(axis=(1, 2)) & whole[1].all(axis=1))


def symmetric_grid(shape: Sequence[int], rotations: np.ndarray) -> tuple[int, int, int]:
    """Find a grid, no coarser than a given one, that every rotation maps onto itself.

    GPAW symmetrizes densities point by point. Where a rotation turns one lattice vector into a
    combination of others, as in primitive cells of centered lattices, these must be divided alike.
    VASP symmetrizes in reciprocal space, where they need not.

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
    nx, ny, nz = (int(points[group == own].max()) for own in group)
    return nx, ny, nz
