r"""Even-tempered Gaussians with other exponents for each species.

As :mod:`mlcharge_flows.models.orbital.gaussians`, with a smallest exponent and a number of
Gaussians for each species and degree, padded to one shape. Gaussians at a ratio of 1.3 are nearly
linearly dependent: orthonormalizing them exactly would amplify rounding errors. Contractions whose
overlap eigenvalue is below :data:`MIN_EIGENVALUE` are therefore left shorter than one.
"""

from __future__ import annotations

from math import pi
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from typing_extensions import override

from mlcharge_flows.models.orbital.gaussians import Basis, SiteOrbitals, orthonormal_shell

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MIN_EIGENVALUE = 1e-3
"""Overlap eigenvalues are not taken as smaller than this in the orthonormalization."""


class SpeciesBasis(nn.Module, Basis):
    """Orbitals of all species; no trained parameters.

    Parameters
    ----------
    shells
        For each species and each of its degrees the smallest exponent (1/angstrom^2) and the
        number of Gaussians.
    ratio
        Ratio of consecutive exponents.
    """

    exponents: torch.Tensor
    norms: torch.Tensor
    contractions: torch.Tensor

    def __init__(self, shells: Sequence[Sequence[tuple[float, int]]], ratio: float) -> None:
        super().__init__()
        self.counts = tuple(tuple(n for _, n in degrees) for degrees in shells)
        self.lmax = max(len(degrees) for degrees in shells) - 1
        self.n_exponents = max(n for counts in self.counts for n in counts)
        shape = (len(shells), self.lmax + 1, self.n_exponents)
        exponents, norms = np.ones(shape), np.zeros(shape)
        contractions = np.zeros((*shape, self.n_exponents))
        for species, degrees in enumerate(shells):
            for degree, (smallest, n) in enumerate(degrees):
                alpha = smallest * ratio ** np.arange(n)
                norm, contraction = orthonormal_shell(alpha, degree, MIN_EIGENVALUE)
                exponents[species, degree, :n] = alpha
                norms[species, degree, :n] = norm
                contractions[species, degree, :n, :n] = contraction
        buffers = {"exponents": exponents, "norms": norms, "contractions": contractions}
        for name, array in buffers.items():
            tensor = torch.tensor(array, dtype=torch.get_default_dtype())
            self.register_buffer(name, tensor, persistent=False)

    @override
    def of(self, species: torch.Tensor) -> SpeciesOrbitals:
        return SpeciesOrbitals(self, species)


class SpeciesOrbitals(SiteOrbitals):
    """Orbitals of sites; coefficients are zero where a species has no Gaussian.

    Parameters
    ----------
    basis
        Of all species.
    species
        Species of each site, shape (sites,).
    """

    def __init__(self, basis: SpeciesBasis, species: torch.Tensor) -> None:
        self.basis, self.species = basis, species

    @override
    def uncontracted(self, coefficients: torch.Tensor) -> torch.Tensor:
        parts = [
            coefficients[:, degree**2 : (degree + 1) ** 2]
            @ self.basis.contractions[self.species, degree]
            for degree in range(self.basis.lmax + 1)
        ]
        return torch.cat(parts, dim=1)

    @override
    def radial_groups(
        self, q: torch.Tensor, scales: torch.Tensor | None
    ) -> Iterator[tuple[torch.Tensor, list[torch.Tensor]]]:
        for species in self.species.unique().tolist():
            sites = (self.species == species).nonzero()[:, 0]
            if scales is None:
                yield sites, self._radials(q, species, None)
            else:
                for site in sites:
                    yield site[None], self._radials(q, species, scales[site])

    @override
    def charges(self, scales: torch.Tensor | None = None) -> torch.Tensor:
        charges: torch.Tensor = self.basis.norms[self.species, 0] / (4 * pi) ** 0.5
        return charges if scales is None else charges * scales**-0.75

    def _radials(
        self, q: torch.Tensor, species: int, scales: torch.Tensor | None
    ) -> list[torch.Tensor]:
        """Radial parts of the transforms, for each degree shape (exponents, G vectors)."""
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
