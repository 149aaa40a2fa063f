r"""Orbitals of which every species has its own.

As :mod:`mlcharge_flows.models.orbital.basis`, with another smallest exponent and another number of
Gaussians for each species and degree, padded to one shape. Gaussians at a ratio of 1.3 are nearly
dependent: to orthonormalize them exactly would blow up rounding errors. Combinations whose overlap
eigenvalue is below :data:`LEAST` are therefore not normalized to one, but left shorter.
"""

from __future__ import annotations

from math import gamma, pi
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LEAST = 1e-3
"""Eigenvalue of the overlap below which a combination of Gaussians is not stretched further."""


class SpeciesBasis(nn.Module):
    """The orbitals of all species, without parameters.

    Parameters
    ----------
    shells
        For each species and each of its degrees the smallest exponent (1/angstrom^2) and the
        number of Gaussians.
    ratio
        Of consecutive exponents.
    """

    exponents: torch.Tensor
    norms: torch.Tensor
    mixtures: torch.Tensor

    def __init__(self, shells: Sequence[Sequence[tuple[float, int]]], ratio: float) -> None:
        super().__init__()
        self.counts = tuple(tuple(n for _, n in degrees) for degrees in shells)
        self.lmax = max(len(degrees) for degrees in shells) - 1
        self.n_exponents = max(n for counts in self.counts for n in counts)
        shape = (len(shells), self.lmax + 1, self.n_exponents)
        exponents, norms = np.ones(shape), np.zeros(shape)
        mixtures = np.zeros((*shape, self.n_exponents))
        for species, degrees in enumerate(shells):
            for degree, (smallest, n) in enumerate(degrees):
                alpha = smallest * ratio ** np.arange(n)
                radial = gamma(degree + 1.5) / (2 * (2 * alpha) ** (degree + 1.5))
                overlap = 2 * np.sqrt(np.outer(alpha, alpha)) / np.add.outer(alpha, alpha)
                values, vectors = np.linalg.eigh(overlap ** (degree + 1.5))
                exponents[species, degree, :n] = alpha
                norms[species, degree, :n] = (
                    radial**-0.5 * (pi / alpha) ** 1.5 / (2 * alpha) ** degree
                )
                mixtures[species, degree, :n, :n] = (
                    vectors / np.sqrt(np.maximum(values, LEAST)) @ vectors.T
                )
        for name, array in (("exponents", exponents), ("norms", norms), ("mixtures", mixtures)):
            tensor = torch.tensor(array, dtype=torch.get_default_dtype())
            self.register_buffer(name, tensor, persistent=False)

    def of(self, species: torch.Tensor) -> OrbitalsOfSites:
        """Orbitals of sites, each of a species."""
        return OrbitalsOfSites(self, species)


class OrbitalsOfSites:
    """The orbitals of given sites; see :class:`~mlcharge_flows.models.orbital.basis.SiteOrbitals`.

    Parameters
    ----------
    basis
        Of all species.
    species
        Of each site.
    """

    def __init__(self, basis: SpeciesBasis, species: torch.Tensor) -> None:
        self.basis, self.species = basis, species

    def uncontracted(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Coefficients of the Gaussians, zero where a species has none.

        Parameters
        ----------
        coefficients
            Of nearly orthonormal combinations, shape (sites, (lmax + 1)^2, exponents).
        """
        parts = [
            coefficients[:, degree**2 : (degree + 1) ** 2]
            @ self.basis.mixtures[self.species, degree]
            for degree in range(self.basis.lmax + 1)
        ]
        return torch.cat(parts, dim=1)

    def radials_of_sites(
        self, q: torch.Tensor, scales: torch.Tensor | None
    ) -> Iterator[tuple[torch.Tensor, list[torch.Tensor]]]:
        """Sites that share their radial functions, and these at wave numbers `q`."""
        for species in self.species.unique().tolist():
            sites = (self.species == species).nonzero()[:, 0]
            if scales is None:
                yield sites, self._radials(q, species, None)
            else:
                for site in sites:
                    yield site[None], self._radials(q, species, scales[site])

    def charges(self, scales: torch.Tensor | None = None) -> torch.Tensor:
        """Integral of each Gaussian of degree zero, shape (sites, exponents)."""
        charges = self.basis.norms[self.species, 0] / (4 * pi) ** 0.5
        return charges if scales is None else charges * scales**-0.75

    def _radials(
        self, q: torch.Tensor, species: int, scales: torch.Tensor | None
    ) -> list[torch.Tensor]:
        """Radial parts of the transforms, for each degree shape (exponents, waves)."""
        radials = []
        for degree, n in enumerate(self.basis.counts[species]):
            exponents = self.basis.exponents[species, degree, :n]
            norms = self.basis.norms[species, degree, :n]
            if scales is not None:
                factors = scales[degree, :n]
                exponents, norms = exponents * factors, norms * factors ** -(degree / 2 + 0.75)
            decay = torch.exp(-(q**2) / (4 * exponents[:, None]))
            radials.append(norms[:, None] * q**degree * decay)
        return radials
