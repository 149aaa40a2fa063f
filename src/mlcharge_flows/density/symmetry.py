"""Space-group operations of a crystal, and those that map a grid onto itself.

The operations are spglib's (A. Togo, K. Shinohara and I. Tanaka, Sci. Technol. Adv. Mater. Meth. 4,
2384822 (2024)).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import spglib

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlcharge_flows.density.crystal import Crystal

SYMPREC = 1e-5
"""Default tolerance of ionic positions in angstrom, as VASP's SYMPREC."""

_GRID_TOLERANCE = 1e-4
"""Tolerance of a translation in grid steps."""


@dataclass(frozen=True, eq=False)
class CrystalSymmetry:
    """Operations that map a crystal onto itself: x goes to rotation @ x + translation.

    Parameters
    ----------
    rotations
        Integer matrices that act on fractional coordinates, shape (n, 3, 3).
    translations
        In fractional coordinates, shape (n, 3).

    Examples
    --------
    >>> import numpy as np
    >>> from mlcharge_flows.density.crystal import Crystal
    >>> po = Crystal(np.eye(3) * 3.0, ("Po",), np.zeros((1, 3)))
    >>> len(CrystalSymmetry.of(po))
    48
    """

    rotations: np.ndarray
    translations: np.ndarray

    def __len__(self) -> int:
        return len(self.rotations)

    @classmethod
    def of(cls, crystal: Crystal, symprec: float = SYMPREC) -> Self:
        """Find the operations of a crystal.

        Parameters
        ----------
        crystal
            The ions.
        symprec
            Tolerance of ionic positions in angstrom.

        Returns
        -------
        CrystalSymmetry
            The identity alone where no symmetry can be determined, as with coincident ions.
        """
        kinds = np.unique(crystal.symbols, return_inverse=True)[1].tolist()
        cell = crystal.lattice.tolist(), crystal.positions.tolist(), kinds
        try:
            found = spglib.get_symmetry_dataset(cell, symprec=symprec)
        except spglib.SpglibError:
            found = None
        if found is None:
            return cls(np.eye(3, dtype=int)[None], np.zeros((1, 3)))
        return cls(np.asarray(found.rotations, dtype=int), np.asarray(found.translations))


@dataclass(frozen=True, eq=False)
class GridSymmetry:
    """Operations of a crystal that map a grid onto itself: point g goes to matrix @ g + shift.

    They are a group; operations of the crystal that put grid points between others are left out.

    Parameters
    ----------
    shape
        Points along each lattice vector.
    matrices
        Integer matrices that act on the indices of points, shape (n, 3, 3).
    shifts
        In grid steps, shape (n, 3).

    Examples
    --------
    >>> import numpy as np
    >>> from mlcharge_flows.density.crystal import Crystal
    >>> po = Crystal(np.eye(3) * 3.0, ("Po",), np.zeros((1, 3)))
    >>> symmetry = GridSymmetry.of(po, (4, 4, 4))
    >>> len(symmetry), len(np.unique(symmetry.irreducible_points()))
    (48, 10)
    """

    shape: tuple[int, int, int]
    matrices: np.ndarray
    shifts: np.ndarray

    def __len__(self) -> int:
        return len(self.matrices)

    @classmethod
    def of(cls, crystal: Crystal, shape: Sequence[int], symprec: float = SYMPREC) -> Self:
        """Find the operations of a crystal that map a grid onto itself.

        Parameters
        ----------
        crystal
            The ions.
        shape
            Points along each lattice vector.
        symprec
            Tolerance of ionic positions in angstrom.

        Returns
        -------
        GridSymmetry
            With at least the identity.
        """
        nx, ny, nz = (int(n) for n in shape)
        size = np.array((nx, ny, nz))
        found = CrystalSymmetry.of(crystal, symprec)
        matrices = found.rotations * size[:, None] / size
        shifts = found.translations * size
        kept = np.all(matrices == np.rint(matrices), axis=(1, 2)) & np.all(
            np.isclose(shifts, np.rint(shifts), rtol=0.0, atol=_GRID_TOLERANCE), axis=1
        )
        return cls(
            (nx, ny, nz),
            np.rint(matrices[kept]).astype(int),
            np.rint(shifts[kept]).astype(int) % size,
        )

    def images(self, operation: int) -> np.ndarray:
        """Where one operation takes every grid point.

        Parameters
        ----------
        operation
            Its index.

        Returns
        -------
        numpy.ndarray
            Flat index, in C order, of the image of each point, shape (points,).
        """
        axes = np.ix_(*(np.arange(n) for n in self.shape))
        image = np.zeros(self.shape, dtype=np.int64)
        for row, shift, n in zip(
            self.matrices[operation], self.shifts[operation], self.shape, strict=True
        ):
            place = sum((m * axis for m, axis in zip(row, axes, strict=True)), start=shift) % n
            image = image * n + place
        return image.ravel()

    def irreducible_points(self) -> np.ndarray:
        """The first of the symmetry-equivalent points of each grid point.

        Returns
        -------
        numpy.ndarray
            Flat indices in C order, shape (points,); its unique values are the irreducible points.
        """
        first = np.arange(np.prod(self.shape))
        points = first.copy()
        for operation in range(len(self)):
            np.minimum(first, self.images(operation), out=first)
        # The tolerance of the symmetry search may leave out a product of two operations.
        while np.any(points != first):
            points, first = first, first[first]
        return first

    def symmetrize(self, values: np.ndarray) -> np.ndarray:
        """Average a function on the grid over all operations.

        Parameters
        ----------
        values
            Function on the points i/n, of the shape of the grid, any unit.

        Returns
        -------
        numpy.ndarray
            The mean, of the same shape and integral.

        Raises
        ------
        ValueError
            The function is on another grid.
        """
        if values.shape != self.shape:
            raise ValueError(f"a grid of shape {values.shape}, the symmetry is of {self.shape}")
        if len(self) == 1:
            return values.copy()
        flat, total = values.ravel(), np.zeros(values.size)
        for operation in range(len(self)):
            total += flat[self.images(operation)]
        return (total / len(self)).reshape(self.shape)
