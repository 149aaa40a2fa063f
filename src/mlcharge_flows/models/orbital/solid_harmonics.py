"""Solid harmonics as polynomials in the integer frequencies of G vectors, in any cell."""

from __future__ import annotations

from functools import lru_cache
from math import pi

import numpy as np

from mlcharge_flows.density.harmonics import real_harmonics


@lru_cache(maxsize=8)
def solid_harmonics(lmax: int, *reciprocal: float) -> np.ndarray:
    """Coefficients of (-1)^l G^l Y_lm as polynomials in the integer frequencies of G.

    Parameters
    ----------
    lmax
        Highest degree.
    *reciprocal
        Nine components of the reciprocal lattice vectors, with the factor 2 pi, in 1/angstrom.

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
