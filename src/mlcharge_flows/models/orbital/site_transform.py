r"""Transforms between multipoles on sites and the Fourier coefficients of a box of G vectors.

The transform of type 1 takes the multipoles of sites to Fourier coefficients, that of type 2 takes
coefficients to moments about the sites; the two are adjoint, which gives their gradients. Windows
and grids are those of :mod:`mlcharge_flows.density.nonuniform_fft`. The grid is transformed some
planes at a time, and what the box leaves out is dropped between the axes: working arrays stay in
the cache.
"""

from __future__ import annotations

from functools import cached_property
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.autograd import Function
from typing_extensions import override

from mlcharge_flows.density.nonuniform_fft import SpreadingGrid

if TYPE_CHECKING:
    from collections.abc import Sequence

OVERSAMPLING = 1.15
"""Of the grids of densities: errors are those of 1.2, which has an eighth more points; with 1.1
they are larger in skewed cells."""
MOMENT_OVERSAMPLING = 1.2
"""Of those of overlaps, whose contractions cancel."""
_SITES_AT_ONCE = 64
_POINTS_AT_ONCE = 1 << 17
"""Sites, and points of grids, whose working arrays fit into the cache."""


def working_array(*shape: int, dtype: type = float) -> torch.Tensor:
    """Array in double precision, for large ones: numpy asks the system for large pages, torch not.

    Parameters
    ----------
    *shape
        Its shape.
    dtype
        float or complex.

    Returns
    -------
    torch.Tensor
        With arbitrary values.
    """
    return torch.from_numpy(np.empty(shape, dtype=dtype))


