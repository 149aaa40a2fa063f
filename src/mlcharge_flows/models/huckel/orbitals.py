r"""Orbitals and energies of free atoms, as an extended Hückel calculation takes them.

The table ``orbitals.json`` holds, for every element, its valence orbitals up to l = 2: the pseudo
waves and eigenvalues of GPAW's PBE data sets, confined by :math:`\exp(-(r / 2.2 R)^2)` with the
empirical radius R of the element, and fitted by Gaussians. ``workflows/huckel_orbitals`` makes it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from math import pi

import numpy as np
from scipy.special import gamma

LMAX = 2
"""Highest degree of the orbitals: f electrons do not bind here."""
EXPONENTS = 0.143 * 2.2 ** np.arange(8)
"""Of the Gaussians, 1/angstrom^2, the same for all orbitals of all elements."""
LARGEST_WAVE = 6.8
"""Orbitals end here in reciprocal space, 1/angstrom."""


@dataclass(frozen=True, eq=False)
class AtomicOrbital:
    r"""A shell of a free atom: 2l + 1 orbitals with one radial function.

    Parameters
    ----------
    degree
        l.
    electrons
        In the shell of the neutral atom.
    energy
        Eigenvalue, eV.
    coefficients
        Of the normalised Gaussians :math:`r^l e^{-\alpha r^2}`, shape (8,).
    """

    degree: int
    electrons: float
    energy: float
    coefficients: np.ndarray
    _heights: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        size = gamma(self.degree + 1.5) / (2 * (2 * EXPONENTS) ** (self.degree + 1.5))
        waves = (pi / EXPONENTS) ** 1.5 / (2 * EXPONENTS) ** self.degree
        object.__setattr__(self, "_heights", self.coefficients * waves / size**0.5)
        q = np.linspace(0, LARGEST_WAVE, 400)
        norm = np.trapezoid((self.transform(q, falls(q)) * q) ** 2, q) / (2 * pi) ** 3
        object.__setattr__(self, "_heights", self._heights / norm**0.5)

    def transform(self, q: np.ndarray, fallen: np.ndarray) -> np.ndarray:
        r"""Radial part of the Fourier transform, without the factor :math:`(-i)^l`.

        .. math::
            4\pi \int R(r)\, j_l(qr)\, r^2 dr = \sum_k c_k
            \left(\frac{\pi}{\alpha_k}\right)^{3/2} \left(\frac{q}{2\alpha_k}\right)^l
            e^{-q^2 / 4\alpha_k}

        It is scaled so that the waves up to :data:`LARGEST_WAVE` hold a norm of one.

        Parameters
        ----------
        q
            Wave numbers, shape (n,), 1/angstrom.
        fallen
            :func:`falls` of them, which all orbitals share.

        Returns
        -------
        numpy.ndarray
            Shape (n,), angstrom^(3/2).
        """
        return q**self.degree * (fallen @ self._heights)


def falls(q: np.ndarray) -> np.ndarray:
    """Decay of every Gaussian's transform at every wave number, shape (n, 8)."""
    return np.exp(-(q[:, None] ** 2) / (4 * EXPONENTS))


@cache
def atomic_orbitals() -> dict[str, tuple[AtomicOrbital, ...]]:
    """Shells of every element of the table.

    Examples
    --------
    >>> [(shell.degree, shell.electrons) for shell in atomic_orbitals()["O"]]
    [(0, 2.0), (1, 4.0)]
    """
    table = json.loads((resources.files(__package__) / "orbitals.json").read_text())
    return {
        symbol: tuple(
            AtomicOrbital(s["l"], s["electrons"], s["energy"], np.array(s["coefficients"]))
            for s in shells
        )
        for symbol, shells in table.items()
    }
