r"""INCAR as VASP reads it, and the FFT grids that follow from its tags.

Everything after ``#`` or ``!`` is a comment, a backslash at the end joins a line with the next, a
semicolon separates tags, and of a tag that is given twice the first one counts. The first word of a
scalar is its value; what follows is a remark. Numbers may have Fortran's exponents (``1D-6``) and
repeat counts (``2*5.0``).

VASP ignores text that is no ``tag = value``. Headings are read over here, too; a line that seems to
lack its equals sign (``ENCUT 500``), numbers that no tag claims, and a text without any tag are
refused.

VASP has a coarse grid of the orbitals and a fine one of the density. With
:math:`x_i = |a_i| \sqrt{E_{cut}} / 2 \pi` in Rydberg atomic units, NGX is the next even integer
without prime factors above 7 from int(w x + 1/2) on, w = 4 (PREC = Accurate, Single) or 3 (Normal,
SingleN). The fine grid has twice as many points (Accurate, Normal) or as many (Single, SingleN).

References
----------
VASP wiki, https://www.vasp.at/wiki/index.php/INCAR, https://www.vasp.at/wiki/index.php/NGX,
https://www.vasp.at/wiki/index.php/NGXF and https://www.vasp.at/wiki/index.php/PREC.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod, sqrt, tau
from typing import TYPE_CHECKING, Any

import numpy as np

from mlcharge_flows.errors import MlchargeError, note, one_line
from mlcharge_flows.io import UnreadableFileError
from mlcharge_flows.vasp.fortran import FortranNumberError
from mlcharge_flows.vasp.incar_values import missing_in_free_text, tag_value
from mlcharge_flows.vasp.input_text import BYTE_ORDER_MARK, CONTROL, read_text, split_lines
from mlcharge_flows.vasp.plane_waves import BOHR, RYDBERG

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

_STATEMENT = re.compile(r'([^=;\n"]*)=[ \t]*(?:"([^"]*)"|([^;\n]*))|[^=;\n]+')
_BLANKS = f"{BYTE_ORDER_MARK} \t"

# Width of the coarse grid in units of the cutoff sphere's radius, and fine points per coarse one.
_PRECISIONS = {"accurate": (4, 2), "normal": (3, 2), "single": (4, 1), "singlen": (3, 1)}


MAX_GRID_POINTS = 2**29
"""Most points of an FFT grid, 812 along each vector: a density on them fills 4.3 GB."""

MAX_ENCUT = 1e6
"""Largest ENCUT, eV: hundreds of times that of the hardest PAW data sets."""


class IncarError(MlchargeError, ValueError):
    """An INCAR with a value that its tag cannot have; the message names the file, tag and text."""


def read_incar(path: str | Path, *, plain: bool = False, tell: bool = False) -> dict[str, Any]:
    """Read an INCAR file.

    Parameters
    ----------
    path
        The file, plain or compressed, in UTF-8 or Latin-1.
    plain
        Whether files that VASP does not read as text are refused, such as compressed ones.
    tell
        As for :func:`parse_incar`.

    Returns
    -------
    dict
        Value of each tag, in the order of the file; tags in capitals.

    Raises
    ------
    IncarError
        As :func:`parse_incar`, and if an archive is damaged.
    NotPlainTextError
        With `plain`, if VASP does not read the file as text.
    OSError
        The file cannot be read.
    """
    try:
        text = read_text(path, plain=plain)
    except UnreadableFileError as error:
        raise IncarError(f"{path}: {error}") from None
    return parse_incar(text, str(path), tell=tell)


def parse_incar(text: str, name: str = "INCAR", *, tell: bool = False) -> dict[str, Any]:
    r"""Read the text of an INCAR.

    Parameters
    ----------
    text
        Content of the file.
    name
        What error messages call it.
    tell
        Whether tags with two different values are told on standard error: those of a user, not of
        finished runs.

    Returns
    -------
    dict
        Value of each tag: bool, int, float, a list of these, or a string that is capitalized
        (``Accurate``) except in SYSTEM, ML_MODE and WANNIER90_WIN. A tag of unknown type is a
        number or logical if it wholly reads as one, else a string.

    Raises
    ------
    IncarError
        A value is not of the type of its tag, something other than one word is before ``=``, a
        line seems to lack ``=``, or the text is binary or has no tag at all.

    Examples
    --------
    >>> parse_incar("EDIFF = 1D-6 ! eV\nISMEAR = 0; LWAVE = .F.\nMAGMOM = 2*5 \\\n 0.6\nISMEAR = 1")
    {'EDIFF': 1e-06, 'ISMEAR': 0, 'LWAVE': False, 'MAGMOM': [5, 5, 0.6]}
    >>> parse_incar("SIGMA = 0.2eV")
    Traceback (most recent call last):
    mlcharge_flows.vasp.incar.IncarError: INCAR: SIGMA = 0.2eV is not a number
    >>> parse_incar("ENCUT: 500")
    Traceback (most recent call last):
    mlcharge_flows.vasp.incar.IncarError: INCAR: 'ENCUT: 500' lacks '=' behind ENCUT
    """
    if CONTROL.search(text):
        raise IncarError(f"{name}: is no text, or in an encoding other than UTF-8 and Latin-1")
    tags: dict[str, Any] = {}
    texts: dict[str, str] = {}
    statements = list(_statements(text))
    free_text = [left.strip(_BLANKS) for left, given in statements if given is None]
    for left, given in statements:
        if given is None:
            continue
        if left.lstrip().startswith(BYTE_ORDER_MARK):
            raise IncarError(
                f"{name}: VASP takes the byte-order mark for a part of the first tag: remove it"
            )
        tag = left.strip().upper()
        if not re.fullmatch(r"\w+", left.strip(), re.ASCII):
            raise IncarError(f"{name}: {one_line(left, 60)!r} before '=' is not a tag")
        given = given.strip()
        if tag in tags:
            if tell and given.split() != texts[tag].split():
                note(
                    f"{name}: {tag} is given twice; VASP takes the first value, "
                    f"{one_line(texts[tag], 60)}, and not {one_line(given, 60)}"
                )
            continue
        try:
            value = tag_value(tag, given)
        except FortranNumberError as error:
            shown = f"= {one_line(given, 60)} {error}" if given.strip() else "has no value"
            raise IncarError(f"{name}: {tag} {shown}") from None
        if value is not None:
            tags[tag], texts[tag] = value, given
    for line in free_text:
        if reason := missing_in_free_text(line, tags):
            raise IncarError(f"{name}: {one_line(line, 60)!r} {reason}")
    if free_text and len(free_text) == len(statements):
        raise IncarError(
            f"{name}: no 'tag = value' in it, it begins with {one_line(''.join(free_text), 60)!r}"
        )
    return tags


def _statements(text: str) -> Iterator[tuple[str, str | None]]:
    """Text before and after each equals sign; text without one is free, None is behind it."""
    lines = [re.split("[#!]", line, maxsplit=1)[0].rstrip() for line in split_lines(text)]
    joined = re.sub(r"\\\s*\n", " ", "\n".join(lines) + "\n")
    for match in _STATEMENT.finditer(joined):
        if match[1] is not None:
            yield match[1], match[2] if match[2] is not None else match[3]
        elif match[0].strip(_BLANKS):
            yield match[0], None


class FineGridError(MlchargeError, ValueError):
    """Tags of an INCAR from which no grid follows; the message names the tag."""


class GridSizeError(FineGridError):
    """ENCUT or NGX, .., NGZF of an INCAR ask for more points than :data:`MAX_GRID_POINTS`."""


@dataclass(frozen=True)
class FFTGrids:
    """Points along each lattice vector.

    Parameters
    ----------
    coarse
        NGX, NGY, NGZ.
    fine
        NGXF, NGYF, NGZF: the grid of the CHGCAR.
    """

    coarse: tuple[int, int, int]
    fine: tuple[int, int, int]


def fft_grids(lattice: np.ndarray, incar: Mapping[str, Any]) -> FFTGrids:
    """FFT grids of VASP for a lattice and an INCAR.

    Parameters
    ----------
    lattice
        Lattice vectors as rows, shape (3, 3), angstrom.
    incar
        ENCUT (eV), PREC (default Normal), and NGX, .., NGZF where they are set: these win.

    Returns
    -------
    FFTGrids
        Coarse and fine grid.

    Raises
    ------
    FineGridError
        ENCUT is needed and missing, or PREC is unknown, or it is Low, Medium or High, whose fine
        grids depend on the data sets (ENAUG).
    GridSizeError
        A grid has more than :data:`MAX_GRID_POINTS` points, or ENCUT exceeds :data:`MAX_ENCUT`.

    Examples
    --------
    >>> silicon = 5.43 / 2 * (1 - np.eye(3))
    >>> fft_grids(silicon, {"ENCUT": 520, "PREC": "Accurate"})
    FFTGrids(coarse=(30, 30, 30), fine=(60, 60, 60))
    """
    coarse = [_explicit(incar, tag) for tag in ("NGX", "NGY", "NGZ")]
    fine = [_explicit(incar, tag) for tag in ("NGXF", "NGYF", "NGZF")]
    if None in (*coarse, *fine):
        width, ratio = _precision(str(incar.get("PREC", "Normal")))
        lengths = np.linalg.norm(np.asarray(lattice, dtype=float), axis=1).tolist()
        known = zip(coarse, lengths, strict=True)
        coarse = [n or _coarse_points(length, _encut(incar), width) for n, length in known]
        fine = [n or ratio * (m or 0) for n, m in zip(fine, coarse, strict=True)]
    grids = FFTGrids(_triple(coarse), _triple(fine))
    if max(prod(grids.coarse), prod(grids.fine)) > MAX_GRID_POINTS:
        own, other = (" x ".join(map(str, grid)) for grid in (grids.coarse, grids.fine))
        raise GridSizeError(
            f"grids of {own} and {other} points are too large, lower ENCUT or NGX, .., NGZF"
        )
    return grids


def cutoff(incar: Mapping[str, Any], recommended: Iterable[float | None] = ()) -> float | None:
    """Plane-wave cutoff of a run.

    Parameters
    ----------
    incar
        Tags of its INCAR.
    recommended
        ENMAX of its data sets, eV; None where one is not known.

    Returns
    -------
    float or None
        ENCUT, or ENMAX, its old name, in eV; else the largest ENMAX of the data sets; None if
        nothing is known.

    References
    ----------
    https://www.vasp.at/wiki/index.php/ENCUT

    Examples
    --------
    >>> cutoff({"ENCUT": 520}, [400.0]), cutoff({}, [400.0, 270.0, None]), cutoff({})
    (520.0, 400.0, None)
    """
    given = incar.get("ENCUT", incar.get("ENMAX"))
    if given is not None:
        return float(given)
    return max((enmax for enmax in recommended if enmax is not None), default=None)


def smooth_even(at_least: int) -> int:
    """Next even integer without prime factors above 7.

    Parameters
    ----------
    at_least
        Lower bound.

    Returns
    -------
    int
        The smallest one that is not less.

    Examples
    --------
    >>> [smooth_even(n) for n in (1, 29, 30, 61, 76)]
    [2, 30, 30, 64, 80]
    """
    candidate = max(2, at_least + at_least % 2)
    while not _is_smooth(candidate):
        candidate += 2
    return candidate


def _is_smooth(number: int) -> bool:
    for prime in (2, 3, 5, 7):
        while number % prime == 0:
            number //= prime
    return number == 1


def _coarse_points(length: float, encut: float, width: int) -> int:
    radius = length * sqrt(encut / RYDBERG) / BOHR / tau
    points = int(width * radius + 0.5)
    if points > MAX_GRID_POINTS:
        raise GridSizeError(f"a lattice vector of {length:g} angstrom needs {points} points")
    return smooth_even(points)


def _precision(prec: str) -> tuple[int, int]:
    name = prec.strip().lower()
    # VASP looks at the first letter only, but for SingleN.
    for known, rule in _PRECISIONS.items():
        if name == known or (name != "singlen" and name[:1] == known[0]):
            return rule
    if name[:1] in {"l", "m", "h"}:
        raise FineGridError(
            f"PREC = {prec} takes its fine grid from the data sets: set NGXF, NGYF, NGZF explicitly"
        )
    raise FineGridError(f"PREC = {prec} is unknown: use Accurate, Normal, Single or SingleN")


def _encut(incar: Mapping[str, Any]) -> float:
    given = incar.get("ENCUT", incar.get("ENMAX"))  # its old name
    if given is None:
        raise FineGridError("ENCUT is missing: the FFT grids depend on it")
    try:
        encut = float(given)
    except (TypeError, ValueError):
        raise FineGridError(f"ENCUT = {given!r} is not a number") from None
    if not encut > 0.0:
        raise FineGridError(f"ENCUT = {encut:g} is not positive")
    if encut > MAX_ENCUT:
        raise GridSizeError(f"ENCUT = {encut:g} is larger than {MAX_ENCUT:g} eV")
    return encut


def _explicit(incar: Mapping[str, Any], tag: str) -> int | None:
    if incar.get(tag) is None:
        return None
    try:
        points = int(incar[tag])
    except (TypeError, ValueError, OverflowError):
        points = 0
    if points < 1:
        raise FineGridError(f"{tag} = {incar[tag]!r} is not a positive integer")
    if points > MAX_GRID_POINTS:
        raise GridSizeError(f"{tag} is larger than {MAX_GRID_POINTS}, the limit of a whole grid")
    return points


def _triple(points: list[int | None]) -> tuple[int, int, int]:
    nx, ny, nz = (int(n or 0) for n in points)
    return nx, ny, nz


def default_nbands(n_electrons: float, n_ions: int, total_moment: float = 0.0) -> int:
    """Number of bands where NBANDS is not set.

    Parameters
    ----------
    n_electrons
        NELECT.
    n_ions
        NIONS.
    total_moment
        Sum of MAGMOM, in Bohr magnetons; zero without spin.

    Returns
    -------
    int
        On one core; VASP rounds it up to a multiple of the cores that share bands.

    References
    ----------
    https://www.vasp.at/wiki/index.php/NBANDS

    Examples
    --------
    >>> default_nbands(8, 2), default_nbands(56, 4)
    (8, 33)
    """
    bands = max(int((n_electrons + 2) / 2 + max(n_ions // 2, 3)), int(0.6 * n_electrons))
    return bands + (int(abs(total_moment)) + 1) // 2
