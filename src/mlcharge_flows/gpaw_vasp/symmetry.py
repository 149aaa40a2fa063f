"""Symmetry of a run as GPAW uses it: rotations that keep crystal and k-point mesh, and grids."""

from __future__ import annotations

from fractions import Fraction
from math import lcm
from typing import TYPE_CHECKING, Any

import numpy as np
from gpaw.dft import Symmetry
from gpaw.new.symmetry import Symmetries, SymmetryAnalysisBug
from scipy.fft import next_fast_len
from scipy.sparse.csgraph import connected_components

from mlcharge_flows.density.grid import SYMPREC, CrystalSymmetry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.vasp.kpoints import KPointSet

_FRACTION = 24
"""Translations of space groups in their standard settings are multiples of one over this."""


class SpaceGroup(Symmetries):
    """Operations of a crystal, one of each rotation; in cells with pure translations no group.

    A density that is computed with all points of a mesh has the pure translations of its cell by
    itself, so that each rotation needs one of its translations only.
    """

    def group_check(self) -> None:
        """Check that the rotations are a group.

        Raises
        ------
        SymmetryAnalysisBug
            Products of them are none of them.
        """
        known = {rotation.tobytes() for rotation in self.rotation_scc}
        products = np.einsum("aij,bjk->abik", self.rotation_scc, self.rotation_scc)
        if not known.issuperset(product.tobytes() for product in products.reshape(-1, 3, 3)):
            raise SymmetryAnalysisBug("Rotations within SYMPREC are no group.")


class SpaceGroupSymmetry(Symmetry):
    """GPAW's parameter for operations with translations, which are not looked for again."""

    def build(self, atoms: Atoms, **options: Any) -> SpaceGroup:
        """Make GPAW's object.

        Parameters
        ----------
        atoms
            The ions.
        **options
            Of GPAW.

        Returns
        -------
        SpaceGroup
            With this parameter's operations.
        """
        identity = Symmetry(
            rotations=np.eye(3, dtype=int)[None], atommaps=np.arange(len(atoms))[None]
        ).build(atoms, **options)
        found = SpaceGroup(
            cell=identity.cell_cv,
            rotations=self.rotations,
            translations=self.translations,
            atommaps=self.atommaps,
            tolerance=identity.tolerance,
        )
        # GPAW's older code reads its older object.
        found._old_symmetry = old = identity._old_symmetry
        old.op_scc, old.ft_sc, old.a_sa = found.op_scc, found.translation_sc, found.atommap_sa
        old.has_inversion, old.gcd_c = found.has_inversion, found.gcd_c
        return found


def gpaw_symmetry(
    crystal: Crystal,
    isym: int,
    symprec: float,
    kpoints: KPointSet,
    kinds: np.ndarray | None = None,
) -> Symmetry:
    """Find the symmetry that GPAW uses: none (ISYM = -1), time reversal (0), or rotations, too.

    The operations are spglib's, since those that GPAW finds by itself are no group where some hold
    within SYMPREC and products of them do not, and since it knows only matrices of 0, 1 and -1,
    which skewed cells outgrow. Those with a translation are taken where they reduce the k-points,
    as in VASP: a list that is irreducible under the whole space group needs them. Rotations that do
    not map a k-point mesh onto itself are left out: the density of such a mesh lacks them, and
    forces and stress with it.

    Parameters
    ----------
    crystal
        The ions. GPAW symmetrizes on a grid: operations whose translation is no multiple of 1/24,
        as in crystals moved from the origin of their space group, are left out.
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
    group = space_group(crystal, isym, symprec, kpoints, kinds)
    turned = group.rotations.transpose(0, 2, 1)
    whole = np.rint(_FRACTION * group.translations) / _FRACTION % 1.0
    shifts = group.translations - whole
    # Errors of two operations add, within a few times what the search tolerates.
    apart = np.linalg.norm((shifts - shifts.round()) @ crystal.lattice, axis=1)
    on_grid = np.flatnonzero(apart < 10 * max(symprec, SYMPREC))
    # Those without a translation first. They are enough where time reversal makes them all.
    on_grid = on_grid[np.lexsort([on_grid, whole[on_grid].any(axis=1)])]
    plain = on_grid[~whole[on_grid].any(axis=1)]
    if laue_order(turned[plain]) == laue_order(turned[on_grid]):
        on_grid = plain
    _, first = np.unique(turned[on_grid], axis=0, return_index=True)
    chosen = on_grid[np.sort(first)]
    rotations = np.ascontiguousarray(turned[chosen], dtype=int)
    images = crystal.positions @ rotations + whole[chosen][:, None]
    distances = images[:, :, None] - crystal.positions
    lengths = np.linalg.norm((distances - distances.round()) @ crystal.lattice, axis=-1)
    return SpaceGroupSymmetry(
        rotations=rotations, translations=whole[chosen], atommaps=lengths.argmin(-1)
    )


def laue_order(rotations: np.ndarray) -> int:
    """Count rotations together with their products with the inversion.

    Time reversal maps the states at k to those at -k, so that k-points have this symmetry.

    Parameters
    ----------
    rotations
        Integer matrices, shape (n, 3, 3).

    Returns
    -------
    int
        Order of the Laue class if the rotations are a group.

    Examples
    --------
    >>> laue_order(np.eye(3, dtype=int)[None])
    2
    """
    return len(np.unique(np.concatenate([rotations, -rotations]), axis=0))


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


def symmetric_grid(
    shape: Sequence[int], rotations: np.ndarray, translations: np.ndarray | None = None
) -> tuple[int, int, int]:
    """Find a grid, no coarser than a given one, that every operation maps onto itself.

    GPAW symmetrizes densities point by point. Where a rotation turns one lattice vector into a
    combination of others, as in primitive cells of centered lattices, these must be divided alike,
    and translations are whole numbers of steps. VASP symmetrizes in reciprocal space, where none of
    this matters.

    Parameters
    ----------
    shape
        Points along the three lattice vectors.
    rotations
        Integer matrices in units of the lattice vectors, shape (n, 3, 3).
    translations
        Fractional coordinates, shape (n, 3); by default none.

    Returns
    -------
    tuple of int
        Points along the lattice vectors, for GPAW's own use.

    Examples
    --------
    A four-fold axis of a body-centered cell, whose third vector is half the diagonal, and a screw:

    >>> turn = np.array([[[0, -1, 0], [1, 0, 0], [0, 0, 1]], [[0, 1, 0], [-1, 0, 0], [0, -1, 1]]])
    >>> symmetric_grid((16, 16, 20), turn[:1]), symmetric_grid((16, 16, 20), turn)
    ((16, 16, 20), (20, 20, 20))
    >>> symmetric_grid((16, 16, 22), turn[:1], np.array([[0.0, 0.0, 0.25]]))
    (16, 16, 24)
    """
    mixed = np.any(np.asarray(rotations) != 0, axis=0)
    _, group = connected_components(mixed, directed=False)
    points = np.asarray(shape)
    steps = np.ones(3, dtype=int)
    if translations is not None:
        steps = np.array(
            [
                lcm(*(Fraction(value).limit_denominator(_FRACTION).denominator for value in along))
                for along in np.asarray(translations).T
            ]
        )

    def divided(members: np.ndarray) -> int:
        least, step = int(points[members].max()), lcm(*steps[members].tolist())
        return least if least % step == 0 else step * next_fast_len(-(-least // step))

    nx, ny, nz = (divided(group == own) for own in group)
    return nx, ny, nz
