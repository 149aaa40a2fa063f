"""VASP's CHGCAR: charge density, PAW occupancies and, for spin-polarised runs, magnetisation.

The file holds rho * V_cell with x running fastest; both exist only in this module. A density read
here is in electrons per cubic angstrom and indexed (x, y, z). Reading is strict, because VASP is: a
record that is one number short makes it drop the whole density.
"""

from __future__ import annotations

import gzip
import os
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from mlcharge_flows.density.density import Density, Magnetisation
from mlcharge_flows.vasp.chgcar_header import format_header, header_length, parse_header
from mlcharge_flows.vasp.fortran_floats import format_e, grid_text, parse_floats, parse_grid

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_TITLE = b"augmentation occupancies"
_GZIP_MAGIC = b"\x1f\x8b"


class ChgcarError(ValueError):
    """A CHGCAR that cannot be read; one line that names the file and the defect."""


class IncompleteGridError(ChgcarError):
    """The file ends, or stops making sense, before the last grid value."""


class OccupancyError(ChgcarError):
    """The total density is whole but an occupancy record is missing or malformed.

    Parameters
    ----------
    message
        What is wrong.
    ion
        Number of the first ion concerned, counted from 1.
    density
        What was read before it: the density without occupancies.
    """

    def __init__(self, message: str, ion: int, density: Density) -> None:
        super().__init__(message)
        self.ion = ion
        self.density = density


