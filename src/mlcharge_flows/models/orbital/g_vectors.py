r"""G vectors of a grid within a sphere, and the density of orbitals on them.

.. math::
    V \rho(\mathbf G) = \sum_i e^{-i \mathbf G \cdot \mathbf R_i} \sum_l (-i)^l \sum_m
        Y_{lm}(\hat G) \sum_k c^i_{klm} F_{kl}(G) ,

with the coefficients c of the orbitals on site i and their radial transforms F of
:mod:`mlcharge_flows.models.orbital.gaussians`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from math import pi
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from scipy.fft import next_fast_len

from mlcharge_flows.density.grid import half_frequencies
from mlcharge_flows.models.orbital.equivariant import scatter_sum
from mlcharge_flows.models.orbital.graph import harmonics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.models.orbital.gaussians import GaussianBasis, SiteOrbitals

N_SHELLS = 3
"""|G| shells of the sums: tables of one fit into the cache, and wide orbitals drop out of some."""


@dataclass(frozen=True, eq=False)
class GVectors:
    """Half of the sphere of G vectors of a real grid without G = 0, in order of increasing |G|.

    Parameters
    ----------
    miller
        Integer coordinates, shape (G vectors, 3).
    index
        Index of each in the flattened half spectrum of shape (nx, ny, nz // 2 + 1).
    q
        Lengths |G|, shape (G vectors,), 1/angstrom.
    harmonics
        Real spherical harmonics of the directions, shape ((lmax + 1)^2, G vectors).
    multiplicity
        2 where -G is not in the half spectrum, else 1.
    shape
        The grid (nx, ny, nz).
    volume
        Volume of the cell, angstrom^3.
    """

    miller: torch.Tensor
    index: torch.Tensor
    q: torch.Tensor
    harmonics: torch.Tensor
    multiplicity: torch.Tensor
    shape: tuple[int, int, int]
    volume: float

    @classmethod
    def of(cls, crystal: Crystal, shape: tuple[int, int, int], g_max: float, lmax: int) -> Self:
        """G vectors of a grid up to a length.

        Those at the Nyquist frequency of an even grid are left out, as in a superposition of
        atoms: G and -G coincide there, and the phase of a shifted site is not represented.

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

        Returns
        -------
        GVectors
            On the CPU; lengths and harmonics in torch's default type.
        """
        nx, ny, nz = shape
        axes = half_frequencies(shape)
        keep = [
            np.abs(axis) <= min((n - 1) // 2, g_max * length / (2 * pi))
            for axis, n, length in zip(
                axes, shape, np.linalg.norm(crystal.lattice, axis=1), strict=True
            )
        ]
        places = np.stack(np.meshgrid(*map(np.flatnonzero, keep), indexing="ij"), -1).reshape(-1, 3)
        miller = np.stack([axis[place] for axis, place in zip(axes, places.T, strict=True)], -1)
        vectors = miller @ crystal.reciprocal
        q = np.linalg.norm(vectors, axis=1)
        inside = np.flatnonzero((q <= g_max) & (q > 0))
        inside = inside[np.argsort(q[inside], kind="stable")]
        places, miller, vectors, q = places[inside], miller[inside], vectors[inside], q[inside]
        dtype = torch.get_default_dtype()
        return cls(
            torch.from_numpy(miller.astype(np.float64)),
            torch.from_numpy((places[:, 0] * ny + places[:, 1]) * (nz // 2 + 1) + places[:, 2]),
            torch.from_numpy(q).to(dtype),
            harmonics(vectors, lmax).T.contiguous(),
            torch.from_numpy(np.where(miller[:, 2] == 0, 1.0, 2.0)).to(dtype),
            (nx, ny, nz),
            crystal.volume,
        )

    def to(self, device: torch.device | str) -> GVectors:
        """Copy the G vectors to a device.

        Parameters
        ----------
        device
            Such as ``cpu`` or ``cuda``.

        Returns
        -------
        GVectors
            The same G vectors there.
        """
        names = ("miller", "index", "q", "harmonics", "multiplicity")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})

    def up_to(self, g_max: float) -> GVectors:
        """G vectors up to a length, on the smallest grid with a fast Fourier transform.

        Parameters
        ----------
        g_max
            Largest |G|, 1/angstrom.

        Returns
        -------
        GVectors
            The first of these G vectors, with another grid and other indices.
        """
        kept = int(torch.searchsorted(self.q, g_max, right=True))
        miller = self.miller[:kept]
        nx, ny, nz = (next_fast_len(2 * int(most) + 1) for most in miller.abs().amax(0))
        x, y, z = (miller.long() % torch.tensor([nx, ny, nz], device=miller.device)).T
        return replace(
            self.select(slice(kept)), index=(x * ny + y) * (nz // 2 + 1) + z, shape=(nx, ny, nz)
        )

    def select(self, chosen: slice | torch.Tensor) -> GVectors:
        """Select some of the G vectors.

        Parameters
        ----------
        chosen
            Slice or ascending indices.

        Returns
        -------
        GVectors
            Those, on the same grid.
        """
        return replace(
            self,
            miller=self.miller[chosen],
            index=self.index[chosen],
            q=self.q[chosen],
            harmonics=self.harmonics[:, chosen],
            multiplicity=self.multiplicity[chosen],
        )

    def phases(self, positions: torch.Tensor) -> torch.Tensor:
        """Phase factors exp(-i G R) of sites.

        Parameters
        ----------
        positions
            Fractional coordinates, shape (sites, 3), double precision: G R reaches hundreds of
            turns.

        Returns
        -------
        torch.Tensor
            Shape (sites, G vectors), complex.
        """
        turns = positions @ self.miller.T
        angles = (-2 * pi * (turns - torch.round(turns))).to(self.q.dtype)
        return torch.polar(torch.ones_like(angles), angles)

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
            Phase factors of the sites, see :meth:`phases`.
        basis
            Orbitals of these sites.
        scales
            Factors of the exponents, shape (sites, lmax + 1, exponents), or None.

        Returns
        -------
        torch.Tensor
            Shape (G vectors,), complex, electrons.
        """
        densities = []
        for sites, radials in basis.radial_groups(self.q, scales):
            amplitudes = self._amplitudes(coefficients[sites], radials)
            densities.append(torch.einsum("sg,sg->g", amplitudes, phases[sites]))
        return torch.stack(densities).sum(0) if len(densities) > 1 else densities[0]

    def projections(
        self, density: torch.Tensor, phases: torch.Tensor, basis: GaussianBasis
    ) -> torch.Tensor:
        """Overlaps of Gaussians on sites with a density: the adjoint of :meth:`density`.

        Parameters
        ----------
        density
            Fourier coefficients, shape (G vectors,), complex, electrons.
        phases
            Phase factors of the sites, shape (sites, G vectors).
        basis
            The Gaussians, the same on all sites, with degrees up to that of :attr:`harmonics`.

        Returns
        -------
        torch.Tensor
            Shape (sites, (lmax + 1)^2, exponents), electrons/angstrom^(3/2).
        """
        around = phases.conj() * (density * self.multiplicity / self.volume)
        turned = around.real, -around.imag, -around.real, around.imag  # times i^l
        parts = []
        for degree, radial in enumerate(basis.radials(self.q)):
            angular = self.harmonics[degree**2 : (degree + 1) ** 2]
            overlaps = around.real.new_zeros(len(phases), 2 * degree + 1, len(radial))
            for shell in self._shells():
                first = _first_in_shell(radial, shell)
                table = (angular[:, None, shell] * radial[first:, shell]).flatten(0, 1)
                products = turned[degree % 4][:, shell] @ table.T
                overlaps[:, :, first:] += products.unflatten(1, (2 * degree + 1, -1))
            parts.append(overlaps)
        return torch.cat(parts, dim=1)

    def structure_factors(
        self, kinds: torch.Tensor, n_kinds: int, phases: torch.Tensor
    ) -> torch.Tensor:
        """Structure factor of each kind of sites.

        Parameters
        ----------
        kinds
            Kind of each site, shape (sites,).
        n_kinds
            Number of kinds.
        phases
            Phase factors of the sites, shape (sites, G vectors).

        Returns
        -------
        torch.Tensor
            Shape (n_kinds, G vectors), complex.
        """
        return scatter_sum(phases, kinds, n_kinds)

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
            Phase factors of the sites, shape (sites, G vectors).
        onto
            Coefficients to add them to, in their memory.

        Returns
        -------
        torch.Tensor
            Shape (G vectors,), complex, electrons.
        """
        structures = self.structure_factors(kinds, len(factors), phases)
        pairs = zip(factors, structures, strict=True)
        found = torch.stack([factor(self.q) * structure for factor, structure in pairs]).sum(0)
        return found if onto is None else onto.add_(found)

    def _amplitudes(
        self, coefficients: torch.Tensor, radials: Sequence[torch.Tensor]
    ) -> torch.Tensor:
        """Transforms of the densities of the sites about themselves, shape (sites, G vectors)."""
        # (-i)^l: even degrees make the real part, odd ones the imaginary part. One matrix product
        # for each part and shell, over all components and exponents that are not zero in it.
        parts: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
        for shell in self._shells():
            for parity in (0, 1):
                rows, columns = [], []
                for degree in range(parity, len(radials), 2):
                    components = slice(degree**2, (degree + 1) ** 2)
                    sign = (-1) ** ((degree + parity) // 2)
                    first = _first_in_shell(radials[degree], shell)
                    known = coefficients[:, components, first : len(radials[degree])]
                    rows.append(sign * known.flatten(1))
                    table = self.harmonics[components, None, shell] * radials[degree][first:, shell]
                    columns.append(table.flatten(0, 1))
                parts[parity].append(torch.cat(rows, dim=1) @ torch.cat(columns))
        return torch.complex(*(torch.cat(part, dim=1) for part in parts))

    def _shells(self) -> list[slice]:
        """|G| shells with equal numbers of G vectors, from low to high |G|."""
        edges = torch.linspace(0, len(self.q), N_SHELLS + 1).round().int().tolist()
        return [slice(low, high) for low, high in pairwise(edges) if low < high]

    def from_grid(self, density: torch.Tensor) -> torch.Tensor:
        """Fourier coefficients of a density on the grid.

        Parameters
        ----------
        density
            Shape (nx, ny, nz), electrons/angstrom^3.

        Returns
        -------
        torch.Tensor
            Shape (G vectors,), complex, electrons.
        """
        spectrum = torch.fft.rfftn(density, norm="forward").flatten()[self.index]
        values: torch.Tensor = spectrum * self.volume
        return values.to(self.q.dtype.to_complex())

    def to_grid(self, density: torch.Tensor) -> torch.Tensor:
        """Density on the grid from its Fourier coefficients.

        Parameters
        ----------
        density
            Shape (G vectors,), complex, electrons.

        Returns
        -------
        torch.Tensor
            Shape (nx, ny, nz), electrons/angstrom^3; its mean is zero.
        """
        half = self._half_spectrum(density)
        grid: torch.Tensor = torch.fft.irfftn(half, s=self.shape, norm="forward")
        return grid / self.volume

    def planes(self, density: torch.Tensor) -> Iterator[np.ndarray]:
        """Planes of Fourier coefficients for each frequency of the grid along the second axis.

        Parameters
        ----------
        density
            Shape (G vectors,), complex, electrons.

        Yields
        ------
        numpy.ndarray
            Shape (nx, nz // 2 + 1), electrons.
        """
        yield from self._half_spectrum(density).numpy().swapaxes(0, 1)

    def _half_spectrum(self, density: torch.Tensor) -> torch.Tensor:
        nx, ny, nz = self.shape
        half = density.new_zeros(nx * ny * (nz // 2 + 1)).index_put((self.index,), density)
        return half.view(nx, ny, nz // 2 + 1)


def _first_in_shell(radial: torch.Tensor, shell: slice) -> int:
    """First of some orbitals, wide to narrow, that is above rounding in a |G| shell."""
    size = radial.detach().abs()
    there = size[:, shell].amax(1) > torch.finfo(radial.dtype).eps * size.amax(1)
    return int(there.int().argmax()) if there.any() else len(radial) - 1
