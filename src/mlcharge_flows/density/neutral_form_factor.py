r"""Spherical changes of the density of an atom that hold no charge, in reciprocal space.

The functions :math:`n_m(r) = \sin(m \pi r / R) / r` inside a radius R are complete for spherical
densities that vanish beyond it. Their form factors are

.. math::
    f_m(q) = \frac{2 \pi R}{q} \left[ \operatorname{sinc}(k_m R - q R)
        - \operatorname{sinc}(k_m R + q R) \right], \qquad
    f_m(0) = - \frac{4 \pi R}{k_m} (-1)^m, \qquad k_m = m \pi / R

with :math:`\operatorname{sinc} x = \sin x / x`. Combinations that are orthogonal to the vector
:math:`f_m(0)` hold no charge.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import pi, sqrt
from typing import TYPE_CHECKING

import numpy as np
from scipy.interpolate import CubicSpline

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_MESH_POINTS = 2000
"""Of the spline of a form factor: it is exact to about 1e-9 of its largest value."""


@dataclass(frozen=True)
class NeutralSines:
    """Orthogonal combinations of sines within a sphere that hold no charge.

    Parameters
    ----------
    radius
        Radius R beyond which they vanish, in angstrom.
    q_max
        Wave number beyond which their form factors are cut off, in 1/angstrom.

    Examples
    --------
    >>> basis = NeutralSines()
    >>> basis.size, basis(np.array([0.0, 40.0])).shape
    (20, (20, 2))
    >>> bool(np.allclose(basis(np.array([0.0, 40.0])), 0.0))
    True
    """

    radius: float = 2.0
    q_max: float = 34.0

    @property
    def size(self) -> int:
        """Number of functions: sines with wave numbers up to `q_max`, less one."""
        return int(self.radius * self.q_max / pi) - 1

    @cached_property
    def _wave_numbers(self) -> np.ndarray:
        return pi / self.radius * np.arange(1, self.size + 2)

    @cached_property
    def _neutral(self) -> np.ndarray:
        """Orthonormal combinations without charge, shape (size, size + 1)."""
        rows: np.ndarray = np.linalg.svd(self._charges[None])[2][1:]
        return rows

    @cached_property
    def _charges(self) -> np.ndarray:
        """Charge of each sine over the square root of 2 pi R, shape (size + 1,)."""
        signs = np.where(np.arange(1, self.size + 2) % 2, 1.0, -1.0)
        charges: np.ndarray = signs / self._wave_numbers
        return charges

    def __call__(self, q: np.ndarray) -> np.ndarray:
        """Form factors of all functions.

        Parameters
        ----------
        q
            Wave numbers in 1/angstrom, shape (n,).

        Returns
        -------
        numpy.ndarray
            Electrons, shape (size, n); zero at q = 0, and beyond :attr:`q_max`.
        """
        values: np.ndarray = self._neutral @ self._sines(q) * ((q > 0.0) & (q <= self.q_max))
        return values

    def moved(self, coefficients: Sequence[float]) -> float:
        """Number of electrons that a combination of the functions moves.

        Parameters
        ----------
        coefficients
            One per function, shape (size,).

        Returns
        -------
        float
            Half the integral of the absolute value of its density, in electrons. No value of its
            form factor is larger than twice this number.
        """
        step = self.radius / _MESH_POINTS
        r = step * (np.arange(_MESH_POINTS) + 0.5)
        sines = np.sin(self._wave_numbers[:, None] * r) / sqrt(8 * pi * self.radius)
        shell = 4 * pi * r * (np.asarray(coefficients) @ self._neutral @ sines)
        return float(np.abs(shell).sum() * step / 2)

    def charged(self, q: np.ndarray) -> np.ndarray:
        """Form factor of one electron that is orthogonal to all functions.

        Parameters
        ----------
        q
            Wave numbers in 1/angstrom, shape (n,).

        Returns
        -------
        numpy.ndarray
            Electrons, shape (n,); 1 at q = 0, and 0 beyond :attr:`q_max`.
        """
        charges = np.sqrt(2 * pi * self.radius) * self._charges
        values: np.ndarray = charges @ self._sines(q) / (charges @ charges)
        return np.where(q > 0.0, values, 1.0) * (q <= self.q_max)

    def _sines(self, q: np.ndarray) -> np.ndarray:
        """Form factors of the sines, shape (size + 1, n), at q > 0."""
        k, at = self._wave_numbers[:, None], np.maximum(q, 1e-9)
        x, y = (self.radius / pi * wave for wave in (k - at, k + at))
        sines: np.ndarray = np.sqrt(pi * self.radius / 2) / at * (np.sinc(x) - np.sinc(y))
        return sines

    def form_factor(self, coefficients: Sequence[float]) -> Callable[[np.ndarray], np.ndarray]:
        """Form factor of a combination of the functions.

        Parameters
        ----------
        coefficients
            One per function, shape (size,).

        Returns
        -------
        callable
            Takes wave numbers in 1/angstrom, any shape, and gives electrons.

        Raises
        ------
        ValueError
            There is not one coefficient per function.
        """
        if len(coefficients) != self.size:
            raise ValueError(f"{len(coefficients)} coefficients of {self.size} functions")
        return splined(self, coefficients, self.q_max)


def splined(
    functions: Callable[[np.ndarray], np.ndarray], coefficients: Sequence[float], q_max: float
) -> Callable[[np.ndarray], np.ndarray]:
    """Spline of a combination of form factors.

    Parameters
    ----------
    functions
        Takes wave numbers in 1/angstrom, shape (n,), and gives one row per function.
    coefficients
        One per function.
    q_max
        Wave number beyond which the combination is zero, 1/angstrom.

    Returns
    -------
    callable
        Takes wave numbers in 1/angstrom, any shape.
    """
    mesh = np.linspace(0.0, q_max, _MESH_POINTS)
    spline = CubicSpline(mesh, np.asarray(coefficients) @ functions(mesh))

    def at(q: np.ndarray) -> np.ndarray:
        return np.where(q <= q_max, spline(np.minimum(q, q_max)), 0.0)

    return at
