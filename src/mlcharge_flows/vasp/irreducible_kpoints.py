"""Irreducible points of a k-point mesh, in VASP's order and with VASP's representatives.

VASP goes through the mesh with the first index fastest and keeps the first point of each star of
the lattice's point group, with coordinates in (-1/2, 1/2]. Where the crystal has less symmetry than
its lattice a star falls into several orbits, whose further representatives VASP takes in the order
of its own list of rotations, which is not documented: such points are marked as not certain.

References
----------
VASP wiki, KPOINTS and IBZKPT; H. J. Monkhorst and J. D. Pack, Phys. Rev. B 13, 5188 (1976). Order
and representatives as in the IBZKPT files of VASP 5.4 and 6 that the tests read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pymatgen.io.vasp.inputs import Kpoints, KpointsSupportedModes

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.grid import CrystalSymmetry

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, eq=False)
class IrreducibleKPoints:
    """Irreducible points of a mesh.

    Parameters
    ----------
    points
        Fractional coordinates in (-1/2, 1/2], shape (n, 3).
    weights
        Number of points of the mesh that each stands for, shape (n,).
    is_certain
        Whether order and representatives are known to be VASP's.
    is_symmetric
        Whether every rotation of the crystal maps the mesh onto itself.
    """

    points: np.ndarray
    weights: np.ndarray
    is_certain: bool
    is_symmetric: bool = True

    def listed(self) -> Kpoints:
        """List the points, so that VASP takes them as they stand.

        Returns
        -------
        pymatgen.io.vasp.Kpoints
            Explicit list in fractional coordinates. It has no tetrahedra, which ISMEAR = -5 and -4
            need.

        References
        ----------
        https://www.vasp.at/wiki/index.php/KPOINTS, explicit k-points mesh.

        Examples
        --------
        >>> points = IrreducibleKPoints(np.array([[0.0, 0.0, 0.5]]), np.array([2]), False)
        >>> print(points.listed())
        irreducible points
        1
        Reciprocal
        0.0 0.0 0.5 2
        <BLANKLINE>
        """
        return Kpoints(
            comment="irreducible points",
            num_kpts=len(self.points),
            style=KpointsSupportedModes.Reciprocal,
            kpts=self.points.tolist(),
            kpts_weights=self.weights.tolist(),
        )


def irreducible_kpoints(
    crystal: Crystal,
    divisions: Sequence[int],
    first: Sequence[float] | np.ndarray = (0.0, 0.0, 0.0),
    *,
    isym: int = 2,
    symprec: float = 1e-5,
) -> IrreducibleKPoints:
    """Reduce a mesh by the rotations of a crystal and by time reversal.

    Parameters
    ----------
    crystal
        The ions. Magnetic order is not considered.
    divisions
        Points along each reciprocal lattice vector.
    first
        Fractional coordinates of the first point: zero for a mesh with Gamma, ``1 / (2 n)`` along
        even divisions of Monkhorst and Pack.
    isym
        ISYM: no symmetry for -1, time reversal alone for 0.
    symprec
        SYMPREC, in angstrom.

    Returns
    -------
    IrreducibleKPoints
        Not certain where a star of the lattice falls into several orbits of the crystal, where a
        rotation does not map the mesh onto itself, or without symmetry.

    Examples
    --------
    >>> po = Crystal(3.0 * np.eye(3), ("Po",), np.zeros((1, 3)))
    >>> found = irreducible_kpoints(po, (2, 2, 2))
    >>> found.points.tolist(), found.weights.tolist(), found.is_certain
    ([[0.0, 0.0, 0.0], [0.5, 0.0, 0.0], [0.5, 0.5, 0.0], [0.5, 0.5, 0.5]], [1, 3, 3, 1], True)
    """
    mesh = _Mesh(np.asarray(divisions, dtype=int), np.asarray(first, dtype=float))
    identity = np.eye(3, dtype=int)[None]
    lattice = CrystalSymmetry.of(Crystal(crystal.lattice, ("X",), np.zeros((1, 3))), symprec)
    rotations = CrystalSymmetry.of(crystal, symprec).rotations if isym > 0 else identity
    signs = (1,) if isym < 0 else (1, -1)
    stars, whole = mesh.orbits(lattice.rotations, signs=(1, -1))
    orbits, is_symmetric = mesh.orbits(rotations, signs)
    kept = np.flatnonzero(orbits == np.arange(len(orbits)))
    weights = np.bincount(orbits, minlength=len(orbits))[kept]
    is_certain = whole and len(kept) == len(np.unique(stars))
    return IrreducibleKPoints(mesh.coordinates[kept], weights, is_certain, is_symmetric)


def wrapped(points: np.ndarray) -> np.ndarray:
    """Move k-points into the cell that VASP lists them in.

    Parameters
    ----------
    points
        Fractional coordinates, any shape.

    Returns
    -------
    numpy.ndarray
        The same points with coordinates in (-1/2, 1/2].

    Examples
    --------
    >>> wrapped(np.array([0.5, 0.75, -0.5])).tolist()
    [0.5, -0.25, 0.5]
    """
    # The margin keeps rounding from moving 1/2.
    inside: np.ndarray = points - np.ceil(points - 0.5 - 1e-9)
    return inside


class _Mesh:
    """Points ``first + (i / n_1, j / n_2, k / n_3)``, the first index fastest."""

    def __init__(self, divisions: np.ndarray, first: np.ndarray) -> None:
        self.divisions, self.first = divisions, first
        indices = np.indices(tuple(divisions[::-1])).reshape(3, -1)[::-1].T
        self.coordinates = wrapped(first + indices / divisions)

    def orbits(self, rotations: np.ndarray, signs: Sequence[int]) -> tuple[np.ndarray, bool]:
        """First point of the orbit of each point; whether every rotation keeps the mesh.

        Rotations that do not keep it are left out.

        Parameters
        ----------
        rotations
            Integer matrices that act on fractional coordinates of positions, shape (n, 3, 3).
        signs
            -1 for time reversal, which turns k into -k.

        Returns
        -------
        orbits : numpy.ndarray
            Index of the first point, shape (points,).
        whole : bool
            False if a rotation was left out.
        """
        smallest = np.arange(len(self.coordinates))
        whole = True
        for rotation in rotations:
            for sign in signs:
                # Positions turn with R, fractional k-points (columns) with its inverse transposed:
                # the group holds R^T, too.
                image = self._index(sign * self.coordinates @ rotation)
                if image is None:
                    whole = False
                else:
                    smallest = np.minimum(smallest, image)
        return smallest, whole

    def _index(self, points: np.ndarray) -> np.ndarray | None:
        """Index of points of the mesh; None if one lies beside it."""
        steps = (points - self.first) * self.divisions
        whole = np.rint(steps)
        if np.abs(steps - whole).max(initial=0.0) > 1e-6:
            return None
        i, j, k = (whole.astype(int) % self.divisions).T
        return np.asarray(i + self.divisions[0] * (j + self.divisions[1] * k))
