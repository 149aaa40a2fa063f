"""Multipoles on sites and the low Fourier coefficients of one oversampled grid.

Windows and grids are those of :mod:`mlcharge_flows.density.nonuniform_fft`. A grid is transformed
some planes at a time, and what the box leaves out is dropped between the axes: working arrays stay
in the cache. The low frequencies of a plane take the memory of its points, and that of the grid
comes from outside: new memory costs the system more than a pass through it.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, prod
from typing import TYPE_CHECKING

import numpy as np
import torch

from mlcharge_flows.density.nonuniform_fft import SpreadingGrid

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mlcharge_flows.models.orbital.box_transforms import BoxTransforms

OVERSAMPLING = 1.15
"""Of the grids of densities: errors are those of 1.2, which has an eighth more points; with 1.1
they are larger in skewed cells."""
MOMENT_OVERSAMPLING = 1.2
"""Of those of overlaps, whose contractions cancel."""
_SITES_AT_ONCE = 64
_POINTS_AT_ONCE = 1 << 17
"""Sites, and points of grids, whose working arrays fit into the cache."""

Radial = Callable[[torch.Tensor], torch.Tensor]
"""Factor of the coefficients as a function of |G|^2, which is infinite where it has to vanish."""


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


def box_array(shape: Sequence[int], dtype: type = float) -> torch.Tensor:
    """Array of a box of G vectors. Neighbors in memory are those along the first lattice vector.

    Parameters
    ----------
    shape
        Of the box.
    dtype
        float or complex.

    Returns
    -------
    torch.Tensor
        With arbitrary values.
    """
    nx, ny, nz = shape
    return working_array(ny, nz, nx, dtype=dtype).permute(2, 0, 1)


class SiteTransform:
    """Sites on an oversampled grid, for the low frequencies of a box of G vectors.

    Parameters
    ----------
    half
        Highest integer frequency along each lattice vector.
    positions
        Fractional coordinates, shape (sites, 3).
    degree
        Highest degree of the multipoles.
    radials
        Radial functions of the sites.
    radius
        Length beyond which these vanish, 1/angstrom.
    oversampling
        Of the grid.
    """

    def __init__(
        self,
        half: tuple[int, int, int],
        positions: torch.Tensor,
        degree: int,
        radials: Sequence[Radial],
        radius: float = inf,
        oversampling: float = OVERSAMPLING,
    ) -> None:
        self.grid = SpreadingGrid.of(half, oversampling)
        self.positions = positions
        self.degree = degree
        self.radials = radials
        self.radius = radius
        x, y, z = (torch.from_numpy(1 / transform) for transform in self.grid.transforms())
        self._window_x = x[:, None, None]
        self._window_yz = (torch.cat([y, y[1:].flip(0)])[:, None] * z).to(torch.complex128)

    @property
    def size(self) -> int:
        """Numbers of the working array."""
        return self.grid.shape[0] * self._stride

    @property
    def _stride(self) -> int:
        """Numbers between planes of the working array, even: their transforms are complex."""
        n_points = prod(self.grid.shape[1:])
        return n_points + n_points % 2

    def spread(
        self,
        multipoles: torch.Tensor,
        box: BoxTransforms,
        coefficients: torch.Tensor,
    ) -> None:
        """Add the Fourier coefficients of all sites to those of the box.

        Parameters
        ----------
        multipoles
            Shape (radial functions, sites, degree + 1, degree + 1, degree + 1).
        box
            The box.
        coefficients
            Of the box, complex.
        """
        _, b, c = self.grid.half
        nx, ny, nz = self.grid.shape
        values, planes = self._views(box.work)
        portions, columns = list(self._portions()), list(self._columns(box.nearest))
        for radial, of_sites in zip(self.radials, multipoles, strict=True):
            _spread_sites(box.work[: self.size].zero_(), of_sites, portions)
            for some in _blocks(0, nx, ny * nz):
                low = torch.fft.rfft2(values[some])[:, :, : c + 1]
                torch.mul(low[:, : b + 1], self._window_yz[: b + 1], out=planes[some, : b + 1])
                torch.mul(low[:, ny - b :], self._window_yz[b + 1 :], out=planes[some, b + 1 :])
            for here, there in columns:
                transformed = torch.fft.fft(planes[:, *here], dim=0)
                for low_x, box_x, window in self._rows(len(coefficients)):
                    factor = radial(box.squares[box_x, *there]).mul_(window)
                    coefficients[box_x, *there].addcmul_(transformed[low_x], factor.to(planes))

    def gather(self, coefficients: torch.Tensor, box: BoxTransforms) -> torch.Tensor:
        """Moments about all sites.

        Parameters
        ----------
        coefficients
            Of the box, complex.
        box
            The box.

        Returns
        -------
        torch.Tensor
            Shape (radial functions, sites, degree + 1, degree + 1, degree + 1).
        """
        _, b, c = self.grid.half
        nx, ny, nz = self.grid.shape
        values, planes = self._views(box.work)
        rows, moments = _blocks(0, nx, ny * nz), []
        padded = torch.zeros(rows[0].stop, ny, nz // 2 + 1, dtype=torch.complex128)
        portions, columns = list(self._portions()), list(self._columns(box.nearest))
        for radial in self.radials:
            for here, there in columns:
                planes[:, here[0], here[1].stop :] = 0.0  # beyond the sphere
                size = planes[0, *here].shape
                column = torch.zeros(*size, nx, dtype=torch.complex128).permute(2, 0, 1)
                for low_x, box_x, window in self._rows(len(coefficients)):
                    factor = radial(box.squares[box_x, *there]).mul_(window).to(planes)
                    torch.mul(coefficients[box_x, *there], factor, out=column[low_x])
                planes[:, *here] = torch.fft.ifft(column, dim=0, norm="forward")
            for some in rows:
                low, window = padded[: some.stop - some.start, :, : c + 1], self._window_yz
                torch.mul(planes[some, : b + 1], window[: b + 1], out=low[:, : b + 1])
                torch.mul(planes[some, b + 1 :], window[b + 1 :], out=low[:, ny - b :])
                plane = padded[: some.stop - some.start]
                values[some] = torch.fft.irfft2(plane, s=(ny, nz), norm="forward")
            moments.append(_gather_sites(box.work, portions))
        return torch.stack(moments)

    def _views(self, work: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Grid, and the low frequencies of its planes in the same memory."""
        _, b, c = self.grid.half
        nx, ny, nz = self.grid.shape
        rows = work[: self.size].view(nx, -1)
        pairs = torch.view_as_complex(rows.unflatten(1, (-1, 2)))
        low = pairs[:, : (2 * b + 1) * (c + 1)].unflatten(1, (2 * b + 1, c + 1))
        return rows[:, : ny * nz].unflatten(1, (ny, nz)), low

    def _portions(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Flat indices of the points around some sites, and their windows."""
        nz = self.grid.shape[2]
        index = torch.int32 if self.size < 1 << 31 else torch.int64
        points, windows = self.grid.weights(self.positions.double().cpu().numpy(), self.degree)
        for (x, y, z), some in zip(
            torch.from_numpy(points).to(index).split(_SITES_AT_ONCE, 1),
            torch.from_numpy(windows).split(_SITES_AT_ONCE, 1),
            strict=True,
        ):
            in_plane = y[:, None, :, None] * nz + z[:, None, None]
            yield (x[:, :, None, None] * self._stride + in_plane).flatten(), some

    def _columns(
        self, nearest: torch.Tensor
    ) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice]]]:
        """Blocks of columns along the first axis that reach the sphere: of planes, of the box."""
        _, b, c = self.grid.half
        reached = nearest[:, : c + 1] <= self.radius**2
        shift = len(nearest) - (2 * b + 1)
        for first, last, moved in ((0, b + 1, 0), (b + 1, 2 * b + 1, shift)):
            for some in _blocks(first, last, self.grid.shape[0] * (c + 1)):
                there = slice(some.start + moved, some.stop + moved)
                # Along the third axis the sphere is connected, but need not begin at 0.
                places = reached[there].any(0).nonzero().flatten().tolist()
                needed = slice(0, 1 + max(places, default=0))
                yield (some, needed), (there, needed)

    def _rows(self, n: int) -> list[tuple[slice, slice, torch.Tensor]]:
        """Low frequencies along the first axis, of grid and box, and the inverse of the window."""
        a, nx, window = self.grid.half[0], self.grid.shape[0], self._window_x
        rows = [(slice(0, a + 1), slice(0, a + 1), window)]
        return rows + [(slice(nx - a, nx), slice(n - a, n), window[1:].flip(0))] * (a > 0)


def _blocks(first: int, last: int, size: int) -> list[slice]:
    """Slices of rows of a given size that fit into the cache together."""
    step = max(1, _POINTS_AT_ONCE // size)
    return [slice(start, min(start + step, last)) for start in range(first, last, step)]


def _spread_sites(
    values: torch.Tensor,
    multipoles: torch.Tensor,
    portions: Sequence[tuple[torch.Tensor, torch.Tensor]],
) -> None:
    for here, (points, (wx, wy, wz)) in zip(
        multipoles.split(_SITES_AT_ONCE), portions, strict=True
    ):
        n_sites, n, width = wx.shape
        first = (wx.mT @ here.flatten(2)).view(n_sites, width, n, n)
        second = wy.mT[:, None] @ first
        values.index_add_(0, points, (second.flatten(1, 2) @ wz).flatten())


def _gather_sites(
    values: torch.Tensor, portions: Sequence[tuple[torch.Tensor, torch.Tensor]]
) -> torch.Tensor:
    moments = []
    for points, (wx, wy, wz) in portions:
        n_sites, n, width = wx.shape
        around = values.index_select(0, points).view(n_sites, -1, width)
        first = (around @ wz.mT).view(n_sites, width, width, n)
        second = wy[:, None] @ first
        moments.append((wx @ second.flatten(2)).view(n_sites, n, n, n))
    return torch.cat(moments)
