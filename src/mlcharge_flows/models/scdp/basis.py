r"""Basis of SCDP: even-tempered Gaussians with exponents of their own for each species.

A density consists of products of orbitals. Two Gaussians :math:`\alpha_i, \alpha_j` of degrees
:math:`l_i, l_j` on one atom make one of degree :math:`l_i + l_j`, with an exponent that is taken
as :math:`2 \sqrt{\alpha_i \alpha_j}`. The range from the lowest to the highest exponent of all such
products of an orbital basis set (def2-QZVPPD in SCDP) is spanned, degree by degree, by a geometric
series,

.. math:: \alpha_k = \alpha_{min}\, \beta^k, \qquad
    k < n = \lceil \log_\beta (1 + \alpha_{max} / \alpha_{min}) \rceil .

Orbitals count up to one degree beyond the highest that is occupied in the free atom. Gaussians at a
ratio of 1.3 are nearly linearly dependent: orthonormalizing them exactly would amplify rounding
errors. Contractions whose overlap eigenvalue is below :data:`MIN_EIGENVALUE` are therefore left
shorter than one.

References
----------
X. Fu et al., NeurIPS 2024, arXiv:2405.19276 (SCDP), section 4.
Q. Sun et al., J. Chem. Phys. 153, 024109 (2020): even-tempered auxiliary basis sets of PySCF.
"""

from __future__ import annotations

from functools import cache
from math import ceil, log, pi, sqrt
from typing import TYPE_CHECKING

import numpy as np
import torch
from pymatgen.core.periodic_table import Element
from scipy.constants import physical_constants
from scipy.special import gammainc
from torch import nn
from typing_extensions import override

from mlcharge_flows.models.orbital.gaussians import Basis, SiteOrbitals, orthonormal_shell

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

MIN_EIGENVALUE = 1e-3
"""Overlap eigenvalues are not taken as smaller than this in the orthonormalization."""
BASIS_SET = "def2-qzvppd"
"""Orbital basis set of SCDP."""
MIN_NORM_FRACTION = 0.5
"""Least fraction of the norm of a Gaussian that the G vectors of a grid hold."""
_MIN_CONTRACTION = 1e-3
"""Least contraction coefficient of a primitive Gaussian that is taken into account."""
_BOHR = physical_constants["Bohr radius"][0] * 1e10

Shells = tuple[tuple[float, int], ...]
"""For each degree the smallest exponent, 1/angstrom^2, and the number of Gaussians."""


class SpeciesBasis(nn.Module, Basis):
    """Orbitals of all species, padded to one shape; no trained parameters.

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


def even_tempered(
    symbol: str,
    ratio: float,
    g_max: float,
    largest_degree: int,
    basis_set: str = BASIS_SET,
) -> Shells:
    """Gaussians for the density of an element on a grid.

    A pseudo density on a grid has no G vectors beyond a sphere. Gaussians with less than
    :data:`MIN_NORM_FRACTION` of their norm inside it are left out: within the sphere they are all
    nearly constant.

    Parameters
    ----------
    symbol
        Element.
    ratio
        Ratio of consecutive exponents.
    g_max
        Radius of the sphere of G vectors, 1/angstrom.
    largest_degree
        Highest degree.
    basis_set
        Name of an orbital basis set in the library basis_set_exchange.

    Returns
    -------
    tuple
        Smallest exponent (1/angstrom^2) and number of Gaussians of each degree.

    Raises
    ------
    ValueError
        The library is not installed, or does not have the basis set for the element.
    """
    ranges = _ranges_of_products(_ranges_of_orbitals(symbol, basis_set))
    shells = []
    for degree, (low, high) in enumerate(ranges[: largest_degree + 1]):
        n = ceil(log(1 + high / low) / log(ratio))
        low /= _BOHR**2
        fractions = [norm_fraction(low * ratio**k, degree, g_max) for k in range(n)]
        n_held = sum(fraction >= MIN_NORM_FRACTION for fraction in fractions)
        shells.append((low, max(1, n_held)))
    return tuple(shells)


def norm_fraction(exponent: float, degree: int, g_max: float) -> float:
    r"""Fraction of the norm of a Gaussian orbital within a sphere of G vectors.

    .. math:: \frac{\int_0^{G} q^{2l+2} e^{-q^2/2\alpha} dq}
        {\int_0^\infty q^{2l+2} e^{-q^2/2\alpha} dq} = P(l + 3/2,\, G^2 / 2\alpha)

    with P the regularized incomplete gamma function.

    Parameters
    ----------
    exponent
        1/angstrom^2.
    degree
        l of the orbital.
    g_max
        Radius G of the sphere, 1/angstrom.

    Returns
    -------
    float
        Between 0 and 1.

    Examples
    --------
    >>> [round(norm_fraction(alpha, 0, 24.0), 2) for alpha in (10.0, 100.0, 1000.0)]
    [1.0, 0.88, 0.1]
    """
    return float(gammainc(degree + 1.5, g_max**2 / (2 * exponent)))


def _ranges_of_products(orbitals: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Lowest and highest exponent of the products of each degree, from those of the orbitals."""
    ranges = []
    for degree in range(2 * len(orbitals) - 1):
        pairs = [
            (orbitals[one], orbitals[degree - one])
            for one in range(len(orbitals))
            if 0 <= degree - one < len(orbitals)
        ]
        low = min(2 * sqrt(one[0] * other[0]) for one, other in pairs)
        high = max(2 * sqrt(one[1] * other[1]) for one, other in pairs)
        ranges.append((low, high))
    return ranges


@cache
def _ranges_of_orbitals(symbol: str, basis_set: str) -> list[tuple[float, float]]:
    """Lowest and highest exponent of each degree of an orbital basis set, 1/bohr^2."""
    try:
        from basis_set_exchange import get_basis
    except ModuleNotFoundError:
        raise ValueError(
            "the exponents come from a library: pip install basis-set-exchange"
        ) from None
    try:
        element = get_basis(basis_set, elements=[symbol])["elements"][str(Element(symbol).Z)]
    except (KeyError, RuntimeError):
        raise ValueError(f"there is no basis set {basis_set!r} for {symbol}") from None
    known: dict[int, list[float]] = {}
    for shell in element["electron_shells"]:
        # One degree for each contraction, or one for all of them.
        degrees = shell["angular_momentum"] * len(shell["coefficients"])
        for degree, coefficients in zip(degrees, shell["coefficients"], strict=False):
            known.setdefault(degree, []).extend(_exponents(shell["exponents"], coefficients))
    occupied = ("spdf".index(kind) for _, kind, _ in Element(symbol).full_electronic_structure)
    highest = min(max(known), max(occupied) + 1)
    return [(min(known[degree]), max(known[degree])) for degree in range(highest + 1)]


def _exponents(exponents: Iterable[str], coefficients: Iterable[str]) -> list[float]:
    return [
        float(exponent)
        for exponent, coefficient in zip(exponents, coefficients, strict=True)
        if abs(float(coefficient)) > _MIN_CONTRACTION
    ]
