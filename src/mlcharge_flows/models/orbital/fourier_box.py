r"""Density of orbitals at all G vectors of a cell, in a time linear in the number of sites.

With integer frequencies h of G, the solid harmonics :math:`G^l Y_{lm}(\hat G)` are polynomials of
degree l in h, whatever the cell, and the Gaussians of one exponent differ in them alone,

.. math::
    V \rho(\mathbf G) = \sum_k e^{-G^2 / 4\alpha_k} \sum_i e^{-i \mathbf G \cdot \mathbf R_i}
        \sum_{abc} C^{ik}_{abc}\, (i\theta_1)^a (i\theta_2)^b (i\theta_3)^c .

So all components of an exponent are spread together, with derivatives of the window
(:mod:`mlcharge_flows.density.nonuniform_fft`), and take one fast Fourier transform: one for each
exponent where one for each orbital, or a sum over all pairs of sites and G vectors, would be
needed. Wide Gaussians have no high-:math:`|G|` components and take a coarser grid. Overlaps with
the orbitals are the adjoint. All steps are linear and known to torch's automatic differentiation.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from math import inf, pi, sqrt
from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from mlcharge_flows.density.grid import frequencies, half_frequencies
from mlcharge_flows.density.nonuniform_fft import corners
from mlcharge_flows.models.orbital.box_transforms import BoxTransforms, ToGrid
from mlcharge_flows.models.orbital.gaussians import GaussianBasis
from mlcharge_flows.models.orbital.site_transform import (
    MOMENT_OVERSAMPLING,
    OVERSAMPLING,
    SiteTransform,
    box_array,
    working_array,
)
from mlcharge_flows.models.orbital.solid_harmonics import solid_harmonics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.density.nonuniform_fft import SpreadingGrid
    from mlcharge_flows.models.orbital.gaussians import SiteOrbitals
    from mlcharge_flows.models.orbital.site_transform import Radial

_MAX_DECAY = 24.0
"""Gaussians end where their exponent is below this: 4e-8 of the largest component of l = 4."""


@dataclass(frozen=True, eq=False)
class FourierBox:
    """The sphere of G vectors of a real grid, within the box of integer frequencies around it.

    It has the sums of :class:`.g_vectors.GVectors`, which are direct ones, for the same G vectors.
    Fourier coefficients are of the box in FFT order, and zero outside of the sphere and at G = 0.

    Parameters
    ----------
    squares
        |G|^2, shape (2 half_x + 1, 2 half_y + 1, half_z + 1), 1/angstrom^2; infinite outside of
        the sphere and at G = 0.
    half
        Highest frequency along each lattice vector.
    crystal
        The cell.
    shape
        The grid (nx, ny, nz).
    g_max
        Radius of the sphere, 1/angstrom.
    """

    squares: torch.Tensor
    half: tuple[int, int, int]
    crystal: Crystal
    shape: tuple[int, int, int]
    g_max: float

    @classmethod
    def of(cls, crystal: Crystal, shape: tuple[int, int, int], g_max: float) -> Self:
        """G vectors of a grid up to a length, without those at the Nyquist frequency.

        Parameters
        ----------
        crystal
            The cell.
        shape
            The fine grid (NGXF, NGYF, NGZF).
        g_max
            Radius of the sphere, 1/angstrom.

        Returns
        -------
        FourierBox
            On the CPU, in double precision.
        """
        half = _half(crystal, shape, g_max)
        a, b, c = half
        axes = half_frequencies((2 * a + 1, 2 * b + 1, 2 * c))
        x, y, z = (
            axis[:, None] * vector for axis, vector in zip(axes, crystal.reciprocal, strict=True)
        )
        plane = z[:, None] + x
        squares = box_array([len(axis) for axis in axes])
        for row, vector in zip(squares.permute(1, 2, 0).numpy(), y, strict=True):
            vectors = plane + vector
            np.einsum("zxc,zxc->zx", vectors, vectors, out=row)
            row[row > g_max**2] = inf
        squares[0, 0, 0] = inf
        return cls(squares, half, crystal, shape, g_max)

    @property
    def q(self) -> torch.Tensor:
        """Lengths |G| within the sphere, 0 outside of it, 1/angstrom."""
        return _lengths(self.squares)

    @cached_property
    def _nearest(self) -> torch.Tensor:
        """Least |G|^2 along the first lattice vector."""
        return self.squares.amin(0)

    def phases(self, positions: torch.Tensor) -> torch.Tensor:
        """Describe sites for the sums; no phase factor is computed.

        Parameters
        ----------
        positions
            Fractional coordinates, shape (sites, 3), double precision.

        Returns
        -------
        torch.Tensor
            The same.
        """
        return positions

    def density(
        self,
        coefficients: torch.Tensor,
        phases: torch.Tensor,
        basis: SiteOrbitals,
        scales: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Fourier coefficients of a density of orbitals.

        Parameters
        ----------
        coefficients
            Of the Gaussians, shape (sites, (lmax + 1)^2, exponents).
        phases
            Fractional coordinates of the sites, shape (sites, 3).
        basis
            Gaussians that are the same on all sites.
        scales
            None: exponents of their own for every site are left to the direct sum.

        Returns
        -------
        torch.Tensor
            Of the box, complex, electrons.
        """
        assert isinstance(basis, GaussianBasis)
        assert scales is None
        polynomials, norms = self._polynomials(basis), basis.component_norms
        transforms, multipoles = [], []
        for chosen, transform in self._levels(basis, phases, OVERSAMPLING):
            strengths = coefficients[..., chosen] * norms[:, chosen]
            in_angles = _in_angles(polynomials, transform.grid)
            transforms.append(transform)
            multipoles.append(torch.einsum("slk,labc->ksabc", strengths, in_angles))
        return self._transforms(transforms).to_coefficients(multipoles)

    def projections(
        self, density: torch.Tensor, phases: torch.Tensor, basis: GaussianBasis
    ) -> torch.Tensor:
        """Overlaps of Gaussians on sites with a density: the adjoint of :meth:`density`.

        Parameters
        ----------
        density
            Fourier coefficients of the box, complex, electrons.
        phases
            Fractional coordinates of the sites, shape (sites, 3).
        basis
            The Gaussians, the same on all sites.

        Returns
        -------
        torch.Tensor
            Shape (sites, (lmax + 1)^2, exponents), electrons/angstrom^(3/2), in double precision:
            contractions of overlaps cancel.
        """
        polynomials = self._polynomials(basis)
        transforms = [one for _, one in self._levels(basis, phases, MOMENT_OVERSAMPLING)]
        moments = self._transforms(transforms).to_moments(density)
        parts = [
            torch.einsum("ksabc,labc->slk", some, _in_angles(polynomials, transform.grid))
            for some, transform in zip(moments, transforms, strict=True)
        ]
        return torch.cat(parts, dim=-1) * (basis.component_norms / self.crystal.volume)

    def structure_factors(
        self, kinds: torch.Tensor, n_kinds: int, phases: torch.Tensor
    ) -> Iterator[torch.Tensor]:
        """Structure factor of each kind of sites.

        Parameters
        ----------
        kinds
            Kind of each site, shape (sites,).
        n_kinds
            Number of kinds.
        phases
            Fractional coordinates of the sites, shape (sites, 3).

        Yields
        ------
        torch.Tensor
            Of the box, complex; of kind 0, 1, ..
        """
        for kind in range(n_kinds):
            sites = phases[kinds == kind]
            yield self.form_factors([torch.ones_like], kinds.new_zeros(len(sites)), sites)

    def form_factors(
        self,
        factors: Sequence[Callable[[torch.Tensor], torch.Tensor]],
        kinds: torch.Tensor,
        phases: torch.Tensor,
        onto: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Fourier coefficients of spherical densities.

        Parameters
        ----------
        factors
            Form factor of each kind of sites: electrons as a function of |G| in 1/angstrom.
        kinds
            Kind of each site, shape (sites,).
        phases
            Fractional coordinates of the sites, shape (sites, 3).
        onto
            Coefficients to add them to, in their memory: a box more costs the system much time.

        Returns
        -------
        torch.Tensor
            Of the box, complex, electrons.
        """

        def within(factor: Callable[[torch.Tensor], torch.Tensor]) -> Radial:
            return lambda squares: factor(_lengths(squares)) * squares.isfinite()

        transforms = [
            SiteTransform(self.half, phases[kinds == kind], 0, [within(factor)], self.g_max)
            for kind, factor in enumerate(factors)
        ]
        charges = [torch.ones(1, len(one.positions), 1, 1, 1).double() for one in transforms]
        if onto is None:
            return self._transforms(transforms).to_coefficients(charges)
        with torch.no_grad():  # nothing here is trained
            return self._transforms(transforms).spread(charges, onto)

    def from_grid(self, density: torch.Tensor) -> torch.Tensor:
        """Fourier coefficients of a density on the grid.

        Parameters
        ----------
        density
            Shape (nx, ny, nz), electrons/angstrom^3.

        Returns
        -------
        torch.Tensor
            Of the box, complex, electrons.
        """
        spectrum = torch.fft.rfftn(density.double(), norm="forward")
        found = box_array(self.squares.shape, complex)
        for block in corners(self.half):
            found[block] = spectrum[block] * self.crystal.volume
        return found.masked_fill_(self.squares.isinf(), 0.0)

    def to_grid(self, density: torch.Tensor) -> torch.Tensor:
        """Density on the grid from its Fourier coefficients.

        Parameters
        ----------
        density
            Of the box, complex, electrons.

        Returns
        -------
        torch.Tensor
            Shape (nx, ny, nz), electrons/angstrom^3; its mean is zero.
        """
        grid: torch.Tensor = ToGrid.apply(self, density)  # type: ignore[no-untyped-call]
        return grid

    def planes(self, density: torch.Tensor) -> Iterator[np.ndarray | None]:
        """Planes of Fourier coefficients for each frequency of the grid along the second axis.

        Parameters
        ----------
        density
            Of the box, complex, electrons.

        Yields
        ------
        numpy.ndarray or None
            Shape (nx, half_z + 1), electrons, valid until the next one; None if zero.
        """
        (a, b, c), (nx, ny, _) = self.half, self.shape
        plane = np.zeros((c + 1, nx), dtype=complex).T
        values = density.numpy()
        for h in frequencies(ny):
            if abs(h) > b:
                yield None
                continue
            plane[: a + 1] = values[: a + 1, h]
            plane[nx - a :] = values[a + 1 :, h]
            yield plane

    def _transforms(self, transforms: Sequence[SiteTransform]) -> BoxTransforms:
        # Not kept: the grid of the crystal takes its memory. What was just freed is fast to get.
        work = working_array(max(transform.size for transform in transforms))
        return BoxTransforms(self.squares, self._nearest, work, transforms)

    def _levels(
        self, basis: GaussianBasis, positions: torch.Tensor, oversampling: float
    ) -> Iterator[tuple[slice, SiteTransform]]:
        """Transforms of sites with those exponents that need the same frequencies."""

        def needed(alpha: float) -> tuple[int, int, int]:
            return _half(self.crystal, self.shape, self._radius(alpha))

        first = 0
        for half, group in groupby(basis.exponents.tolist(), needed):
            exponents = list(group)
            chosen = slice(first, first + len(exponents))
            radials, radius = [_gaussian(alpha) for alpha in exponents], self._radius(exponents[-1])
            yield (
                chosen,
                SiteTransform(half, positions, basis.lmax, radials, radius, oversampling),
            )
            first += len(exponents)

    def _radius(self, alpha: float) -> float:
        """Length of G where a Gaussian ends, 1/angstrom."""
        return min(self.g_max, sqrt(4 * alpha * _MAX_DECAY))

    def _polynomials(self, basis: GaussianBasis) -> torch.Tensor:
        """Coefficients of (-1)^l times the solid harmonics, as polynomials in h."""
        return torch.from_numpy(solid_harmonics(basis.lmax, *self.crystal.reciprocal.ravel()))


def _in_angles(polynomials: torch.Tensor, grid: SpreadingGrid) -> torch.Tensor:
    """Turn polynomials in the frequencies h to polynomials in the angles theta of a grid."""
    n = polynomials.shape[-1]
    powers = [(size / (2 * pi)) ** torch.arange(n, dtype=torch.float64) for size in grid.shape]
    return polynomials * torch.einsum("a,b,c->abc", *powers)


def _half(crystal: Crystal, shape: tuple[int, int, int], radius: float) -> tuple[int, int, int]:
    """Highest integer frequencies within a sphere, below the Nyquist frequency of a grid."""
    a, b, c = (
        min((n - 1) // 2, int(radius * length / (2 * pi)))
        for n, length in zip(shape, np.linalg.norm(crystal.lattice, axis=1), strict=True)
    )
    return a, b, c


def _gaussian(alpha: float) -> Radial:
    """exp(-G^2 / 4 alpha)."""
    return lambda squares: (squares * (-0.25 / alpha)).exp_()


def _lengths(squares: torch.Tensor) -> torch.Tensor:
    """Square roots, 0 of what is infinite."""
    return squares.sqrt().nan_to_num_(posinf=0.0)
