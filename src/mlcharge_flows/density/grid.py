"""Grids of periodic functions: their Fourier frequencies, and interpolation between grids."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

if TYPE_CHECKING:
    from collections.abc import Sequence


def frequencies(n: int) -> np.ndarray:
    """Integer frequencies of an n-point grid, in FFT order.

    Parameters
    ----------
    n
        Grid points along one lattice vector.

    Returns
    -------
    numpy.ndarray
        Shape (n,): 0, 1, .., -2, -1. For even n the Nyquist frequency appears as -n/2.

    Examples
    --------
    >>> from mlcharge_flows.density.grid import frequencies
    >>> frequencies(5)
    array([ 0,  1,  2, -2, -1])
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
    >>> from mlcharge_flows.density.grid import half_frequencies
    >>> [axis.tolist() for axis in half_frequencies((3, 2, 4))]
    [[0, 1, -1], [0, -1], [0, 1, 2]]
    """
    nx, ny, nz = shape
    return frequencies(nx), frequencies(ny), np.arange(nz // 2 + 1)


def regrid(values: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Interpolate a real periodic function to another grid in Fourier space.

    The mean, hence the integral over the cell, is kept. The result is exact for a function whose
    frequencies both grids hold; refining and then restricting gives back the original.

    At the Nyquist frequency of an even grid, n/2 and -n/2 are one component: refining gives half of
    it to each, restricting adds the two.

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
    >>> import numpy as np
    >>> from mlcharge_flows.density.grid import regrid
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
