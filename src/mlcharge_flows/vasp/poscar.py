"""POSCAR and CONTCAR as VASP reads them, with pymatgen's reader underneath.

VASP reads each line list-directed: what follows the expected numbers is a comment. It takes three
scaling factors as well as one, and names of data sets in place of elements. A file of VASP 4, which
leaves the elements to the POTCAR, is refused.

References
----------
VASP wiki, https://www.vasp.at/wiki/index.php/POSCAR; VASP forum, topic 4720 (left-handed cells).
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from itertools import takewhile
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np
from pymatgen.core.periodic_table import Element
from pymatgen.io.vasp.inputs import Poscar

from mlcharge_flows.errors import MlchargeError, one_line
from mlcharge_flows.vasp.fortran import parse_logical
from mlcharge_flows.vasp.input_text import BYTE_ORDER_MARK, read_text, split_lines

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pymatgen.core.structure import Structure

MAX_VOLUME = 1e9
"""Largest volume of a cell, cubic angstrom: more is a typing error."""

LEFT_HANDED = (
    "the triple product of the lattice vectors is negative, which VASP refuses: exchange two of "
    "them, and the coordinates along them"
)
"""What is wrong with a left-handed cell: VASP stops at it (RD_POSCAR_HEAD in poscar.F)."""

_PLACEHOLDER = "comment"
_NAME = re.compile(r"([A-Z][a-z]?)(?:[_/].*|\d?\.\d+.*)?")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[EeDd][-+]?\d+)?", re.ASCII)
_COUNT = re.compile(r"\d{1,12}", re.ASCII)


class PoscarError(MlchargeError, ValueError):
    """A POSCAR that is no complete crystal; the message names the line and what is wrong."""


@dataclass(frozen=True, eq=False)
class PoscarFile:
    """What a POSCAR says.

    Parameters
    ----------
    comment
        First line.
    structure
        Ordered crystal in the order of the file; velocities, if any, as site properties.
    species
        Name and number of ions of each block of equal ions, as the file has them; the name may be
        that of a data set (``Ga_d``, ``H1.25``). Blocks without ions are left out.
    """

    comment: str
    structure: Structure
    species: tuple[tuple[str, int], ...]

    @property
    def symbols(self) -> tuple[str, ...]:
        """Element of each block."""
        return tuple(element_symbol(name) for name, _ in self.species)


def read_poscar(
    path: str | Path, *, plain: bool = False, symbols: Sequence[str] = ()
) -> PoscarFile:
    """Read a POSCAR file.

    Parameters
    ----------
    path
        The file, plain or compressed, in UTF-8 or Latin-1.
    plain
        Whether files that VASP does not read as text are refused, such as compressed ones.
    symbols
        Element of each block of a file of VASP 4, from POTCAR or OUTCAR.

    Returns
    -------
    PoscarFile
        Comment, crystal and species.

    Raises
    ------
    PoscarError
        The file holds no complete crystal, or does not name the elements.
    NotPlainTextError
        With `plain`, if VASP does not read the file as text.
    OSError
        The file cannot be read.
    """
    return parse_poscar(read_text(path, plain=plain), symbols)


def parse_poscar(text: str, symbols: Sequence[str] = ()) -> PoscarFile:
    r"""Read the text of a POSCAR.

    Parameters
    ----------
    text
        Content of the file.
    symbols
        Element of each block of a file of VASP 4, from POTCAR or OUTCAR.

    Returns
    -------
    PoscarFile
        Comment, crystal and species.

    Raises
    ------
    PoscarError
        The text holds no complete crystal, or does not name the elements.

    Examples
    --------
    >>> cell = "4 0 0 ! a\n0 4 0\n0 0 4\n"
    >>> tetragonal = parse_poscar(f"x\n1 1 2\n{cell}Ga_d As/0fc7\n1 1\nD\n0 0 0\n.5 .5 .5\n")
    >>> tetragonal.symbols, tetragonal.structure.lattice.abc
    (('Ga', 'As'), (4.0, 4.0, 8.0))
    """
    lines = split_lines(text.removeprefix(BYTE_ORDER_MARK))
    if not "".join(lines).strip():
        raise PoscarError("the file is empty")
    lattice, scale = _cell(lines)
    names, counts, first = _species(lines)
    flags = _words(lines, first, "the coordinate mode")[0][:1] in "sS"
    mode_line = first + flags
    mode = _words(lines, mode_line, "the coordinate mode")[0]
    if _NUMBER.fullmatch(mode):
        raise PoscarError(f"line {mode_line + 1} is {mode!r}, expected Direct or Cartesian")
    cartesian = mode[0] in "cCkK"
    total = sum(counts)
    if total == 0:
        raise PoscarError("there are no ions")
    rows = [_ion(lines, mode_line + 1 + ion, ion, total, flags) for ion in range(total)]
    if names is None and len(symbols) == len(counts):
        names = list(symbols)
    elif names is None:
        names = _names_beside_ions(lines, mode_line + 1, counts, 6 if flags else 3)
    blocks = [(name, count) for name, count in zip(names, counts, strict=True) if count]
    coordinates = np.array([numbers for numbers, _ in rows])
    if cartesian:
        coordinates *= scale
    tail = lines[mode_line + 1 + total :]
    if tail and len(tail[0].split()) >= 3 and all(map(_NUMBER.fullmatch, tail[0].split()[:3])):
        raise PoscarError(f"the counts say {total} ions, but more coordinates follow")
    _check_velocities(tail, total)
    canonical = [
        _PLACEHOLDER,
        "1.0",
        *(_row(vector) for vector in lattice),
        " ".join(element_symbol(name) for name, _ in blocks),
        " ".join(str(count) for _, count in blocks),
        *(["Selective dynamics"] if flags else []),
        "Cartesian" if cartesian else "Direct",
        *(f"{_row(row)} {tags}" for row, (_, tags) in zip(coordinates, rows, strict=True)),
        *tail,
    ]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            structure = Poscar.from_str("\n".join(canonical)).structure
    except (ValueError, IndexError, Warning):
        raise PoscarError("what follows the ions cannot be read") from None
    return PoscarFile(lines[0].strip(), structure, tuple(blocks))


def element_symbol(name: str) -> str:
    """Element of a species named as in a POSCAR or POTCAR.

    Parameters
    ----------
    name
        Element or data set.

    Returns
    -------
    str
        Symbol of the element.

    Raises
    ------
    PoscarError
        The name begins with no element.

    Examples
    --------
    >>> [element_symbol(name) for name in ("Ga", "Ga_d", "Mg_pv/f474ac0d", "H1.25", "H.5")]
    ['Ga', 'Ga', 'Mg', 'H', 'H']
    """
    match = _NAME.fullmatch(name)
    if match is None or not Element.is_valid_symbol(match[1]):
        raise PoscarError(f"{one_line(name, 40)!r} is no element, in the line of the species")
    return match[1]


def _cell(lines: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Scaled lattice vectors, shape (3, 3), and what multiplies Cartesian coordinates, angstrom."""
    words = _plain(lines, 1, "the scaling factor").split()
    several = len(words) >= 3 and all(map(_NUMBER.fullmatch, words[:3]))
    factors = _numbers(lines, 1, 3 if several else 1, "the scaling factor")
    lattice = np.array([_numbers(lines, i, 3, "a lattice vector") for i in (2, 3, 4)])
    if several and min(factors) <= 0:
        raise PoscarError("three scaling factors must be positive")
    with np.errstate(all="ignore"):
        if factors[0] < 0:
            factors = [(-factors[0] / abs(np.linalg.det(lattice))) ** (1 / 3)]
        scale = np.ones(3) * factors
        lattice = lattice * scale
        volume = abs(np.linalg.det(lattice))
    if not 0 < volume < MAX_VOLUME:
        raise PoscarError(f"the cell has a volume of {volume:g} cubic angstrom")
    if np.linalg.det(lattice) < 0:
        raise PoscarError(LEFT_HANDED)
    return lattice, scale


