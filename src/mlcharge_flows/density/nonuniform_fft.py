r"""Sums over sites at all G vectors of a cell, in a time linear in the number of sites.

A structure factor :math:`S(\mathbf G) = \sum_i c_i e^{-i \mathbf G \cdot \mathbf R_i}` is the
Fourier transform of point charges. Each point is spread over the points of an oversampled grid
around it by a window :math:`\varphi`, the grid is transformed, and the transform of the window
divided out: a non-uniform Fourier transform of type 1. The window is a product over the lattice
vectors of Kaiser-Bessel windows

.. math::
    \varphi(u) = \frac{I_0(\beta \sqrt{1 - (2u/w)^2})}{I_0(\beta)} , \qquad |u| \le w/2 ,

of w grid points. Its n-th derivative has the transform :math:`(i\theta)^n \hat\varphi(\theta)`
with :math:`\theta = 2 \pi h / n`, h the integer frequency: sums of multipoles, which go with a
polynomial in h, are spread with derivatives, on the same grid as those of point charges.

References
----------
A. Dutt and V. Rokhlin, SIAM J. Sci. Comput. 14, 1368 (1993).
A. H. Barnett, J. Magland and L. af Klinteberg, SIAM J. Sci. Comput. 41, C479 (2019), sections 2
and 3 (FINUFFT).
J. A. Fessler and B. P. Sutton, IEEE Trans. Signal Process. 51, 560 (2003), section IV.C
(Kaiser-Bessel windows).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import ceil, pi
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.polynomial import chebyshev
from scipy import fft
from scipy.special import i0e

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WIDTH = 18
"""Width w of the window, grid points."""
OVERSAMPLING = 1.3
"""Least ratio of the points of a grid to the frequencies, along each lattice vector, by default."""
MAX_DERIVATIVE = 6
"""Highest derivative of the window that is known."""
_DEGREE, _CELL_DEGREE, _N_QUADRATURE = 64, 20, 100


def corners(half: Sequence[int]) -> Iterator[tuple[slice, slice, slice]]:
    """Blocks of the low frequencies of the transform of a real grid, in FFT order.

    The same slices select the same frequencies from every transform that holds them.

    Parameters
    ----------
    half
        Highest frequency along each lattice vector.

    Yields
    ------
    tuple of slice
        Along the three axes; the last frequency is 0 or above. One block for each sign of the
        other two.

    Examples
    --------
    >>> [block[0] for block in corners((2, 0, 1))]
    [slice(0, 3, None), slice(-2, None, None)]
    """
    signs = [[slice(0, h + 1), *([slice(-h, None)] if h else [])] for h in half[:2]]
    for first in signs[0]:
        for second in signs[1]:
            yield first, second, slice(0, half[2] + 1)


@cache
def _window(oversampling: float) -> tuple[np.ndarray, np.ndarray]:
    """Chebyshev series of the window on [-1, 1], and of it and its derivatives in each cell."""
    beta = 1.02 * pi * WIDTH * (1 - 1 / (2 * oversampling))

    def kaiser_bessel(t: np.ndarray) -> np.ndarray:
        root = np.sqrt(np.maximum(1 - t * t, 0.0))
        values: np.ndarray = i0e(beta * root) / i0e(beta) * np.exp(beta * (root - 1))
        return values

    nodes = chebyshev.chebpts1(_DEGREE + 1)
    series = chebyshev.chebfit(nodes, kaiser_bessel(nodes), _DEGREE)
    # The nodes of a cell run from one of its ends to the other.
    local = chebyshev.chebpts1(_CELL_DEGREE + 1)
    t = (2 * np.arange(WIDTH) + 1 + local[:, None]) / WIDTH - 1
    cells = np.empty((_CELL_DEGREE + 1, MAX_DERIVATIVE + 1, WIDTH))
    for order in range(MAX_DERIVATIVE + 1):
        derivative = chebyshev.chebder(series, order) * (2 / WIDTH) ** order
        cells[:, order] = chebyshev.chebfit(local, chebyshev.chebval(t, derivative), _CELL_DEGREE)
    return series, cells


@cache
def _quadrature(oversampling: float) -> tuple[np.ndarray, np.ndarray]:
    """Distances in grid steps, on one side, and the window there times the weights of a sum."""
    nodes, weights = np.polynomial.legendre.leggauss(_N_QUADRATURE)
    window = weights * chebyshev.chebval(nodes, _window(oversampling)[0]) * WIDTH
    half = nodes > 0  # the window is even
    return nodes[half] * (WIDTH / 2), window[half]


@dataclass(frozen=True)
class SpreadingGrid:
    """Oversampled grid for the frequencies up to a highest one along each lattice vector.

    Parameters
    ----------
    half
        Highest frequency along each lattice vector.
    shape
        Points of the grid along each lattice vector.
    oversampling
        Least ratio of the points to the frequencies, which decides the window.

    Examples
    --------
    >>> grid = SpreadingGrid.of((10, 8, 0))
    >>> grid.shape
    (30, 24, 18)
    """

    half: tuple[int, int, int]
    shape: tuple[int, int, int]
    oversampling: float = OVERSAMPLING

    @classmethod
    def of(cls, half: Sequence[int], oversampling: float = OVERSAMPLING) -> Self:
        """Smallest grid with a fast Fourier transform.

        Parameters
        ----------
        half
            Highest frequency along each lattice vector.
        oversampling
            Least ratio of the points to the frequencies.

        Returns
        -------
        SpreadingGrid
            The grid.
        """
        a, b, c = (int(h) for h in half)
        nx, ny, nz = (
            fft.next_fast_len(max(ceil(oversampling * (2 * h + 1)), WIDTH), real=True)
            for h in (a, b, c)
        )
        return cls((a, b, c), (nx, ny, nz), oversampling)

    def weights(
        self, positions: np.ndarray, n_derivatives: int = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Points around sites, and the window and its derivatives there.

        Parameters
        ----------
        positions
            Fractional coordinates, shape (sites, 3).
        n_derivatives
            Highest derivative.

        Returns
        -------
        points : numpy.ndarray
            Indices along each lattice vector, shape (3, sites, WIDTH).
        values : numpy.ndarray
            Shape (3, sites, n_derivatives + 1, WIDTH), derivatives with respect to grid steps.
        """
        _, cells = _window(self.oversampling)
        size = np.array(self.shape)
        places = (positions - np.floor(positions)) * size
        first = np.floor(places - WIDTH / 2).astype(np.int64) + 1
        # The window runs from -w/2 to w/2; the first point lies in its first cell.
        inside = first - places + WIDTH / 2
        polynomials = chebyshev.chebvander(2 * inside.T - 1, _CELL_DEGREE)
        table = cells[:, : n_derivatives + 1].reshape(_CELL_DEGREE + 1, -1)
        values = (polynomials @ table).reshape(3, len(positions), n_derivatives + 1, WIDTH)
        points = (first.T[:, :, None] + np.arange(WIDTH)) % size[:, None, None]
        return points, values

    def transforms(self) -> list[np.ndarray]:
        """Transform of the window along each lattice vector, at the frequencies 0 to the highest.

        Returns
        -------
        list of numpy.ndarray
            Shapes (half + 1,), real and positive; the window is even.
        """
        nodes, window = _quadrature(self.oversampling)
        return [
            np.cos(np.outer(2 * pi / n * np.arange(h + 1), nodes)) @ window
            for h, n in zip(self.half, self.shape, strict=True)
        ]