class SiteTransform:
    """Sums of Gaussian multipoles on sites, in a box of G vectors: linear maps and their adjoints.

    Parameters
    ----------
    squares
        |G|^2 of the box, 1/angstrom^2, shape (2 a + 1, 2 b + 1, c + 1) for integer frequencies up
        to a, b and c, in FFT order; along the last axis from 0 on.
    positions
        Fractional coordinates, shape (sites, 3).
    degree
        Highest degree of the multipoles.
    exponents
        Of the Gaussians, 1/angstrom^2; infinite for points.
    radius
        G vectors beyond this length may be left out, 1/angstrom.
    oversampling
        Of the grid.
    """

    def __init__(
        self,
        squares: torch.Tensor,
        positions: torch.Tensor,
        degree: int,
        exponents: Sequence[float],
        radius: float = inf,
        oversampling: float = OVERSAMPLING,
    ) -> None:
        a, b, c = *(n // 2 for n in squares.shape[:2]), squares.shape[2] - 1
        self.grid = SpreadingGrid.of((a, b, c), oversampling)
        points, windows = self.grid.weights(positions.double().cpu().numpy(), degree)
        self.points = torch.from_numpy(points)
        self.windows = torch.from_numpy(windows)
        self.squares = squares
        self.exponents = exponents
        self.radius = radius

    def to_coefficients(self, multipoles: torch.Tensor) -> torch.Tensor:
        r"""Fourier coefficients of the Gaussian multipoles of all sites.

        Parameters
        ----------
        multipoles
            Coefficients of :math:`(i\theta_1)^a (i\theta_2)^b (i\theta_3)^c e^{-G^2/4\alpha}`, with
            the angles :math:`\theta = 2 \pi h / n` of the oversampled grid, shape
            (exponents, sites, degree + 1, degree + 1, degree + 1).

        Returns
        -------
        torch.Tensor
            Shape of the box, complex.
        """
        return _applied(_ToCoefficients, multipoles, self)

    def to_moments(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Gaussian moments of a real function about the sites: the adjoint, over G and -G.

        Parameters
        ----------
        coefficients
            Fourier coefficients, shape of the box, complex.

        Returns
        -------
        torch.Tensor
            Shape (exponents, sites, degree + 1, degree + 1, degree + 1).
        """
        return _applied(_ToMoments, coefficients, self)

    @cached_property
    def _inverse_window(self) -> torch.Tensor:
        """Inverse of the transform of the window, shape of the box."""
        x, y, z = (torch.from_numpy(1 / transform) for transform in self.grid.transforms())
        x, y = (torch.cat([f, f[1:].flip(0)]) for f in (x, y))
        return x[:, None, None] * y[:, None] * z

    @cached_property
    def _values(self) -> torch.Tensor:
        """Working array: values on the oversampled grid."""
        return working_array(*self.grid.shape)

    @cached_property
    def _portions(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Flat indices of the points around some sites, and their windows."""
        _, ny, nz = self.grid.shape
        portions = []
        for points, windows in zip(
            self.points.split(_SITES_AT_ONCE, 1), self.windows.split(_SITES_AT_ONCE, 1), strict=True
        ):
            x, y, z = points
            flat = (x[:, :, None, None] * ny + y[:, None, :, None]) * nz + z[:, None, None]
            portions.append((flat.flatten(), windows))
        return portions

    @cached_property
    def _columns(self) -> list[tuple[slice, slice]]:
        """Blocks of the second axis of the box, and what the sphere needs of the third."""
        needed = (self.squares <= self.radius**2).any(0)
        blocks = _blocks(needed.shape[0], self.grid.shape[0] * needed.shape[1])
        # Along the third axis the sphere is connected, but need not begin at 0.
        last = (needed * torch.arange(1, needed.shape[1] + 1)).amax(1)
        return [(some, slice(0, int(last[some].max()))) for some in blocks]

    def spread(self, multipoles: torch.Tensor) -> torch.Tensor:
        """Do :meth:`to_coefficients` without gradients.

        Parameters
        ----------
        multipoles
            Shape (exponents, sites, degree + 1, degree + 1, degree + 1).

        Returns
        -------
        torch.Tensor
            Shape of the box, complex.
        """
        a, b, c = self.grid.half
        nx, ny, nz = self.grid.shape
        coefficients = working_array(*self.squares.shape, dtype=complex).zero_()
        parts = torch.view_as_real(coefficients)
        planes = working_array(nx, *coefficients.shape[1:], dtype=complex)
        for alpha, of_sites in zip(self.exponents, multipoles, strict=True):
            self._spread_sites(of_sites)
            for some in _blocks(nx, ny * nz):
                transformed = torch.fft.rfft2(self._values[some])
                planes[some, : b + 1] = transformed[:, : b + 1, : c + 1]
                planes[some, b + 1 :] = transformed[:, ny - b :, : c + 1]
            for block in self._columns:
                transformed = torch.view_as_real(torch.fft.fft(planes[:, *block], dim=0))
                low, high = transformed[: a + 1], transformed[nx - a :]
                if alpha == inf:
                    parts[: a + 1, *block].add_(low)
                    parts[a + 1 :, *block].add_(high)
                    continue
                decay = self._decay(alpha, block)
                parts[: a + 1, *block].addcmul_(low, decay[: a + 1])
                parts[a + 1 :, *block].addcmul_(high, decay[a + 1 :])
        return coefficients.mul_(self._inverse_window)

    def gather(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Do :meth:`to_moments` without gradients.

        Parameters
        ----------
        coefficients
            Shape of the box, complex.

        Returns
        -------
        torch.Tensor
            Shape (exponents, sites, degree + 1, degree + 1, degree + 1).
        """
        a, b, c = self.grid.half
        nx, ny, nz = self.grid.shape
        parts = torch.view_as_real(coefficients * self._inverse_window)
        rows, moments = _blocks(nx, ny * nz), []
        # What is beyond the sphere stays zero.
        planes = working_array(nx, *coefficients.shape[1:], dtype=complex).zero_()
        plane = torch.zeros(rows[0].stop, ny, nz // 2 + 1, dtype=torch.complex128)
        for alpha in self.exponents:
            for block in self._columns:
                low, decay = parts[:, *block], self._decay(alpha, block)
                padded = torch.zeros(nx, *low.shape[1:], dtype=torch.float64)
                torch.mul(low[: a + 1], decay[: a + 1], out=padded[: a + 1])
                torch.mul(low[a + 1 :], decay[a + 1 :], out=padded[nx - a :])
                planes[:, *block] = torch.fft.ifft(
                    torch.view_as_complex(padded), dim=0, norm="forward"
                )
            for some in rows:
                here = plane[: some.stop - some.start]
                here[:, : b + 1, : c + 1] = planes[some, : b + 1]
                here[:, ny - b :, : c + 1] = planes[some, b + 1 :]
                self._values[some] = torch.fft.irfft2(here, s=(ny, nz), norm="forward")
            moments.append(self._gather_sites())
        return torch.stack(moments)

    @cached_property
    def _exponent_squares(self) -> torch.Tensor:
        """-G^2 / 4 for real and imaginary part: products without broadcasting are vectorized."""
        return (self.squares * -0.25)[..., None].expand(*self.squares.shape, 2).contiguous()

    def _decay(self, alpha: float, some: tuple[slice, slice]) -> torch.Tensor:
        """exp(-G^2 / 4 alpha) in some columns of the box, for real and imaginary part."""
        return (self._exponent_squares[:, *some] / alpha).exp_()

    def _spread_sites(self, multipoles: torch.Tensor) -> None:
        values = self._values.zero_().view(-1)
        for here, (points, (wx, wy, wz)) in zip(
            multipoles.split(_SITES_AT_ONCE), self._portions, strict=True
        ):
            n_sites, n, width = wx.shape
            first = (wx.mT @ here.flatten(2)).view(n_sites, width, n, n)
            second = wy.mT[:, None] @ first
            values.index_add_(0, points, (second.flatten(1, 2) @ wz).flatten())

    def _gather_sites(self) -> torch.Tensor:
        values, moments = self._values.view(-1), []
        for points, (wx, wy, wz) in self._portions:
            n_sites, n, width = wx.shape
            around = values.index_select(0, points).view(n_sites, -1, width)
            first = (around @ wz.mT).view(n_sites, width, width, n)
            second = wy[:, None] @ first
            moments.append((wx @ second.flatten(2)).view(n_sites, n, n, n))
        return torch.cat(moments)


def _blocks(n: int, size: int) -> list[slice]:
    """Slices of rows of a given size that fit into the cache together."""
    step = max(1, _POINTS_AT_ONCE // size)
    return [slice(first, min(first + step, n)) for first in range(0, n, step)]


def _applied(
    function: type[Function], values: torch.Tensor, transform: SiteTransform
) -> torch.Tensor:
    found: torch.Tensor = function.apply(values, transform)
    return found


class _ToCoefficients(Function):
    """Type 1; backward is type 2 without the sum over G and -G."""

    @staticmethod
    @override
    def forward(ctx: Any, multipoles: torch.Tensor, transform: SiteTransform) -> torch.Tensor:
        ctx.transform = transform
        return transform.spread(multipoles)

    @staticmethod
    @override
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        halved = gradients[0].clone()
        halved[..., 1:] *= 0.5
        return _applied(_ToMoments, halved, ctx.transform), None


class _ToMoments(Function):
    """Type 2; backward is type 1, twice where -G is not in the box."""

    @staticmethod
    @override
    def forward(ctx: Any, coefficients: torch.Tensor, transform: SiteTransform) -> torch.Tensor:
        ctx.transform = transform
        return transform.gather(coefficients)

    @staticmethod
    @override
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        coefficients = _applied(_ToCoefficients, gradients[0], ctx.transform)
        return torch.cat([coefficients[..., :1], 2 * coefficients[..., 1:]], dim=-1), None
