r"""The plane waves of a grid within a sphere, and the orbitals' density on them.

.. math::
    V \rho(\mathbf G) = \sum_i e^{-i \mathbf G \cdot \mathbf R_i} \sum_l (-i)^l \sum_m
        Y_{lm}(\hat G) \sum_k c^i_{klm} F_{kl}(G) .
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from math import pi
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from scipy.fft import next_fast_len

from mlcharge_flows.density.fourier import half_frequencies
from mlcharge_flows.models.orbital.degrees import harmonics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.models.orbital.basis import GaussianBasis, SiteOrbitals


SHELLS = 3
"""Parts of the sums over waves: tables of a part fit into the cache, and wide orbitals drop out."""


@dataclass(frozen=True, eq=False)
class PlaneWaves:
    """Half of the sphere of plane waves of a real grid, without G = 0, from long to short.

    Parameters
    ----------
    miller
        Integer wave vectors, shape (waves, 3).
    index
        Where each is in the flattened half spectrum of shape (nx, ny, nz // 2 + 1).
    q
        Wave numbers, shape (waves,), 1/angstrom.
    harmonics
        Real harmonics of their directions, shape ((lmax + 1)^2, waves).
    multiplicity
        2 where -G is not in the half spectrum, else 1.
    shape
        The grid.
    volume
        Of the cell, angstrom^3.
    """

    miller: torch.Tensor
    index: torch.Tensor
    q: torch.Tensor
    harmonics: torch.Tensor
    multiplicity: torch.Tensor
    shape: tuple[int, int, int]
    volume: float

    @classmethod
    def of(cls, crystal: Crystal, shape: tuple[int, int, int], largest: float, lmax: int) -> Self:
        """Plane waves of a grid up to a wave number.

        Waves at the Nyquist frequency of an even grid are left out, as in a superposition of
        atoms: the two of a pair are one there, and a shifted site cannot be told.

        Parameters
        ----------
        crystal
            The cell.
        shape
            The fine grid.
        largest
            Radius of the sphere, 1/angstrom.
        lmax
            Highest degree of the harmonics.
        """
        nx, ny, nz = shape
        axes = half_frequencies(shape)
        keep = [
            np.abs(axis) <= min((n - 1) // 2, largest * length / (2 * pi))
            for axis, n, length in zip(
                axes, shape, np.linalg.norm(crystal.lattice, axis=1), strict=True
            )
        ]
        places = np.stack(np.meshgrid(*map(np.flatnonzero, keep), indexing="ij"), -1).reshape(-1, 3)
        miller = np.stack([axis[place] for axis, place in zip(axes, places.T, strict=True)], -1)
        vectors = miller @ crystal.reciprocal
        q = np.linalg.norm(vectors, axis=1)
        inside = np.flatnonzero((q <= largest) & (q > 0))
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

    def to(self, device: torch.device | str) -> PlaneWaves:
        """Return the same waves on a device."""
        names = ("miller", "index", "q", "harmonics", "multiplicity")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})

    def up_to(self, largest: float) -> PlaneWaves:
        """Return the waves up to a wave number, on the coarsest quick grid that holds them.

        Parameters
        ----------
        largest
            1/angstrom.
        """
        kept = int(torch.searchsorted(self.q, largest, right=True))
        miller = self.miller[:kept]
        nx, ny, nz = (next_fast_len(2 * int(most) + 1) for most in miller.abs().amax(0))
        x, y, z = (miller.long() % torch.tensor([nx, ny, nz], device=miller.device)).T
        return replace(
            self.some(slice(kept)), index=(x * ny + y) * (nz // 2 + 1) + z, shape=(nx, ny, nz)
        )

    def some(self, chosen: slice | torch.Tensor) -> PlaneWaves:
        """Return some of the waves; indices must ascend."""
        return replace(
            self,
            miller=self.miller[chosen],
            index=self.index[chosen],
            q=self.q[chosen],
            harmonics=self.harmonics[:, chosen],
            multiplicity=self.multiplicity[chosen],
        )

    def phases(self, positions: torch.Tensor) -> torch.Tensor:
        """Structure factors exp(-i G R) of sites, shape (sites, waves), complex.

        Parameters
        ----------
        positions
            Fractional coordinates, shape (sites, 3), double precision: the phases reach hundreds
            of turns.
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
        """Plane-wave coefficients of a density of orbitals.

        Parameters
        ----------
        coefficients
            Of the Gaussians, shape (sites, components, exponents).
        phases
            Structure factors, see :meth:`phases`.
        basis
            The Gaussians of these sites.
        scales
            Factors of the exponents, shape (sites, degrees, exponents), or None.

        Returns
        -------
        torch.Tensor
            Shape (waves,), complex, electrons.
        """
        waves = []
        for sites, radials in basis.radials_of_sites(self.q, scales):
            amplitudes = self._amplitudes(coefficients[sites], radials)
            waves.append(torch.einsum("sg,sg->g", amplitudes, phases[sites]))
        return torch.stack(waves).sum(0) if len(waves) > 1 else waves[0]

    def projections(
        self, density: torch.Tensor, phases: torch.Tensor, basis: GaussianBasis
    ) -> torch.Tensor:
        """Overlaps of Gaussians on sites with a density: the adjoint of :meth:`density`.

        Parameters
        ----------
        density
            Plane-wave coefficients, shape (waves,), complex, electrons.
        phases
            Structure factors of the sites.
        basis
            The Gaussians, the same on all sites, of degrees that :attr:`harmonics` reaches.

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
                first = _first_that_reaches(radial, shell)
                table = (angular[:, None, shell] * radial[first:, shell]).flatten(0, 1)
                own = turned[degree % 4][:, shell] @ table.T
                overlaps[:, :, first:] += own.unflatten(1, (2 * degree + 1, -1))
            parts.append(overlaps)
        return torch.cat(parts, dim=1)

    def _amplitudes(
        self, coefficients: torch.Tensor, radials: Sequence[torch.Tensor]
    ) -> torch.Tensor:
        """Transforms of the sites' densities about themselves, shape (sites, waves), complex."""
        # (-i)^l: even degrees make the real part, odd ones the imaginary part. One matrix product
        # for each and every shell of waves, over all components and exponents that reach it.
        parts: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
        for shell in self._shells():
            for parity in (0, 1):
                rows, columns = [], []
                for degree in range(parity, len(radials), 2):
                    components = slice(degree**2, (degree + 1) ** 2)
                    sign = (-1) ** ((degree + parity) // 2)
                    first = _first_that_reaches(radials[degree], shell)
                    known = coefficients[:, components, first : len(radials[degree])]
                    rows.append(sign * known.flatten(1))
                    table = self.harmonics[components, None, shell] * radials[degree][first:, shell]
                    columns.append(table.flatten(0, 1))
                parts[parity].append(torch.cat(rows, dim=1) @ torch.cat(columns))
        return torch.complex(*(torch.cat(part, dim=1) for part in parts))

    def _shells(self) -> list[slice]:
        """The waves in parts of equal length, from long ones to short ones."""
        edges = torch.linspace(0, len(self.q), SHELLS + 1).round().int().tolist()
        return [slice(low, high) for low, high in pairwise(edges) if low < high]

    def on_grid(self, waves: torch.Tensor) -> torch.Tensor:
        """Density on the grid, electrons/angstrom^3, of plane-wave coefficients in electrons."""
        nx, ny, nz = self.shape
        half = waves.new_zeros(nx * ny * (nz // 2 + 1)).index_put((self.index,), waves)
        grid = torch.fft.irfftn(half.view(nx, ny, nz // 2 + 1), s=self.shape, norm="forward")
        return grid / self.volume


def _first_that_reaches(radial: torch.Tensor, shell: slice) -> int:
    """First of some orbitals, wide to narrow, that is more than rounding in a shell of waves."""
    size = radial.detach().abs()
    there = size[:, shell].amax(1) > torch.finfo(radial.dtype).eps * size.amax(1)
    return int(there.int().argmax()) if there.any() else len(radial) - 1
