"""Symmetry operations of a CIF that names its space group only.

One Hermann-Mauguin symbol can stand for several settings: origin choices 1 and 2, hexagonal and
rhombohedral axes, a unique axis. This module lists the settings that fit a cell; the caller decides
between them by the number of atoms.

References
----------
International Tables for Crystallography A, tables 1.5.4.4 and 2.1.3.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import spglib

_N_HALL = 530
_METRIC_TOLERANCE = 0.02
_SHIFT_TOLERANCE = 1e-2  # of translations such as 0.33
_EXACT = 1e-5  # for cells that are almost more symmetric, which spglib gives up at the other
_SUFFIX = re.compile(r"\s*:\s*(\S+)$|\s+(HR|RH|[HRSZ])$")
_CHOICES = {"HR": "H", "RH": "R", "S": "1", "Z": "2"}
"""Setting as ICSD writes it behind the symbol."""


@dataclass(frozen=True)
class Setting:
    """A space group in one of its settings.

    Parameters
    ----------
    hall_number
        Number in spglib's list of 530 settings.
    name
        Symbol with the setting, such as ``R-3m:R``.
    """

    hall_number: int
    name: str

    @property
    def operations(self) -> list[str]:
        """Symmetry operations in CIF notation, such as ``-x,y+1/2,-z``."""
        rotations, translations = _operations(self.hall_number)
        return [
            ",".join(_component(*row) for row in zip(rotation, translation, strict=True))
            for rotation, translation in zip(rotations, translations, strict=True)
        ]


def settings_of(
    lattice: np.ndarray, symbol: str | None, hall: str | None, number: int | None
) -> list[Setting]:
    """Settings of a space group whose rotations leave the metric of a cell as it is.

    Parameters
    ----------
    lattice
        Lattice vectors as rows, shape (3, 3), angstrom.
    symbol
        Hermann-Mauguin symbol, possibly with a setting (``R -3 m :H``).
    hall
        Hall symbol; it stands for one setting.
    number
        Number in International Tables; used if neither symbol is known.

    Returns
    -------
    list of Setting
        Empty if none fits the cell.

    Raises
    ------
    ValueError
        The symbols and the number name no space group.

    Examples
    --------
    >>> rhombohedral = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]]) * 3.0 + 0.5
    >>> [setting.name for setting in settings_of(rhombohedral, "R -3 m", None, None)]
    ['R-3m:R']
    """
    found = _by_hall().get(_squeezed(hall or ""), ()) or _with_symbol(symbol or "")
    if not found and number is not None:
        found = tuple(hall for hall in _by_number().get(number, ()) if _is_usual(hall))
    if not found:
        raise ValueError(f"unknown space group {symbol or hall or number}")
    fitting = [hall for hall in found if are_isometries(_operations(hall)[0], lattice)]
    # Without a unique axis in the symbol it is b.
    along_b = [hall for hall in fitting if _type(hall).choice.lstrip("-").startswith("b")]
    return [Setting(hall, _name(hall)) for hall in along_b or fitting]


def _with_symbol(symbol: str) -> tuple[int, ...]:
    """Hall numbers of a Hermann-Mauguin symbol; empty if it is not known."""
    suffix = _SUFFIX.search(symbol)
    found = _by_symbol().get(_squeezed(symbol[: suffix.start()] if suffix else symbol), ())
    if suffix:
        choice = suffix[1] or suffix[2]
        choice = _CHOICES.get(choice.upper(), choice)
        found = tuple(hall for hall in found if _type(hall).choice.startswith(choice))
    return found


def named_groups(symbol: str | None, hall: str | None, number: int | None) -> dict[str, set[int]]:
    """Numbers of the space groups that each of the names of one can stand for.

    Parameters
    ----------
    symbol
        Hermann-Mauguin symbol.
    hall
        Hall symbol.
    number
        Number in International Tables.

    Returns
    -------
    dict of str to set of int
        By name; names that are not known are left out.

    Examples
    --------
    >>> named_groups("F m -3 m", None, 1)
    {'F m -3 m': {225}, 'number 1': {1}}
    """
    halls = {
        str(symbol): _with_symbol(symbol or ""),
        str(hall): _by_hall().get(_squeezed(hall or ""), ()),
        f"number {number}": _by_number().get(number or 0, ()),
    }
    return {name: {_type(hall).number for hall in found} for name, found in halls.items() if found}


def group_of(rotations: np.ndarray, translations: np.ndarray, lattice: np.ndarray) -> int | None:
    """Space group of symmetry operations.

    Parameters
    ----------
    rotations
        Rotations of fractional coordinates, shape (n, 3, 3).
    translations
        Shape (n, 3).
    lattice
        Lattice vectors as rows, shape (3, 3), angstrom.

    Returns
    -------
    int or None
        Its number; None if the operations are no group, since some are missing.
    """
    whole = np.rint(rotations).astype(int)
    for rotation, shift in zip(whole, translations, strict=True):
        products, shifts = rotation @ whole, translations @ rotation.T + shift
        is_listed = (products[:, None] == whole).all(axis=(2, 3))
        left = shifts[:, None] - translations
        is_listed &= (np.abs(left - np.rint(left)) < _SHIFT_TOLERANCE).all(axis=2)
        if not is_listed.any(axis=1).all():
            return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of spglib's own way to fail
        for tolerance in (_SHIFT_TOLERANCE, _EXACT):
            try:
                found = spglib.get_spacegroup_type_from_symmetry(
                    whole, translations, lattice=lattice, symprec=tolerance
                )
            except spglib.SpglibError:  # once phonopy has been imported
                continue
            if found is not None:
                return int(found.number)
    return None


def are_isometries(rotations: np.ndarray, lattice: np.ndarray) -> bool:
    """Whether rotations leave the lengths and angles of a cell as they are, within 2 %.

    Parameters
    ----------
    rotations
        Rotations of fractional coordinates, shape (n, 3, 3).
    lattice
        Lattice vectors as rows, shape (3, 3), angstrom.

    Returns
    -------
    bool
        Whether W^T G W = G for each rotation W and the metric tensor G of the lattice.
    """
    metric = lattice @ lattice.T
    turned = np.einsum("nji,jk,nkl->nil", rotations, metric, rotations)
    return bool(abs(turned - metric).max() < _METRIC_TOLERANCE * metric.max())


def _type(hall: int) -> spglib.SpaceGroupType:
    return _types()[hall]


@lru_cache(maxsize=1)
def _types() -> dict[int, spglib.SpaceGroupType]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of spglib's own way to fail
        found = {hall: spglib.get_spacegroup_type(hall) for hall in range(1, _N_HALL + 1)}
    return {hall: entry for hall, entry in found.items() if entry is not None}


@lru_cache(maxsize=1)
def _by_symbol() -> dict[str, tuple[int, ...]]:
    table: dict[str, set[int]] = {}
    for hall, entry in _types().items():
        parts = [part.strip() for part in entry.international.split("=")]
        # The first part is the symbol of the usual setting, whichever this one is.
        names = parts if len(parts) == 1 or entry.choice in ("b", "b1") else parts[1:]
        names = [*names, entry.international_full]
        names += [" ".join(word for word in name.split() if word != "1") for name in names]
        if entry.number >= 200:  # Fd3m for Fd-3m, as in tables before 1983
            names += [name.replace("-3", "3") for name in names]
        for name in names:
            table.setdefault(_squeezed(name), set()).add(hall)
    return {name: tuple(sorted(halls)) for name, halls in table.items()}


@lru_cache(maxsize=1)
def _by_hall() -> dict[str, tuple[int, ...]]:
    return {_squeezed(entry.hall_symbol): (hall,) for hall, entry in _types().items()}


@lru_cache(maxsize=1)
def _by_number() -> dict[int, tuple[int, ...]]:
    table: dict[int, tuple[int, ...]] = {}
    for hall, entry in _types().items():
        table[entry.number] = (*table.get(entry.number, ()), hall)
    return table


def _is_usual(hall: int) -> bool:
    """Whether a setting is the usual one, up to the origin and the axes of rhombohedral cells."""
    return _type(hall).choice in ("", "b", "b1", "1", "2", "H", "R")


def _name(hall: int) -> str:
    entry = _type(hall)
    return f"{entry.international_short}{f':{entry.choice}' if entry.choice else ''}"


def _operations(hall: int) -> tuple[np.ndarray, np.ndarray]:
    """Rotations, shape (n, 3, 3), and translations, shape (n, 3), in fractional coordinates."""
    found = spglib.get_symmetry_from_database(hall)
    if found is None:
        raise ValueError(f"there is no Hall number {hall}")
    return found["rotations"], found["translations"]


def _component(row: np.ndarray, shift: float) -> str:
    """One coordinate of an operation, such as ``x-y+1/2``."""
    terms = "".join(
        f"{'+' if factor > 0 else '-'}{axis}"
        for factor, axis in zip(row, "xyz", strict=True)
        if factor
    )
    twelfths = round(12 * float(shift)) % 12
    return terms.removeprefix("+") + (f"+{twelfths}/12" if twelfths else "")


def _squeezed(symbol: str) -> str:
    return re.sub(r"[\s_]", "", symbol).lower()
