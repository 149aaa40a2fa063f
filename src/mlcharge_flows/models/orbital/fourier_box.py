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
from functools import lru_cache
from itertools import groupby
from math import inf, pi, sqrt
from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from mlcharge_flows.density.grid import half_frequencies
from mlcharge_flows.density.harmonics import real_harmonics
from mlcharge_flows.density.nonuniform_fft import corners
from mlcharge_flows.models.orbital.g_vectors import GVectors
from mlcharge_flows.models.orbital.gaussians import GaussianBasis
from mlcharge_flows.models.orbital.site_transform import (
    MOMENT_OVERSAMPLING,
    OVERSAMPLING,
    SiteTransform,
    working_array,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.density.nonuniform_fft import SpreadingGrid
    from mlcharge_flows.models.orbital.gaussians import SiteOrbitals

MAX_DIRECT_SITES = 12
"""Sites up to which sums over sites and G vectors are direct."""
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
        |G|^2, shape (2 half_x + 1, 2 half_y + 1, half_z + 1), 1/angstrom^2.
    inside
        Where the sphere is, without G = 0, same shape.
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
    inside: torch.Tensor
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
        plane = y[:, None] + z
        squares = np.empty((len(x), *plane.shape[:2]))
        for row, vector in zip(squares, x, strict=True):
            vectors = plane + vector
            np.einsum("yzc,yzc->yz", vectors, vectors, out=row)
        lengths = torch.from_numpy(squares)
        inside = (lengths <= g_max**2) & (lengths > 0)
        return cls(lengths, inside, half, crystal, shape, g_max)

    @property
    def q(self) -> torch.Tensor:
        """Lengths |G| within the sphere, 0 outside of it, 1/angstrom."""
        return self.squares.sqrt() * self.inside

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
        total = working_array(*self.squares.shape, dtype=complex).zero_()
        polynomials = self._polynomials(basis)
        norms = _norms(basis)
        for half, chosen, exponents in self._levels(basis):
            transform = self._transform(half, phases, basis, exponents)
            strengths = coefficients[..., chosen] * norms[:, chosen]
            in_angles = _in_angles(polynomials, transform.grid)
            level = transform.to_coefficients(torch.einsum("slk,labc->ksabc", strengths, in_angles))
            for block in corners(half):
                total[block] += level[block]
        return total * self.inside

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
        parts = []
        for half, _, exponents in self._levels(basis):
            transform = self._transform(half, phases, basis, exponents, MOMENT_OVERSAMPLING)
            moments = transform.to_moments(_box(half, density))
            in_angles = _in_angles(polynomials, transform.grid)
            parts.append(torch.einsum("ksabc,labc->slk", moments, in_angles))
        return torch.cat(parts, dim=-1) * (_norms(basis) / self.crystal.volume)

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
            Of the box, complex, outside of the sphere not accurate; of kind 0, 1, ..
        """
        for kind in range(n_kinds):
            sites = phases[kinds == kind]
            charges = torch.ones(1, len(sites), 1, 1, 1, dtype=torch.float64)
            transform = SiteTransform(self.squares, sites, 0, [inf], self.g_max)
            yield transform.to_coefficients(charges)

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
        found = working_array(*self.squares.shape, dtype=complex)
        for block in corners(self.half):
            found[block] = spectrum[block] * self.inside[block] * self.crystal.volume
        return found

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
        nx, ny, nz = self.shape
        spectrum = working_array(nx, ny, nz // 2 + 1, dtype=complex).zero_()
        for block in corners(self.half):
            spectrum[block] = density[block] / self.crystal.volume
        grid: torch.Tensor = torch.fft.irfftn(spectrum, s=self.shape, norm="forward")
        return grid

    def _levels(
        self, basis: GaussianBasis
    ) -> Iterator[tuple[tuple[int, int, int], slice, list[float]]]:
        """Highest frequencies of Gaussians, with those exponents that need no more of them."""

        def needed(alpha: float) -> tuple[int, int, int]:
            return _half(self.crystal, self.shape, self._radius(alpha))

        first = 0
        for half, group in groupby(basis.exponents.tolist(), needed):
            exponents = list(group)
            yield half, slice(first, first + len(exponents)), exponents
            first += len(exponents)

    def _radius(self, alpha: float) -> float:
        """Length of G where a Gaussian ends, 1/angstrom."""
        return min(self.g_max, sqrt(4 * alpha * _MAX_DECAY))

    def _transform(
        self,
        half: tuple[int, int, int],
        positions: torch.Tensor,
        basis: GaussianBasis,
        exponents: list[float],
        oversampling: float = OVERSAMPLING,
    ) -> SiteTransform:
        squares, radius = _box(half, self.squares), self._radius(max(exponents))
        return SiteTransform(squares, positions, basis.lmax, exponents, radius, oversampling)

    def _polynomials(self, basis: GaussianBasis) -> torch.Tensor:
        """Coefficients of (-1)^l times the solid harmonics, as polynomials in h."""
        return torch.from_numpy(_solid_harmonics(basis.lmax, *self.crystal.reciprocal.ravel()))


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


def _box(half: tuple[int, int, int], values: torch.Tensor) -> torch.Tensor:
    """Copy the low frequencies of a box to a smaller one."""
    a, b, c = half
    low = values.new_empty(2 * a + 1, 2 * b + 1, c + 1)
    for block in corners(half):
        low[block] = values[block]
    return low


def _norms(basis: GaussianBasis) -> torch.Tensor:
    """Norms of the transforms of each component, shape ((lmax + 1)^2, exponents)."""
    repeats = 2 * torch.arange(basis.lmax + 1) + 1
    return torch.repeat_interleave(basis.norms.double(), repeats, dim=0)


@lru_cache(maxsize=8)
def _solid_harmonics(lmax: int, *reciprocal: float) -> np.ndarray:
    """(-1)^l G^l Y_lm as polynomials in the integer frequencies of G.

    Returns
    -------
    numpy.ndarray
        Coefficients, shape ((lmax + 1)^2, lmax + 1, lmax + 1, lmax + 1): the power of each
        frequency, 1/angstrom^l.
    """
    lattice = np.reshape(reciprocal, (3, 3))
    # Interpolation at directions that are spread evenly: well conditioned.
    steps = np.arange(4 * (lmax + 1) ** 2) + 0.5
    height = 1 - 2 * steps / len(steps)
    turn, radius = pi * (1 + 5**0.5) * steps, np.sqrt(1 - height**2)
    points = np.stack([radius * np.cos(turn), radius * np.sin(turn), height], axis=-1)
    lengths = np.linalg.norm(points @ lattice, axis=-1, keepdims=True)
    values = real_harmonics(lmax, points @ lattice / lengths)
    found = np.zeros(((lmax + 1) ** 2, lmax + 1, lmax + 1, lmax + 1))
    for degree in range(lmax + 1):
        powers = [(a, b, degree - a - b) for a in range(degree + 1) for b in range(degree + 1 - a)]
        monomials = np.stack([np.prod(points**power, axis=-1) for power in powers], axis=-1)
        solid = (-lengths) ** degree * values[degree]
        solution = np.linalg.lstsq(monomials, solid)[0]
        for power, coefficients in zip(powers, solution, strict=True):
            found[degree**2 : (degree + 1) ** 2, *power] = coefficients
    return found


def g_vectors_for_sites(
    crystal: Crystal, shape: tuple[int, int, int], g_max: float, lmax: int, n_sites: int
) -> GVectors | FourierBox:
    """G vectors of a grid, with the faster sums over sites whose Gaussians are all the same.

    Parameters
    ----------
    crystal
        The cell.
    shape
        The fine grid (NGXF, NGYF, NGZF).
    g_max
        Radius of the sphere, 1/angstrom.
    lmax
        Highest degree of the harmonics.
    n_sites
        Number of sites. Up to :data:`MAX_DIRECT_SITES` the sum over all pairs of sites and G
        vectors is faster than Fourier transforms.

    Returns
    -------
    GVectors or FourierBox
        On the CPU.
    """
    if n_sites > MAX_DIRECT_SITES:
        return FourierBox.of(crystal, shape, g_max)
    return GVectors.of(crystal, shape, g_max, lmax)
