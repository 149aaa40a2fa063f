"""Structure header of a CHGCAR: a POSCAR with six decimals.

References
----------
VASP wiki, CHGCAR, https://www.vasp.at/wiki/index.php/CHGCAR.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from mlcharge_flows.density.crystal import Crystal

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMENT_LENGTH = 40
"""VASP keeps, and echoes, this many characters of the first line."""


def header_length(lines: Sequence[str]) -> int:
    """Number of lines of a header, from its own element counts; the blank line is included.

    Parameters
    ----------
    lines
        At least the first seven lines of the file.

    Returns
    -------
    int
        Lines before the grid dimensions.

    Raises
    ------
    ValueError
        The element lines are missing or malformed.
    """
    return 8 + sum(_counts(lines)) + 1


def parse_header(lines: Sequence[str]) -> Crystal:
    """Read the ions.

    Parameters
    ----------
    lines
        The header, without its line ends, from the comment to the last coordinates or beyond.

    Returns
    -------
    Crystal
        Lattice scaled by the factor in the second line; ``Mg_pv/f474ac0d`` is read as Mg.

    Raises
    ------
    ValueError
        A line is missing or malformed; the message says which.
    """
    counts = _counts(lines)
    names = lines[5].split()
    if len(names) != len(counts):
        raise ValueError(f"line 6 names {len(names)} elements, line 7 counts {len(counts)}")
    symbols = [_element(name) for name in names]
    scale = _numbers(lines, 1, 1)[0]
    lattice = np.array([_numbers(lines, i, 3) for i in (2, 3, 4)])
    volume = abs(np.linalg.det(lattice))
    if scale == 0.0 or volume == 0.0:
        raise ValueError("the lattice has no volume")
    # A negative factor gives the cell volume, as in a POSCAR.
    lattice *= scale if scale > 0 else (-scale / volume) ** (1 / 3)
    if not lines[7].strip().lower().startswith("d"):
        raise ValueError(f"line 8 is {lines[7].strip()!r}, expected 'Direct'")
    n_ions = sum(counts)
    positions = np.array([_numbers(lines, 8 + i, 3) for i in range(n_ions)]).reshape(-1, 3)
    ions = [symbol for symbol, n in zip(symbols, counts, strict=True) for _ in range(n)]
    return Crystal(lattice, tuple(ions), positions)


def format_header(crystal: Crystal, comment: str) -> tuple[str, ...]:
    """Write a header as VASP 6 does.

    Parameters
    ----------
    crystal
        The ions; runs of equal symbols become one entry of the element lines.
    comment
        First line. Blanks are merged, and VASP keeps 40 characters.

    Returns
    -------
    tuple of str
        Lines without their ends; the last one is blank.

    Examples
    --------
    >>> for line in format_header(Crystal(3 * np.eye(3), ("Li",), np.zeros((1, 3))), "bcc"):
    ...     print(line.rstrip())
    bcc
       1.0000000000000000
         3.000000    0.000000    0.000000
         0.000000    3.000000    0.000000
         0.000000    0.000000    3.000000
       Li
         1
    Direct
      0.000000  0.000000  0.000000
    <BLANKLINE>
    """
    species = crystal.species
    return (
        f"{header_comment(comment):<{COMMENT_LENGTH}}",
        f"   {1.0:.16f}     ",
        *(" " + "".join(f"{_fixed(x):>12}" for x in vector) for vector in crystal.lattice),
        "".join(f"   {symbol:<2}" for symbol, _ in species),
        "".join(f"{n:6d}" for _, n in species),
        "Direct",
        *("".join(f"{_fixed(x):>10}" for x in ion) for ion in crystal.positions),
        " ",
    )


def header_comment(comment: str) -> str:
    """The part of a comment that VASP keeps: plain ASCII, 40 characters, no outer blanks.

    Parameters
    ----------
    comment
        Any text.

    Returns
    -------
    str
        First line of the CHGCAR, without the blanks that fill it up.

    Examples
    --------
    >>> header_comment("silicon   from a network")
    'silicon from a network'
    """
    plain = " ".join(comment.split()).encode("ascii", "replace").decode()
    return plain[:COMMENT_LENGTH].rstrip()


def echoed_comment(comment: str) -> str:
    """The part of a comment that VASP prints when it has read the file: its first word.

    Standard outputs of six real runs show one word: ``unknown`` for the comment ``unknown system``.
    A comment that has to be recognized must therefore be one word.

    Parameters
    ----------
    comment
        First line of a CHGCAR.

    Returns
    -------
    str
        What ``charge-density read from file:`` shows.

    Examples
    --------
    >>> echoed_comment("unknown system")
    'unknown'
    """
    return header_comment(comment).partition(" ")[0]


def _fixed(value: float) -> str:
    text = f"{value:.6f}"
    return text.lstrip("-") if float(text) == 0.0 else text


def _counts(lines: Sequence[str]) -> list[int]:
    if len(lines) < 7:
        raise ValueError("the header ends before the element counts")
    if lines[5].split() and all(word.isdigit() for word in lines[5].split()):
        raise ValueError(
            "line 6 holds counts instead of element symbols (VASP 4): insert a line of symbols"
        )
    words = lines[6].split()
    if not words or not all(word.isdigit() for word in words):
        raise ValueError(f"line 7 is {lines[6].strip()!r}, expected the number of ions per element")
    return [int(word) for word in words]


def _element(name: str) -> str:
    match = re.match(r"[A-Z][a-z]?(?![a-z])", name)
    if match is None:
        raise ValueError(f"line 6: {name!r} does not begin with an element symbol")
    return match.group()


def _numbers(lines: Sequence[str], index: int, count: int) -> list[float]:
    if index >= len(lines):
        raise ValueError(f"the header ends before line {index + 1}")
    words = lines[index].split()[:count]
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = []
    if len(values) != count or not np.all(np.isfinite(values)):
        raise ValueError(f"line {index + 1} is {lines[index].strip()!r}, expected {count} numbers")
    return values
