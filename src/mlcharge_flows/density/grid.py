"""Grids of periodic functions: Fourier frequencies, interpolation between grids, and symmetry.

Operations of space groups are spglib's (A. Togo, K. Shinohara and I. Tanaka, Sci. Technol. Adv.
Mater. Meth. 4, 2384822 (2024)).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import spglib
from scipy import fft

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlcharge_flows.density.crystal import Crystal

SYMPREC = 1e-5
"""Default tolerance of ionic positions in angstrom, as VASP's SYMPREC."""

_GRID_TOLERANCE = 1e-4
"""Tolerance of a translation in grid steps."""


def frequencies(n: int) -> np.ndarray:
    """Integer frequencies of an n-point grid, in FFT order.

    Parameters
    ----------
    n
        Grid points along one lattice vector.

    Returns
    -------
    numpy.ndarray
        Shape (n,): 0, 1, .., -2, -1. For even n the Nyquist frequency is -n/2.
    """
    rounded: np.ndarray = np.rint(np.fft.fftfreq(n) * n)
    return rounded.astype(int)


def half_frequencies(shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Integer frequencies along each axis of the transform of a real grid (``rfftn``).

    Parameters
    ----------
    shape
        Grid points along the three lattice vectors.

    Returns
    -------
    tuple of numpy.ndarray
        Of nx, ny and nz // 2 + 1 frequencies; the last are 0 and above.

    Examples
    --------
    >>> [axis.tolist() for axis in half_frequencies((3, 2, 4))]
    [[0, 1, -1], [0, -1], [0, 1, 2]]
    """
    nx, ny, nz = shape
    return frequencies(nx), frequencies(ny), np.arange(nz // 2 + 1)


def regrid(values: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Interpolate a real periodic function to another grid in Fourier space.

    The mean is kept. The result is exact for a function whose frequencies both grids hold; refining
    and then restricting gives back the original. At the Nyquist frequency of an even grid, n/2 and
    -n/2 are one component: refining gives half of it to each, restricting adds the two.

    Parameters
    ----------
    values
        Real function at the points i/n, shape (nx, ny, nz), any number of axes.
    shape
        Points along each axis of the new grid.

    Returns
    -------
    numpy.ndarray
        The function on the new grid. A copy, also where the shapes are equal.

    Raises
    ------
    ValueError
        `shape` has another number of axes, or an axis without points.

    Examples
    --------
    >>> wave = np.cos(2 * np.pi * np.arange(6) / 6)
    >>> bool(np.allclose(regrid(wave, [9]), np.cos(2 * np.pi * np.arange(9) / 9)))
    True
    """
    values = np.asarray(values, dtype=float)
    if len(shape) != values.ndim or min(shape) < 1:
        raise ValueError(f"cannot regrid {values.shape} to {tuple(shape)}")
    result = values
    # Shrinking axes first keeps the intermediate arrays small.
    for axis in sorted(range(values.ndim), key=lambda i: shape[i] / values.shape[i]):
        if shape[axis] != values.shape[axis]:
            result = _regrid_axis(result, shape[axis], axis)
    return result.copy() if result is values else result


def _regrid_axis(values: np.ndarray, n_new: int, axis: int) -> np.ndarray:
    n = values.shape[axis]
    components = np.moveaxis(fft.rfft(values, axis=axis), axis, 0)
    smaller = min(n, n_new)
    components = components[: smaller // 2 + 1].copy()
    if smaller % 2 == 0:
        components[-1] *= 0.5 if n_new > n else 2.0
    components *= n_new / n
    regridded: np.ndarray = fft.irfft(np.moveaxis(components, 0, axis), n=n_new, axis=axis)
    return regridded


def to_other_cell(
    values: np.ndarray,
    shape: Sequence[int],
    cells: np.ndarray,
    translation: Sequence[float] | np.ndarray = (0.0, 0.0, 0.0),
) -> np.ndarray:
    """Express a real periodic function in another cell of its lattice, and translate it.

    The component of frequency h of the old cell is that of frequency N h of the new one, whose
    lattice vectors are the rows of N A. The mean is kept. At the Nyquist frequency of an even grid,
    n/2 and -n/2 have half of the component each, as in :func:`regrid`.

    Parameters
    ----------
    values
        Real function at the points i/n of the old cell, shape (nx, ny, nz), any unit.
    shape
        Points along each vector of the new cell.
    cells
        N, lattice vectors of the new cell in those of the old one as rows, integers, shape (3, 3).
    translation
        In fractional coordinates of the new cell.

    Returns
    -------
    numpy.ndarray
        Function at the points of the new cell, f(N^T (s - t)) for fractional coordinates s.

    Raises
    ------
    ValueError
        The shape has not three axes with points, or the new cell has no volume.

    Examples
    --------
    >>> wave = np.cos(2 * np.pi * np.arange(4) / 4).reshape(4, 1, 1)
    >>> twice = to_other_cell(wave, (8, 1, 1), np.diag([2, 1, 1]), (0.125, 0.0, 0.0))
    >>> (twice.ravel().round(12) + 0.0).tolist()
    [0.0, 1.0, 0.0, -1.0, 0.0, 1.0, 0.0, -1.0]
    """
    values, cells = np.asarray(values, dtype=float), np.asarray(cells)
    nx, ny, nz = shape = tuple(int(n) for n in shape)
    if values.ndim != len(shape) or min(shape) < 1:
        raise ValueError(f"cannot express {values.shape} on {shape}")
    if round(float(np.linalg.det(cells))) == 0:
        raise ValueError("the new cell has no volume")
    translation = np.asarray(translation, dtype=float)
    if np.array_equal(cells, np.eye(3)) and not translation.any():
        return regrid(values, shape)
    spectrum = np.zeros((nx, ny, nz // 2 + 1), dtype=complex)
    components = fft.fftn(values) / values.size
    h_x, h_y, h_z = (_both_nyquists(n) for n in values.shape)
    hy, hz = (axis.ravel() for axis in np.meshgrid(h_y, h_z, indexing="ij"))
    weights = _halved(hy, values.shape[1]) * _halved(hz, values.shape[2])
    for hx in h_x:  # a plane at a time, lest memory holds all frequencies at once
        k = cells @ np.stack([np.full(hy.shape, hx), hy, hz])
        column = k[2] % nz
        kept = np.all(2 * np.abs(k) <= np.array(shape)[:, None], axis=0) & (column <= nz // 2)
        phases = np.exp(-2j * np.pi * (translation @ k[:, kept]))
        some = components[hx, hy[kept], hz[kept]] * weights[kept] * phases
        place = (k[0, kept] % nx, k[1, kept] % ny, column[kept])
        np.add.at(spectrum, place, some * _halved(hx, values.shape[0]))
    moved: np.ndarray = fft.irfftn(spectrum * (nx * ny * nz), s=shape)
    return moved


def _both_nyquists(n: int) -> np.ndarray:
    """Frequencies of an n-point grid, for even n with both n/2 and -n/2."""
    return np.arange(-(n // 2), n // 2 + 1)


def _halved(frequency: np.ndarray, n: int) -> np.ndarray:
    """Weight of a component: one half at the two Nyquist frequencies of an even grid."""
    return np.where(2 * np.abs(frequency) == n, 0.5, 1.0)


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
    def of(
        cls, crystal: Crystal, symprec: float = SYMPREC, labels: np.ndarray | None = None
    ) -> Self:
        """Find the operations of a crystal.

        Parameters
        ----------
        crystal
            The ions.
        symprec
            Tolerance of ionic positions in angstrom.
        labels
            Numbers of each ion, shape (ions,) or (ions, n), such as its moment: operations map ions
            onto those of the same numbers.

        Returns
        -------
        CrystalSymmetry
            The identity alone where no symmetry can be determined, as with coincident ions.
        """
        kinds = np.unique(crystal.symbols, return_inverse=True)[1]
        if labels is not None:
            pairs = np.column_stack([kinds, np.asarray(labels, dtype=float)])
            kinds = np.unique(pairs, axis=0, return_inverse=True)[1].ravel()
        cell = crystal.lattice.tolist(), crystal.positions.tolist(), kinds.tolist()
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

    Operations of the crystal that put grid points between others are left out.

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
    def of(
        cls,
        crystal: Crystal,
        shape: Sequence[int],
        symprec: float = SYMPREC,
        operations: CrystalSymmetry | None = None,
    ) -> Self:
        """Find the operations of a crystal that map a grid onto itself.

        Parameters
        ----------
        crystal
            The ions.
        shape
            Points along each lattice vector.
        symprec
            Tolerance of ionic positions in angstrom.
        operations
            Some operations of the crystal; by default all of them.

        Returns
        -------
        GridSymmetry
            With at least the identity.
        """
        nx, ny, nz = (int(n) for n in shape)
        size = np.array((nx, ny, nz))
        found = operations or CrystalSymmetry.of(crystal, symprec)
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
