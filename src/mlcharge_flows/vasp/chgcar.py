"""CHGCAR: charge density, augmentation occupancies and, of spin-polarized runs, magnetization.

The file holds rho * V_cell with x running fastest, below the ions as a POSCAR lists them. A density
is in electrons per cubic angstrom and indexed (x, y, z). Reading is strict, because VASP is: one
missing number in the augmentation occupancies makes it drop the whole density.

References
----------
VASP wiki, CHGCAR, https://www.vasp.at/wiki/index.php/CHGCAR.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.density import Density, Magnetization
from mlcharge_flows.errors import MlchargeError, one_line
from mlcharge_flows.io import UnreadableFileError, compression, read_bytes
from mlcharge_flows.vasp.fortran import parse_floats, parse_real, read_block

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

_MAX_UNPACKED = 2**33
"""Most bytes of a compressed file, unpacked; a plain one is read in pieces, whatever its size."""

_LONGEST_COUNT = 10
"""Digits from which on a number is no count."""

TITLE = b"augmentation occupancies"
"""Beginning of the line above the occupancies of an ion."""


class ChgcarError(MlchargeError, ValueError):
    """A CHGCAR that cannot be read; one line that names the file and the defect."""


class IncompleteGridError(ChgcarError):
    """The file ends, or stops making sense, before the last grid value."""


class NoGridError(IncompleteGridError):
    """The file ends before its grid begins: a POSCAR, say."""


class OccupancyError(ChgcarError):
    """The total density is whole, but the augmentation occupancies of an ion are not.

    Parameters
    ----------
    message
        What is wrong.
    ion
        Number of the first ion concerned, counted from 1.
    density
        What was read before it: the density without augmentation occupancies.
    """

    def __init__(self, message: str, ion: int, density: Density) -> None:
        super().__init__(message)
        self.ion = ion
        self.density = density


class MagnetizationError(ChgcarError):
    """Total density and augmentation occupancies are whole, but no magnetization follows.

    Parameters
    ----------
    message
        What is wrong.
    density
        What was read before it: the density without magnetization.
    cut
        Whether the file ends where it goes wrong.
    """

    def __init__(self, message: str, density: Density, cut: bool = False) -> None:
        super().__init__(message)
        self.density = density
        self.cut = cut


class NonCollinearError(MagnetizationError):
    """A non-collinear density: imaginary parts of occupancies, or more than two blocks."""


@dataclass(frozen=True, eq=False, repr=False)
class ChgcarDensity(Density):
    """A density with the layout of the file it came from, so that rewriting does not change it.

    Parameters
    ----------
    header
        Lines before the grid dimensions. The writer uses them as long as they still describe the
        crystal and the comment.
    padded
        Whether the last incomplete line of the grid ends with blanks, as VASP leaves it.
    windows
        Whether lines end with carriage return and line feed; written as long as the header is.
    """

    header: tuple[str, ...] = ()
    padded: bool = True
    windows: bool = False


def read_chgcar(path: str | os.PathLike[str]) -> ChgcarDensity:
    """Read a CHGCAR, without spin or collinear, plain or compressed (gzip, bzip2, xz).

    Headers of VASP 5 to 6.5, all styles of Fortran's numbers, Unix and Windows line ends are read,
    and a file whose last line has no end. A file without augmentation occupancies (CHG, or a
    prediction of another program) has ``augmentation=None``.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    ChgcarDensity
        Density in electrons/angstrom^3. The grid is a view in Fortran memory order.

    Raises
    ------
    ChgcarError
        The file is truncated or malformed, holds NaN, infinities or overflow stars, lacks
        augmentation occupancies, or is non-collinear; its subclasses tell which.
    OSError
        The file cannot be opened.
    """
    path = Path(path)
    try:
        with _opened(path) as file:
            return _parse(file)
    except ChgcarError as error:
        error.args = (f"{path}: {error}",)
        raise


def _opened(path: Path) -> BinaryIO:
    if compression(path) is None:
        return path.open("rb")
    try:
        return BytesIO(read_bytes(path, _MAX_UNPACKED))
    except UnreadableFileError as error:
        raise IncompleteGridError(str(error)) from None


def _parse(file: BinaryIO) -> ChgcarDensity:
    windows = _peek(file).endswith(b"\r\n")
    header = _parse_header_lines(file)
    crystal = parse_header(header)
    total, padded = _parse_grid(file, _dimensions(file.readline()), crystal.volume)
    comment = header[0].rstrip()
    density = ChgcarDensity(
        crystal, total, comment=comment, header=header, padded=padded, windows=windows
    )
    # Numbers instead of a title: a file without occupancies that goes on to the magnetization.
    if not _at_end(file) and not _is_number_line(_peek(file)):
        density = replace(density, augmentation=_parse_augmentation(file, density))
    if _is_imaginary(_peek(file)):
        raise NonCollinearError(
            "imaginary augmentation occupancies: the density is non-collinear", density
        )
    if not _at_end(file):
        density = replace(density, magnetization=_parse_magnetization(file, density))
    return density


def _peek(file: BinaryIO) -> bytes:
    """Give the next line without moving."""
    position = file.tell()
    line = file.readline()
    file.seek(position)
    return line


def _at_end(file: BinaryIO) -> bool:
    """Tell whether nothing but blanks follows."""
    position = file.tell()
    rest = file.read(4096)
    file.seek(position)
    return not rest.strip()


def _parse_header_lines(file: BinaryIO) -> tuple[str, ...]:
    def text() -> str:
        line = file.readline(4096)
        if not line.endswith(b"\n"):
            raise NoGridError("the file ends inside its header")
        return line.decode("ascii", "replace").rstrip("\r\n")

    try:
        lines = [text() for _ in range(7)]
        lines += [text() for _ in range(9 + sum(_counts(lines)) - len(lines))]
        parse_header(lines)
    except ValueError as error:
        raise error if isinstance(error, NoGridError) else IncompleteGridError(str(error)) from None
    if lines[-1].strip():
        raise IncompleteGridError(f"line {len(lines)} should be blank: {lines[-1].strip()[:40]!r}")
    return tuple(lines)


def _dimensions(line: bytes) -> tuple[int, int, int]:
    words = line.split()
    if len(words) != 3 or not all(_is_count(word) and int(word) > 0 for word in words):
        reason = f"expected three grid dimensions, found {_quoted(line)}"
        raise IncompleteGridError(reason) if line else NoGridError(reason)
    nx, ny, nz = (int(word) for word in words)
    return nx, ny, nz


def _is_count(word: str | bytes) -> bool:
    """Whether a word is a number of ions or points that Fortran's integers hold."""
    return word.isdigit() and len(word) < _LONGEST_COUNT