class MagnetisationError(ChgcarError):
    """Total density and occupancies are whole but what follows is not a magnetisation.

    Parameters
    ----------
    message
        What is wrong.
    density
        What was read before it: the spinless density.
    """

    def __init__(self, message: str, density: Density) -> None:
        super().__init__(message)
        self.density = density


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
    program) is accepted and has ``occupancies=None``.

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
        (:class:`MagnetisationError`) apart.
    OSError
        If the file cannot be opened.
    """
    path = Path(path)
    buffer = _contents(path)
    try:
        return _parse(buffer)
    except ChgcarError as error:
        error.args = (f"{path}: {error}",)
        raise


def write_chgcar(path: str | os.PathLike[str], density: Density) -> None:
    """Write a CHGCAR as VASP writes it, byte for byte.

    The file appears under its name only when it is whole: it is written beside it and renamed.

    Parameters
    ----------
    path
        The file; gzipped if the name ends in ``.gz``.
    density
        What to write. The integral is written as it is: nothing is rescaled. VASP keeps 40
        characters of the comment.

    Raises
    ------
    ValueError
        If the density or an occupancy is not finite.
    OSError
        If the folder cannot be written to or is full; no partial file remains.
    """
    path = Path(path)
    arrays = [density.total, *(density.occupancies or ())]
    if (magnetisation := density.magnetisation) is not None:
        arrays += [magnetisation.grid, magnetisation.moments, *(magnetisation.occupancies or ())]
    if not all(np.all(np.isfinite(array)) for array in arrays):
        raise ChgcarError(f"{path}: not written, the density holds NaN or infinite values")
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            _write_pieces(file, density, compressed=path.name.endswith(".gz"))
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise


# --- writing ------------------------------------------------------------------------------------


def _write_pieces(file: BinaryIO, density: Density, compressed: bool) -> None:
    if not compressed:
        file.writelines(_pieces(density))
        return
    # No name and no time inside: equal densities make equal files.
    with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0) as packed:
        for piece in _pieces(density):
            packed.write(piece)


def _pieces(density: Density) -> Iterator[bytes]:
    yield "".join(f"{line}\n" for line in _header_lines(density)).encode()
    padded = getattr(density, "padded", True)
    volume = density.crystal.volume
    yield from _block(density.total, volume, density.occupancies, padded)
    if (magnetisation := density.magnetisation) is not None:
        moments = [format_e(float(m), 20, 12) for m in magnetisation.moments]
        yield _rows(moments)
        yield from _block(magnetisation.grid, volume, magnetisation.occupancies, padded)


def _header_lines(density: Density) -> Sequence[str]:
    kept = getattr(density, "header", ())
    if kept and kept[0].rstrip() == density.comment:
        crystal = parse_header(kept)
        same = crystal.symbols == density.crystal.symbols and all(
            np.array_equal(a, b)
            for a, b in (
                (crystal.lattice, density.crystal.lattice),
                (crystal.positions, density.crystal.positions),
            )
        )
        if same:
            return kept
    return format_header(density.crystal, density.comment)


def _block(
    grid: np.ndarray, volume: float, records: Sequence[np.ndarray] | None, padded: bool
) -> Iterator[bytes]:
    yield ("".join(f"{n:5d}" for n in grid.shape) + "\n").encode()
    for lines in grid_text(grid.ravel(order="F") * volume):
        yield lines if padded else lines.replace(b"  \n", b"\n")
    for ion, record in enumerate(records or (), start=1):
        yield _TITLE + f"{ion:4d}{len(record):4d}\n".encode()
        yield _rows([format_e(float(value), 15, 7) for value in record])


def _rows(texts: Sequence[str]) -> bytes:
    rows = ["".join(texts[i : i + 5]) for i in range(0, len(texts), 5)]
    return "".join(f"{row}\n" for row in rows).encode()


# --- reading ------------------------------------------------------------------------------------


def _contents(path: Path) -> bytes:
    buffer = path.read_bytes()
    if not buffer.startswith(_GZIP_MAGIC):
        return buffer
    try:
        return gzip.decompress(buffer)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise IncompleteGridError(f"{path}: the gzip archive is damaged or truncated") from None


class _Cursor:
    """A position in the file that moves line by line."""

    def __init__(self, buffer: bytes) -> None:
        self.buffer = buffer
        self.offset = 0

    def peek(self) -> bytes:
        """Give the next line with its end; empty at the end of the file."""
        end = self.buffer.find(b"\n", self.offset) + 1
        return self.buffer[self.offset : end or len(self.buffer)]

    def line(self) -> bytes:
        """Give the next line and move past it."""
        line = self.peek()
        self.offset += len(line)
        return line

    def text(self) -> str:
        """Give the next line without its end and move past it."""
        return self.line().decode("ascii", "replace").rstrip("\r\n")

    def only_blanks_left(self) -> bool:
        """Tell whether nothing but blanks follows."""
        # A whole file has at most a few trailing blanks; do not copy a grid to learn that.
        return not self.buffer[self.offset : self.offset + 4096].strip()


def _parse(buffer: bytes) -> ChgcarDensity:
    cursor = _Cursor(buffer)
    header, shape = _parse_top(cursor)
    crystal = parse_header(header)
    total, padded = _parse_grid(cursor, shape, crystal.volume)
    density = ChgcarDensity(
        crystal, total, comment=header[0].rstrip(), header=header, padded=padded
    )
    if cursor.only_blanks_left():
        return density
    records = None
    if not _is_number_line(cursor.peek()):
        records = _parse_records(cursor, density)
    magnetisation = None
    if not cursor.only_blanks_left():
        without = _with(density, records, None)
        magnetisation = _parse_magnetisation(cursor, without)
    return _with(density, records, magnetisation)


def _with(
    density: ChgcarDensity,
    records: tuple[np.ndarray, ...] | None,
    magnetisation: Magnetisation | None,
) -> ChgcarDensity:
    return ChgcarDensity(
        density.crystal,
        density.total,
        records,
        magnetisation,
        density.comment,
        density.header,
        density.padded,
    )


def _parse_top(cursor: _Cursor) -> tuple[tuple[str, ...], tuple[int, int, int]]:
    """Read the header and the grid dimensions."""
    lines = [cursor.text() for _ in range(7)]
    try:
        lines += [cursor.text() for _ in range(header_length(lines) - len(lines))]
        parse_header(lines)
    except ValueError as error:
        raise IncompleteGridError(str(error)) from None
    if lines[-1].strip():
        raise IncompleteGridError(f"line {len(lines)} should be blank: {lines[-1].strip()[:40]!r}")
    return tuple(lines), _dimensions(cursor.line())


def _dimensions(line: bytes) -> tuple[int, int, int]:
    words = line.split()
    if len(words) != 3 or not all(word.isdigit() and int(word) > 0 for word in words):
        found = line.strip()[:40].decode("ascii", "replace")
        raise IncompleteGridError(f"expected three grid dimensions, found {found!r}")
    nx, ny, nz = (int(word) for word in words)
    return nx, ny, nz


def _parse_grid(
    cursor: _Cursor, shape: tuple[int, int, int], volume: float
) -> tuple[np.ndarray, bool]:
    """Read one grid, and whether its last line ends with blanks."""
    count = shape[0] * shape[1] * shape[2]
    try:
        values, end = parse_grid(cursor.buffer, cursor.offset, count)
    except EOFError:
        raise IncompleteGridError(f"the file ends before the last of {count} grid values") from None
    except ValueError as error:
        raise IncompleteGridError(f"grid values: {error}") from None
    padded = not count % 5 or cursor.buffer[end - 4 : end].rstrip(b"\r\n").endswith(b" ")
    cursor.offset = end
    values /= volume
    return values.reshape(shape, order="F"), padded


def _parse_records(cursor: _Cursor, density: ChgcarDensity) -> tuple[np.ndarray, ...]:
    return tuple(_parse_record(cursor, ion, density) for ion in range(1, len(density.crystal) + 1))


def _parse_record(cursor: _Cursor, ion: int, density: ChgcarDensity) -> np.ndarray:
    title = cursor.line()
    if not title.startswith(_TITLE):
        found = title.strip()[:30].decode("ascii", "replace") or (
            "a blank line" if title else "the end of the file"
        )
        raise OccupancyError(f"occupancies of ion {ion}: found {found} instead", ion, density)
    # The two integers have four columns each and touch each other from ion 1000 on.
    number, length = title.rstrip()[len(_TITLE) : -4].strip(), title.rstrip()[-4:].strip()
    if b"imaginary" in title:
        raise ChgcarError("non-collinear densities are not supported")
    if not length.isdigit() or (number != str(ion).encode() and not number.startswith(b"*")):
        found = title.strip().decode("ascii", "replace")
        raise OccupancyError(f"occupancies of ion {ion}: bad title {found!r}", ion, density)
    try:
        return _parse_rows(cursor, int(length))
    except ValueError as error:
        raise OccupancyError(f"occupancies of ion {ion}: {error}", ion, density) from None


def _parse_rows(cursor: _Cursor, count: int) -> np.ndarray:
    """Read `count` numbers from lines that all hold as many as the first."""
    per_line = len(cursor.peek().split())
    lines = [cursor.line() for _ in range(-(-count // per_line) if per_line else 1)]
    if not lines[-1].endswith(b"\n"):
        raise ValueError("the file ends inside the record")
    if _TITLE in b"".join(lines):
        raise ValueError(f"fewer than the announced {count} values")
    values = parse_floats(b"".join(lines))
    if len(values) != count:
        raise ValueError(f"{count} values announced, {len(values)} found")
    return values


def _is_number_line(line: bytes) -> bool:
    try:
        return len(parse_floats(line)) > 0
    except ValueError:
        return False


def _parse_magnetisation(cursor: _Cursor, density: ChgcarDensity) -> Magnetisation:
    n_ions = len(density.crystal)
    moments = np.zeros(n_ions)  # CHG files have none, and VASP does not use them.
    try:
        if b"." in cursor.peek():
            moments = _parse_rows(cursor, n_ions)
        elif density.occupancies is not None:
            raise ChgcarError("the line of moments before the magnetisation is missing")
        shape = _dimensions(cursor.line())
        if shape != density.shape:
            raise ChgcarError(f"magnetisation on grid {shape}, density on {density.shape}")
        grid, _ = _parse_grid(cursor, shape, density.crystal.volume)
        records = None if density.occupancies is None else _parse_records(cursor, density)
    except OccupancyError as error:
        raise MagnetisationError(f"magnetisation: {error}", density) from None
    except ValueError as error:
        raise MagnetisationError(f"after the density: {error}", density) from None
    if not cursor.only_blanks_left():
        raise ChgcarError("a third block follows: non-collinear densities are not supported")
    return Magnetisation(grid, records, moments)
