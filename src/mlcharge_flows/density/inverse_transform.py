"""A real function on a grid from its Fourier coefficients, a plane of them at a time.

Coefficients go plane by plane from where they are computed to the grid: what works on them stays in
the cache, and no array is larger than the grid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

if TYPE_CHECKING:
    from collections.abc import Iterable


def from_planes(planes: Iterable[np.ndarray | None], shape: tuple[int, int, int]) -> np.ndarray:
    """Sum a Fourier series on a grid.

    Parameters
    ----------
    planes
        Coefficients of the half spectrum for each of the ny frequencies along the second lattice
        vector, in FFT order: shape (nx, columns), complex, columns beyond them are zero. None for a
        plane of zeros. A plane is not used after the next one is asked for.
    shape
        The grid (nx, ny, nz).

    Returns
    -------
    numpy.ndarray
        The function, of the given shape.

    Examples
    --------
    >>> from_planes([np.array([[0.0, 0.5]]), None], (1, 2, 3)).round(6).tolist()
    [[[1.0, -0.5, -0.5], [1.0, -0.5, -0.5]]]
    """
    nx, ny, nz = shape
    # Empty, not zeros: numpy asks the system for large pages for the one alone.
    spectrum = np.empty((nx, ny, nz // 2 + 1), dtype=complex)
    for y, plane in enumerate(planes):
        columns = 0
        if plane is not None:
            columns = plane.shape[1]
            spectrum[:, y, :columns] = fft.ifft(plane, axis=0, norm="forward")
        spectrum[:, y, columns:] = 0.0
    # The grid takes the memory of the coefficients: its planes are smaller than theirs.
    grid: np.ndarray = spectrum.view(float).reshape(-1)[: nx * ny * nz].reshape(shape)
    for x in range(nx):
        grid[x] = fft.irfft2(spectrum[x], s=(ny, nz), norm="forward")
    return grid