def _quoted(line: bytes) -> str:
    if not line:
        return "the end of the file"
    text = one_line(line[:40].decode("ascii", "replace")) if line.strip() else ""
    return repr(text) if text else "a blank line"


def _parse_grid(
    file: BinaryIO, shape: tuple[int, int, int], volume: float
) -> tuple[np.ndarray, bool]:
    """Read one grid, and whether its last line is padded if it is incomplete."""
    count = shape[0] * shape[1] * shape[2]
    try:
        values, padded = read_block(file, count)
    except EOFError:
        raise IncompleteGridError(f"the file ends before the last of {count} grid values") from None
    except MemoryError:
        raise IncompleteGridError(f"grid {shape} does not fit into memory") from None
    except ValueError as error:
        raise IncompleteGridError(f"grid values: {error}") from None
    values /= volume
    return values.reshape(shape, order="F"), padded or count % 5 == 0


def _parse_augmentation(file: BinaryIO, density: Density) -> tuple[np.ndarray, ...]:
    """Augmentation occupancies of all ions."""
    occupancies: list[np.ndarray] = []
    for ion in range(1, len(density.crystal) + 1):
        if occupancies and _is_imaginary(_peek(file)):
            raise NonCollinearError(
                f"imaginary occupancies before ion {ion}: the density is non-collinear", density
            )
        try:
            occupancies.append(_parse_ion(file, ion))
        except ValueError as error:
            raise OccupancyError(f"occupancies of ion {ion}: {error}", ion, density) from None
    return tuple(occupancies)


def _is_imaginary(line: bytes) -> bool:
    return line.startswith(TITLE) and b"imaginary" in line


