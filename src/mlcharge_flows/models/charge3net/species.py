"""Atomic numbers of elements."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlcharge_flows.models.model import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable


def atomic_numbers(symbols: Iterable[str]) -> np.ndarray:
    """Look up the atomic number of each element.

    Parameters
    ----------
    symbols
        Elements.

    Raises
    ------
    ModelError
        There is no such element.

    Examples
    --------
    >>> atomic_numbers(["Na", "Cl"])
    array([11, 17])
    """
    from pymatgen.core import Element

    try:
        return np.array([Element(symbol).Z for symbol in symbols], dtype=np.int64)
    except ValueError as error:
        raise ModelError(f"{error}: the model knows elements only") from None
