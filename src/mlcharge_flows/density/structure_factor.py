r"""Structure factors :math:`\sum_i e^{-i \mathbf G \cdot \mathbf R_i}` of sites on a grid.

They come a plane at a time, of all G vectors of the half spectrum with one frequency along the
second lattice vector: a sum over all sites that takes them never holds all of them. They are 0 at
the Nyquist frequency of an even grid: a shifted site cannot be represented there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

from mlcharge_flows.density.grid import frequencies, half_frequencies
from mlcharge_flows.density.nonuniform_fft import SpreadingGrid

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_DIRECT_SITES = 500
"""Sites up to which the sum over all sites and G vectors is faster than a transform."""
_POINTS_AT_ONCE = 1 << 17


def structure_factor(positions: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Structure factor of sites at all G vectors of a grid.

    Parameters
    ----------
    positions
        Fractional coordinates, shape (sites, 3).
    shape
        Points (nx, ny, nz) of the grid.

    Returns
    -------
    numpy.ndarray
        Half spectrum, shape (nx, ny, nz // 2 + 1), complex.

    Examples
    --------
    >>> found = structure_factor(np.array([[0.1, 0.2, 0.3], [0.5, 0.0, 0.9]]), (3, 3, 3))
    >>> expected = np.exp(-2j * np.pi * 0.6) + np.exp(-2j * np.pi * 1.4)
    >>> bool(abs(found[1, 1, 1] - expected) < 1e-8)
    True
    """
    result = np.empty((shape[0], shape[1], shape[2] // 2 + 1), dtype=complex)
    for y, plane in enumerate(structure_factor_planes(positions, shape)):
        result[:, y] = plane
    return result


def structure_factor_planes(
    positions: np.ndarray, shape: tuple[int, int, int]
) -> Iterator[np.ndarray]:
    """Structure factor of sites, a plane of G vectors at a time.

    Parameters
    ----------
    positions
        Fractional coordinates, shape (sites, 3).
    shape
        Points (nx, ny, nz) of the grid.

    Returns
    -------
    iterator of numpy.ndarray
        For each frequency along the second lattice vector, in FFT order, shape (nx, nz // 2 + 1),
        complex. Accurate to 1e-9 of the number of sites, which it is at G = 0 exactly. The next
        plane takes the place of the last one.
    """
    few = len(positions) <= MAX_DIRECT_SITES
    return _summed(positions, shape) if few else _transformed(positions, shape)


def _summed(positions: np.ndarray, shape: tuple[int, int, int]) -> Iterator[np.ndarray]:
    """Sums over all sites. Phases separate: a plane is a product of matrices."""
    nx, ny, nz = shape
    half = (nx - 1) // 2
    along_x = 2 * np.pi * np.outer(np.arange(half + 1), positions[:, 0])
    _, hy, hz = half_frequencies(shape)
    phases_y, phases_z = (
        np.exp(-2j * np.pi * np.outer(h, positions[:, axis])) for axis, h in ((1, hy), (2, hz))
    )
    phases_y[2 * np.abs(hy) == ny] = 0.0
    phases_z[2 * hz == nz] = 0.0
    # Frequencies h and -h along x share real products: e^{-+ia} = cos a -+ i sin a.
    cosines, sines, phases_z = np.cos(along_x), np.sin(along_x), np.ascontiguousarray(phases_z.T)
    plane = np.zeros((nx, len(hz)), dtype=complex)
    for phases in phases_y:
        waves = (phases[:, None] * phases_z).view(float)
        even, odd = (cosines @ waves).view(complex), (sines @ waves).view(complex)
        odd *= 1j
        np.subtract(even, odd, out=plane[: half + 1])
        np.add(even[:0:-1], odd[:0:-1], out=plane[nx - half :])
        yield plane


def _transformed(positions: np.ndarray, shape: tuple[int, int, int]) -> Iterator[np.ndarray]:
    """Non-uniform Fourier transform, see :mod:`.nonuniform_fft`."""
    grid = SpreadingGrid.of([(n - 1) // 2 for n in shape])
    a, b, c = grid.half
    nx, ny, nz = grid.shape
    fx, fy, fz = (1 / transform for transform in grid.transforms())
    fx = np.concatenate([fx, fx[:0:-1]])
    spread = _spread(grid, positions)
    # Some planes at a time, so that working arrays stay in the cache; what is beyond the
    # frequencies wanted is dropped between the axes.
    planes = np.empty((nx, 2 * b + 1, c + 1), dtype=complex)
    step = max(1, _POINTS_AT_ONCE // (ny * nz))
    for first in range(0, nx, step):
        some = slice(first, first + step)
        transformed = fft.rfft2(spread[some])
        planes[some, : b + 1] = transformed[:, : b + 1, : c + 1]
        planes[some, b + 1 :] = transformed[:, ny - b :, : c + 1]
    plane = np.zeros((shape[0], shape[2] // 2 + 1), dtype=complex)
    for h in frequencies(shape[1]):
        if abs(h) > b:
            yield np.zeros_like(plane)
            continue
        transformed = fft.fft(planes[:, h], axis=0)
        factor = fy[abs(h)] * fz
        plane[: a + 1, : c + 1] = transformed[: a + 1] * (fx[: a + 1, None] * factor)
        plane[shape[0] - a :, : c + 1] = transformed[nx - a :] * (fx[a + 1 :, None] * factor)
        if h == 0:
            plane[0, 0] = len(positions)
        yield plane


def _spread(grid: SpreadingGrid, positions: np.ndarray) -> np.ndarray:
    """Sum of the windows about sites, on a grid."""
    (x, y, z), values = grid.weights(positions)
    nx, ny, nz = grid.shape
    spread = np.zeros(nx * ny * nz)
    wx, wy, wz = values[:, :, 0]
    for site in range(len(positions)):
        index = (x[site, :, None, None] * ny + y[site, :, None]) * nz + z[site]
        value = wx[site, :, None, None] * wy[site, :, None] * wz[site]
        # A window that is as wide as the cell meets no point twice.
        spread[index] += value
    return spread.reshape(grid.shape)