def _species(lines: Sequence[str]) -> tuple[list[str] | None, list[int], int]:
    """Names (None in a file of VASP 4), counts, and the index of the line that follows them."""
    line = 5
    names: list[str] = []
    # Where ions change places often, VASP writes names and counts on several lines each.
    while not (words := _words(lines, line, "the elements"))[0].lstrip("-+").isdigit():
        names += words
        line += 1
    counts: list[int] = []
    while len(counts) < (len(names) or 1):
        words = _words(lines, line, "the numbers of ions")
        if not all(map(_COUNT.fullmatch, words)):
            break
        counts += map(int, words)
        line += 1
    if not counts:
        raise PoscarError(f"line {line + 1} holds no numbers of ions")
    if not names:
        return None, counts, line
    for name in names:
        element_symbol(name)
    if len(names) != len(counts):
        raise PoscarError(f"{len(names)} elements, but {len(counts)} numbers of ions")
    return names, counts, line


def _ion(
    lines: Sequence[str], index: int, ion: int, total: int, flags: bool
) -> tuple[list[float], str]:
    """Coordinates of an ion and, with selective dynamics, its three flags."""
    if index >= len(lines) or not lines[index].strip():
        raise PoscarError(f"ends after {ion} of {total} ions")
    numbers = _numbers(lines, index, 3, f"the coordinates of ion {ion + 1}")
    if not flags:
        return numbers, ""
    try:
        first, second, third = ("FT"[parse_logical(word)] for word in lines[index].split()[3:6])
    except ValueError:
        raise PoscarError(f"ion {ion + 1} lacks the three flags of selective dynamics") from None
    return numbers, f"{first} {second} {third}"


