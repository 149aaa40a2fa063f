"""Periodic functions between grid and Fourier space, and Fourier interpolation between grids."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

if TYPE_CHECKING:
    from collections.abc import Sequence


def frequencies(n: int) -> np.ndarray:
    """Give the integer frequencies of an n-point grid, in FFT order.

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
    >>> from mlcharge_flows.density.fourier import frequencies
    >>> frequencies(5)
    array([ 0,  1,  2, -2, -1])
    """
    return np.rint(np.fft.fftfreq(n) * n).astype(int)


def half_frequencies(shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give the integer frequencies along each axis of a real grid's transform (``rfftn``).

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
    >>> from mlcharge_flows.density.fourier import half_frequencies
    >>> [axis.tolist() for axis in half_frequencies((3, 2, 4))]
    [[0, 1, -1], [0, -1], [0, 1, 2]]
    """
    nx, ny, nz = shape
    return frequencies(nx), frequencies(ny), np.arange(nz // 2 + 1)


def regrid(values: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Interpolate a real periodic function to another grid in Fourier space.

    The mean, hence the integral over the cell, is kept. The result is exact for a function whose
    frequencies both grids hold; refining and then restricting gives back the original.

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
        If `shape` has another number of axes or an axis without points.

    Examples
    --------
    >>> import numpy as np
    >>> from mlcharge_flows.density.fourier import regrid
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
    waves = np.moveaxis(fft.rfft(values, axis=axis), axis, 0)
    smaller = min(n, n_new)
    waves = waves[: smaller // 2 + 1].copy()
    if smaller % 2 == 0:
        # The Nyquist wave of an even grid is the sum of +n/2 and -n/2, which a larger grid holds
        # apart: half goes to each when refining, both are folded together when restricting.
        waves[-1] *= 0.5 if n_new > n else 2.0
    waves *= n_new / n
    return fft.irfft(np.moveaxis(waves, 0, axis), n=n_new, axis=axis)