def _parse_ion(file: BinaryIO, ion: int) -> np.ndarray:
    """Title and augmentation occupancies of one ion."""
    line = file.readline()
    title = line.rstrip()
    if not title.startswith(TITLE):
        raise ValueError(f"found {_quoted(line)} instead")
    if _is_imaginary(title):
        raise ValueError("an imaginary part: non-collinear densities are not supported")
    # The two integers have four columns each and touch each other from ion 1000 on.
    number, length = title[len(TITLE) : -4].strip(), title[-4:].strip()
    if not length.isdigit() or (number != str(ion).encode() and not number.startswith(b"*")):
        raise ValueError(f"bad title {_quoted(line)}")
    return _parse_rows(file, int(length))


def _parse_rows(file: BinaryIO, count: int) -> np.ndarray:
    """Read the numbers of one ion, or the moments."""
    try:
        return read_block(file, count)[0] if count else np.empty(0)
    except EOFError:
        raise ValueError(f"the file ends too early for {count} values") from None


def _is_number_line(line: bytes) -> bool:
    try:
        return len(parse_floats(line)) > 0
    except ValueError:
        return False


def _parse_magnetization(file: BinaryIO, density: Density) -> Magnetization:
    n_ions = len(density.crystal)
    moments = np.zeros(n_ions)  # CHG files have none, and VASP does not use them
    try:
        if b"." in _peek(file):
            moments = _parse_rows(file, n_ions)
        elif density.augmentation is not None:
            raise ValueError("the line of moments is missing")
        shape = _dimensions(file.readline())
        if shape != density.shape:
            raise ValueError(f"it is on grid {shape}, the density on {density.shape}")
        grid, _ = _parse_grid(file, shape, density.crystal.volume)
        augmentation = None
        if density.augmentation is not None:
            augmentation = _parse_augmentation(file, density)
    except NonCollinearError:
        raise
    except ValueError as error:
        cut = _at_end(file)
        raise MagnetizationError(f"magnetization: {error}", density, cut) from None
    if not _at_end(file):
        raise NonCollinearError("a third block: the density is non-collinear", density)
    return Magnetization(grid, augmentation, moments)


def parse_header(lines: Sequence[str]) -> Crystal:
    """Read the ions of a header.

    Parameters
    ----------
    lines
        From the comment to the last coordinates or beyond, without line ends.

    Returns
    -------
    Crystal
        Lattice and ions; ``Mg_pv/f474ac0d`` is read as Mg.

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
    factors = _numbers(lines, 1, 3 if len(lines[1].split()) == 3 else 1)
    lattice = np.array([_numbers(lines, i, 3) for i in (2, 3, 4)])
    volume = abs(np.linalg.det(lattice))
    if 0.0 in factors or volume == 0.0:
        raise ValueError("the lattice has no volume")
    if len(factors) == 1 and factors[0] < 0.0:  # the volume of the cell, as in a POSCAR
        factors = [(-factors[0] / volume) ** (1 / 3)]
    if min(factors) < 0.0:
        raise ValueError("line 2: three scaling factors must be positive")
    lattice *= factors
    if not lines[7].strip().lower().startswith("d"):
        raise ValueError(f"line 8 is {lines[7].strip()!r}, expected 'Direct'")
    n_ions = sum(counts)
    positions = np.array([_numbers(lines, 8 + i, 3) for i in range(n_ions)]).reshape(-1, 3)
    ions = [symbol for symbol, n in zip(symbols, counts, strict=True) for _ in range(n)]
    return Crystal(lattice, tuple(ions), positions)


def _counts(lines: Sequence[str]) -> list[int]:
    if len(lines) < 7:
        raise ValueError("the header ends before the element counts")
    if lines[5].split() and all(word.isdigit() for word in lines[5].split()):
        raise ValueError(
            "line 6 holds counts instead of element symbols (VASP 4): insert a line of symbols"
        )
    words = lines[6].split()
    if not words or not all(map(_is_count, words)):
        raise ValueError(
            f"line 7 is {lines[6].strip()[:40]!r}, expected the number of ions per element"
        )
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
        values = [parse_real(word) for word in words]
    except ValueError:
        values = []
    if len(values) != count or not np.all(np.isfinite(values)):
        raise ValueError(f"line {index + 1} is {lines[index].strip()!r}, expected {count} numbers")
    return values
