"""What is known of an element before any training: rare ones lean on this more than common ones."""

from __future__ import annotations

import warnings
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from pymatgen.core import Element

if TYPE_CHECKING:
    from collections.abc import Sequence

_PROPERTIES = (
    "X",  # Pauling's electronegativity
    "row",
    "group",
    "mendeleev_no",
    "atomic_radius",
    "ionization_energy",
    "electron_affinity",
)
N_PROPERTIES = len(_PROPERTIES)
_LAST = 86
"""Elements up to radon set the scale."""


@cache
def _table() -> tuple[np.ndarray, np.ndarray]:
    """Mean and spread of each property over the periodic table."""
    values = np.array([_values(Element.from_Z(z)) for z in range(1, _LAST + 1)])
    return np.nanmean(values, axis=0), np.nanstd(values, axis=0)


def _values(element: Element) -> list[float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pymatgen warns of each value that it does not have
        found = [getattr(element, name) for name in _PROPERTIES]
    return [float("nan") if value is None else float(value) for value in found]


def properties(symbols: Sequence[str]) -> np.ndarray:
    """Tabulated properties in units of their spread over the periodic table.

    Electronegativity, row, group, Mendeleev number, radius, ionization energy and electron
    affinity, from pymatgen's tables; 0 (the mean) where a value is not known.

    Parameters
    ----------
    symbols
        Elements.

    Returns
    -------
    numpy.ndarray
        Shape (elements, properties), dimensionless.

    Examples
    --------
    >>> salt = properties(["Na", "Cl"])
    >>> bool(salt[0, 0] < 0 < salt[1, 0])  # electronegativity
    True
    """
    mean, spread = _table()
    return np.nan_to_num((np.array([_values(Element(s)) for s in symbols]) - mean) / spread)


def radii(symbols: Sequence[str]) -> np.ndarray:
    """Slater's empirical radii in angstrom, shape (elements,); 1.5 where there is none."""
    found = (Element(symbol).atomic_radius for symbol in symbols)
    return np.array([1.5 if radius is None else float(radius) for radius in found])
