r"""Even-tempered Gaussians for the density of an element, derived from its orbital basis set.

A density consists of products of orbitals. Two Gaussians :math:`\alpha_i, \alpha_j` of degrees
:math:`l_i, l_j` on one atom make one of degree :math:`l_i + l_j`, with an exponent that is taken
as :math:`2 \sqrt{\alpha_i \alpha_j}`. The range from the lowest to the highest exponent of all such
products of a basis set (def2-QZVPPD in SCDP) is spanned, degree by degree, by a geometric series,

.. math:: \alpha_k = \alpha_{min}\, \beta^k, \qquad
    k < n = \lceil \log_\beta (1 + \alpha_{max} / \alpha_{min}) \rceil .

Orbitals count up to one degree beyond the highest that is occupied in the free atom.

References
----------
X. Fu et al., NeurIPS 2024, arXiv:2405.19276 (SCDP), section 4.
Q. Sun et al., J. Chem. Phys. 153, 024109 (2020): even-tempered auxiliary basis sets of PySCF.
"""

from __future__ import annotations

from functools import cache
from math import ceil, log, sqrt
from typing import TYPE_CHECKING

from pymatgen.core.periodic_table import Element
from scipy.constants import physical_constants
from scipy.special import gammainc

if TYPE_CHECKING:
    from collections.abc import Iterable

BASIS_SET = "def2-qzvppd"
"""Orbital basis set of SCDP."""
MIN_NORM_FRACTION = 0.5
"""Least fraction of the norm of a Gaussian that the G vectors of a grid hold."""

_MIN_CONTRACTION = 1e-3
"""Least contraction coefficient of a primitive Gaussian that is taken into account."""
_BOHR = physical_constants["Bohr radius"][0] * 1e10

Shells = tuple[tuple[float, int], ...]
"""For each degree the smallest exponent, 1/angstrom^2, and the number of Gaussians."""


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