def _check_velocities(tail: Sequence[str], total: int) -> None:
    """Refuse velocities, behind a blank line or a coordinate mode, that are not of every ion."""
    rows = [line.split() for line in takewhile(str.strip, tail[1:])]
    if not rows or tail[0].strip().lower().startswith("lattice"):
        return
    whole = [len(row) >= 3 and all(map(_NUMBER.fullmatch, row[:3])) for row in rows]
    if not all(whole) or len(rows) != total:
        raise PoscarError(
            f"what follows the ions cannot be read, expected velocities: a line of 3 numbers for "
            f"each of {total} ions"
        )


def _names_beside_ions(
    lines: Sequence[str], first: int, counts: Sequence[int], column: int
) -> list[str]:
    """Elements that a file of VASP 4 gives behind the coordinates, one per block of equal ions."""
    names = []
    for count in counts:
        words = [line.split() for line in lines[first : first + count]]
        block = {row[column] if len(row) > column else "" for row in words}
        first += count
        name = block.pop() if len(block) == 1 else ""
        if count and not Element.is_valid_symbol(name):
            raise PoscarError("no element symbols, put them on a line before the counts")
        names.append(name)
    return names


def _plain(lines: Sequence[str], index: int, what: str) -> str:
    """One line without its comment."""
    if index >= len(lines):
        raise PoscarError(f"ends before {what}")
    return re.split("[!#]", lines[index])[0].replace(",", " ")


def _words(lines: Sequence[str], index: int, what: str) -> list[str]:
    words = _plain(lines, index, what).split()
    if not words:
        raise PoscarError(f"line {index + 1} is empty, expected {what}")
    return words


def _numbers(lines: Sequence[str], index: int, count: int, what: str) -> list[float]:
    words = _words(lines, index, what)[:count]
    if len(words) < count or not all(map(_NUMBER.fullmatch, words)):
        raise PoscarError(
            f"line {index + 1} is {one_line(lines[index], 60)!r}, expected {what}: "
            f"{count} number{'s' if count > 1 else ''}"
        )
    numbers = [float(word.upper().replace("D", "E")) for word in words]
    if not all(map(isfinite, numbers)):
        raise PoscarError(f"line {index + 1} holds a number that is too large, expected {what}")
    return numbers


def _row(numbers: np.ndarray) -> str:
    return " ".join(repr(float(number)) for number in numbers)
