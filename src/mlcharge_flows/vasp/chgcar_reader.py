"""Reading a CHGCAR as strictly as VASP does."""

from __future__ import annotations

import gzip
import io
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from mlcharge_flows.density.density import Density, Magnetization
from mlcharge_flows.vasp.chgcar_errors import (
    ChgcarError,
    IncompleteGridError,
    MagnetizationError,
    OccupancyError,
)
from mlcharge_flows.vasp.chgcar_header import header_length, parse_header
from mlcharge_flows.vasp.fortran import parse_floats
from mlcharge_flows.vasp.grid_reading import read_grid

if TYPE_CHECKING:
    import os

GZIP = b"\x1f\x8b"
"""First bytes of every gzip archive."""

_TITLE = b"augmentation occupancies"


@dataclass(frozen=True, eq=False)
class ChgcarDensity(Density):
    """A density with the habits of the file it came from, so that rewriting does not change it.

    Parameters
    ----------
    header
        Lines before the grid dimensions. The writer uses them as long as they still describe the
        crystal and the comment.
    padded
        Whether the last incomplete line of the grid ends with blanks, as VASP leaves it.
    """

    header: tuple[str, ...] = ()
    padded: bool = True


def read_chgcar(path: str | os.PathLike[str]) -> ChgcarDensity:
    """Read a CHGCAR, total or collinear, plain or gzipped.

    Understood: headers of VASP 5 to 6.5, ``0.44E+00``, ``-.36E+01``, ``4.4E-01`` and ``0.5-100``,
    Unix and Windows line ends. A file without any occupancies (CHG, or a prediction of another
    program) is accepted and has ``augmentation=None``.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    ChgcarDensity
        Density in e/angstrom^3. The grid is a view in Fortran memory order.

    Raises
    ------
    ChgcarError
        If the file is truncated or malformed, holds NaN, infinities or overflow stars, has a short
        record, or is non-collinear. Subclasses tell a broken grid
        (:class:`IncompleteGridError`), record (:class:`OccupancyError`) and second block
        (:class:`MagnetizationError`) apart.
    OSError
        If the file cannot be opened.
    """
    path = Path(path)
    try:
        with _opened(path) as file:
            return _parse(file)
    except ChgcarError as error:
        error.args = (f"{path}: {error}",)
        raise


def _opened(path: Path) -> BinaryIO:
    file = path.open("rb")
    if file.peek(2)[:2] != GZIP:
        return file
    with file:
        try:
            return io.BytesIO(gzip.decompress(file.read()))
        except (EOFError, zlib.error, gzip.BadGzipFile):
            raise IncompleteGridError("the gzip archive is damaged or truncated") from None


def _parse(file: BinaryIO) -> ChgcarDensity:
    header = _parse_header_lines(file)
    crystal = parse_header(header)
    total, padded = _parse_grid(file, _dimensions(file.readline()), crystal.volume)
    comment = header[0].rstrip()
    density = ChgcarDensity(crystal, total, comment=comment, header=header, padded=padded)
    # Numbers instead of a title: a file without occupancies that goes on to the magnetization.
    if not _at_end(file) and not _is_number_line(_peek(file)):
        density = replace(density, augmentation=_parse_records(file, density))
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
            raise ValueError("the file ends inside its header")
        return line.decode("ascii", "replace").rstrip("\r\n")

    try:
        lines = [text() for _ in range(7)]
        lines += [text() for _ in range(header_length(lines) - len(lines))]
        parse_header(lines)
    except ValueError as error:
        raise IncompleteGridError(str(error)) from None
    if lines[-1].strip():
        raise IncompleteGridError(f"line {len(lines)} should be blank: {lines[-1].strip()[:40]!r}")
    return tuple(lines)


def _dimensions(line: bytes) -> tuple[int, int, int]:
    words = line.split()
    if len(words) != 3 or not all(word.isdigit() and int(word) > 0 for word in words):
        raise IncompleteGridError(f"expected three grid dimensions, found {_quoted(line)}")
    nx, ny, nz = (int(word) for word in words)
    return nx, ny, nz


def _quoted(line: bytes) -> str:
    if not line:
        return "the end of the file"
    return repr(line.strip()[:40].decode("ascii", "replace")) if line.strip() else "a blank line"


def _parse_grid(
    file: BinaryIO, shape: tuple[int, int, int], volume: float
) -> tuple[np.ndarray, bool]:
    """Read one grid, and whether its last line is padded if it is incomplete."""
    count = shape[0] * shape[1] * shape[2]
    try:
        values, padded = read_grid(file, count)
    except EOFError:
        raise IncompleteGridError(f"the file ends before the last of {count} grid values") from None
    except MemoryError:
        raise IncompleteGridError(f"grid {shape} does not fit into memory") from None
    except ValueError as error:
        raise IncompleteGridError(f"grid values: {error}") from None
    values /= volume
    return values.reshape(shape, order="F"), padded or count % 5 == 0


def _parse_records(file: BinaryIO, density: Density) -> tuple[np.ndarray, ...]:
    records = []
    for ion in range(1, len(density.crystal) + 1):
        try:
            records.append(_parse_record(file, ion))
        except ValueError as error:
            raise OccupancyError(f"occupancies of ion {ion}: {error}", ion, density) from None
    return tuple(records)


def _parse_record(file: BinaryIO, ion: int) -> np.ndarray:
    line = file.readline()
    title = line.rstrip()
    if not title.startswith(_TITLE):
        raise ValueError(f"found {_quoted(line)} instead")
    if b"imaginary" in title:
        raise ValueError("an imaginary part: non-collinear densities are not supported")
    # The two integers have four columns each and touch each other from ion 1000 on.
    number, length = title[len(_TITLE) : -4].strip(), title[-4:].strip()
    if not length.isdigit() or (number != str(ion).encode() and not number.startswith(b"*")):
        raise ValueError(f"bad title {_quoted(line)}")
    return _parse_rows(file, int(length))


def _parse_rows(file: BinaryIO, count: int) -> np.ndarray:
    """Read `count` numbers from lines that all hold as many as the first."""
    per_line = len(_peek(file).split()) or 1
    lines = [file.readline() for _ in range(-(-count // per_line))]
    text = b"".join(lines)
    if not text.endswith(b"\n"):
        raise ValueError("the file ends too early")
    if _TITLE in text:
        raise ValueError(f"fewer than the announced {count} values")
    values = parse_floats(text)
    if len(values) != count:
        raise ValueError(f"{count} values announced, {len(values)} found")
    return values


def _is_number_line(line: bytes) -> bool:
    try:
        return len(parse_floats(line)) > 0
    except ValueError:
        return False


def _parse_magnetization(file: BinaryIO, density: Density) -> Magnetization:
    n_ions = len(density.crystal)
    moments = np.zeros(n_ions)  # CHG files have none, and VASP does not use them.
    try:
        if b"." in _peek(file):
            moments = _parse_rows(file, n_ions)
        elif density.augmentation is not None:
            raise ValueError("the line of moments is missing")
        shape = _dimensions(file.readline())
        if shape != density.shape:
            raise ValueError(f"it is on grid {shape}, the density on {density.shape}")
        grid, _ = _parse_grid(file, shape, density.crystal.volume)
        records = None if density.augmentation is None else _parse_records(file, density)
    except ValueError as error:
        cut = _at_end(file)
        raise MagnetizationError(f"magnetization: {error}", density, cut) from None
    if not _at_end(file):
        raise MagnetizationError("a third block: non-collinear is not supported", density)
    return Magnetization(grid, records, moments)
