r"""Transforms between multipoles on sites and the Fourier coefficients of a box of G vectors.

The transform of type 1 takes the multipoles of sites to Fourier coefficients, that of type 2 takes
coefficients to moments about the sites; the two are adjoint, which gives their gradients. Sites are
on several grids, coarse for what has no high frequencies, which share a working array.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch.autograd import Function
from typing_extensions import override

from mlcharge_flows.density.inverse_transform import from_planes
from mlcharge_flows.models.orbital.site_transform import box_array

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlcharge_flows.models.orbital.fourier_box import FourierBox
    from mlcharge_flows.models.orbital.site_transform import SiteTransform


class BoxTransforms:
    """Sums of multipoles on sites, in a box of G vectors: linear maps and their adjoints.

    Parameters
    ----------
    squares
        |G|^2 of the box, 1/angstrom^2, shape (2 a + 1, 2 b + 1, c + 1) for integer frequencies up
        to a, b and c, in FFT order; along the last axis from 0 on. Infinite where coefficients
        vanish.
    nearest
        The least of them along the first axis.
    work
        Working array, as large as the largest grid needs (:attr:`.SiteTransform.size`). Its values
        are overwritten.
    transforms
        Of the sites of each grid.
    """

    def __init__(
        self,
        squares: torch.Tensor,
        nearest: torch.Tensor,
        work: torch.Tensor,
        transforms: Sequence[SiteTransform],
    ) -> None:
        self.squares = squares
        self.nearest = nearest
        self.work = work
        self.transforms = transforms

    def to_coefficients(self, multipoles: Sequence[torch.Tensor]) -> torch.Tensor:
        r"""Fourier coefficients of the multipoles of all sites of all grids.

        Parameters
        ----------
        multipoles
            Of each grid coefficients of :math:`(i\theta_1)^a (i\theta_2)^b (i\theta_3)^c` times its
            radial functions, with the angles :math:`\theta = 2 \pi h / n` of the oversampled grid,
            shape (radial functions, sites, degree + 1, degree + 1, degree + 1).

        Returns
        -------
        torch.Tensor
            Shape of the box, complex.
        """
        found: torch.Tensor = _ToCoefficients.apply(self, *multipoles)  # type: ignore[no-untyped-call]
        return found

    def to_moments(self, coefficients: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Moments of a real function about the sites: the adjoint, over G and -G.

        Parameters
        ----------
        coefficients
            Fourier coefficients, shape of the box, complex.

        Returns
        -------
        tuple of torch.Tensor
            Shapes (radial functions, sites, degree + 1, degree + 1, degree + 1).
        """
        found: tuple[torch.Tensor, ...] = _ToMoments.apply(self, coefficients)  # type: ignore[no-untyped-call]
        return found

    def spread(
        self, multipoles: Sequence[torch.Tensor], onto: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Do :meth:`to_coefficients` without gradients.

        Parameters
        ----------
        multipoles
            Of each grid.
        onto
            Coefficients to add them to, in their memory.

        Returns
        -------
        torch.Tensor
            Shape of the box, complex.
        """
        coefficients = box_array(self.squares.shape, complex).zero_() if onto is None else onto
        for transform, of_sites in zip(self.transforms, multipoles, strict=True):
            transform.spread(of_sites, self, coefficients)
        return coefficients

    def gather(self, coefficients: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Do :meth:`to_moments` without gradients.

        Parameters
        ----------
        coefficients
            Shape of the box, complex.

        Returns
        -------
        tuple of torch.Tensor
            Of each grid.
        """
        return tuple(transform.gather(coefficients, self) for transform in self.transforms)


class _ToCoefficients(Function):
    """Type 1; backward is type 2 without the sum over G and -G."""

    @staticmethod
    @override
    def forward(ctx: Any, box: BoxTransforms, *multipoles: torch.Tensor) -> torch.Tensor:
        ctx.box = box
        return box.spread(multipoles)

    @staticmethod
    @override
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        halved = gradients[0].clone()
        halved[..., 1:] *= 0.5
        return None, *ctx.box.to_moments(halved)


class _ToMoments(Function):
    """Type 2; backward is type 1, twice where -G is not in the box."""

    @staticmethod
    @override
    def forward(ctx: Any, box: BoxTransforms, coefficients: torch.Tensor) -> Any:
        ctx.box = box
        return box.gather(coefficients)

    @staticmethod
    @override
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[None, torch.Tensor]:
        coefficients = ctx.box.to_coefficients(gradients)
        return None, torch.cat([coefficients[..., :1], 2 * coefficients[..., 1:]], dim=-1)


class ToGrid(Function):
    """Sum of a Fourier series on the grid; backward is its adjoint."""

    @staticmethod
    @override
    def forward(ctx: Any, box: FourierBox, density: torch.Tensor) -> torch.Tensor:
        ctx.box = box
        grid = from_planes(box.planes(density), box.shape)
        grid /= box.crystal.volume
        return torch.from_numpy(grid)

    @staticmethod
    @override
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[None, torch.Tensor]:
        box = ctx.box
        found = box.from_grid(gradients[0]) * (prod(box.shape) / box.crystal.volume**2)
        return None, torch.cat([found[..., :1], 2 * found[..., 1:]], dim=-1)
