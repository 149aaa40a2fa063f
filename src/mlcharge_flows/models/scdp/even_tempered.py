r"""Even-tempered Gaussians for the density of an element, derived from its orbital basis set.

A density is made of products of orbitals. Two Gaussians :math:`\alpha_i, \alpha_j` of degrees
:math:`l_i, l_j` on one atom make one of degree :math:`l_i + l_j`, with an exponent that is taken
as :math:`2 \sqrt{\alpha_i \alpha_j}`. Of all such products of a basis set (def2-QZVPPD in SCDP),
degree by degree, the lowest and the highest exponent are bridged by a geometric series,

.. math:: \alpha_k = \alpha_{min}\, \beta^k, \qquad
    k < n = \lceil \log_\beta (1 + \alpha_{max} / \alpha_{min}) \rceil .

As PySCF makes its auxiliary sets (Q. Sun et al., J. Chem. Phys. 153, 024109, 2020), which SCDP
follows, orbitals count up to one degree beyond the highest that the free atom has occupied.
"""

from __future__ import annotations

from functools import cache
from math import ceil, log, sqrt
from typing import TYPE_CHECKING

from pymatgen.core import Element
from scipy.constants import physical_constants
from scipy.special import gammainc

if TYPE_CHECKING:
    from collections.abc import Iterable

BASIS_SET = "def2-qzvppd"
"""Orbital basis set of SCDP."""
HELD = 0.5
"""Share of its norm that the plane waves of a grid hold of a Gaussian; narrower ones are cut."""

_COUNTS = 1e-3
"""Contraction coefficient from which on a primitive Gaussian counts."""
_BOHR = physical_constants["Bohr radius"][0] * 1e10

Shells = tuple[tuple[float, int], ...]
"""For each degree the smallest exponent, 1/angstrom^2, and the number of Gaussians."""


def even_tempered(
    symbol: str,
    ratio: float,
    largest_wave: float,
    largest_degree: int,
    basis_set: str = BASIS_SET,
) -> Shells:
    """Gaussians for the density of an element on a grid.

    A pseudo density on a grid has no waves beyond a sphere. Gaussians that are so narrow that less
    than half of their norm lies inside are left out: within the sphere they all look alike.

    Parameters
    ----------
    symbol
        Element.
    ratio
        Of consecutive exponents.
    largest_wave
        Radius of the sphere of plane waves, 1/angstrom.
    largest_degree
        Higher degrees are left out.
    basis_set
        An orbital basis set that the library basis_set_exchange knows.

    Returns
    -------
    tuple
        Smallest exponent (1/angstrom^2) and number of Gaussians of each degree.

    Raises
    ------
    ValueError
        The library is not installed, or does not know the basis set for the element.
    """
    ranges = _ranges_of_products(_ranges_of_orbitals(symbol, basis_set))
    shells = []
    for degree, (low, high) in enumerate(ranges[: largest_degree + 1]):
        n = ceil(log(1 + high / low) / log(ratio))
        low /= _BOHR**2
        held = [held_norm(low * ratio**k, degree, largest_wave) >= HELD for k in range(n)]
        shells.append((low, max(1, sum(held))))
    return tuple(shells)


def held_norm(exponent: float, degree: int, largest_wave: float) -> float:
    r"""Share of the norm of a Gaussian orbital that plane waves within a sphere hold.

    .. math:: \frac{\int_0^{G} q^{2l+2} e^{-q^2/2\alpha} dq}
        {\int_0^\infty q^{2l+2} e^{-q^2/2\alpha} dq} = P(l + 3/2,\, G^2 / 2\alpha)

    with P the regularized incomplete gamma function.

    Parameters
    ----------
    exponent
        1/angstrom^2.
    degree
        l of the orbital.
    largest_wave
        Radius G of the sphere, 1/angstrom.

    Examples
    --------
    >>> [round(held_norm(alpha, 0, 24.0), 2) for alpha in (10.0, 100.0, 1000.0)]
    [1.0, 0.88, 0.1]
    """
    return float(gammainc(degree + 1.5, largest_wave**2 / (2 * exponent)))


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
            known.setdefault(degree, []).extend(_counting(shell["exponents"], coefficients))
    occupied = ("spdf".index(kind) for _, kind, _ in Element(symbol).full_electronic_structure)
    highest = min(max(known), max(occupied) + 1)
    return [(min(known[degree]), max(known[degree])) for degree in range(highest + 1)]


def _counting(exponents: Iterable[str], coefficients: Iterable[str]) -> list[float]:
    return [
        float(exponent)
        for exponent, coefficient in zip(exponents, coefficients, strict=True)
        if abs(float(coefficient)) > _COUNTS
    ]
