"""CHGCAR as VASP writes it, byte for byte.

The file holds rho * V_cell with x running fastest. Grids are written from tables of digits: a
number is scaled to an eleven-digit integer, which a double holds exactly, and its pieces are looked
up as text. The few numbers whose rounding the scaling could change, and those at the ends of the
double range, are written by :func:`~mlcharge_flows.vasp.fortran.format_e`, the slow reference.

>>> import tempfile
>>> from mlcharge_flows.density.crystal import Crystal
>>> from mlcharge_flows.density.density import Density
>>> from mlcharge_flows.vasp.chgcar import read_chgcar
>>> lithium = Crystal(3 * np.eye(3), ("Li",), np.zeros((1, 3)))
>>> density = Density(lithium, np.full((4, 4, 4), 1 / 27), (np.zeros(15),), comment="bcc Li")
>>> with tempfile.NamedTemporaryFile(suffix="CHGCAR") as file:
...     write_chgcar(file.name, density)
...     again = read_chgcar(file.name)
>>> again.comment, round(again.n_electrons, 9)
('bcc Li', 1.0)

References
----------
VASP wiki, CHGCAR, https://www.vasp.at/wiki/index.php/CHGCAR.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from mlcharge_flows.io import atomic_path
from mlcharge_flows.vasp.chgcar import TITLE, ChgcarDensity, ChgcarError, parse_header
from mlcharge_flows.vasp.fortran import FortranNumberError, format_e, format_exponent

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.density.density import Density

COMMENT_LENGTH = 40
"""VASP keeps, and echoes, this many characters of the first line."""

COMMENT_PREFIX = "mlcharge-"
"""Every CHGCAR that this package predicted begins with this; VASP's results begin with SYSTEM."""

_OLD_COMMENT_PREFIX = "mlcharge "

_PER_LINE = 5
_DIGITS = 11
_CHUNK = 4096 * _PER_LINE
"""Numbers whose working arrays stay in the processor's cache."""

_MAX_EXPONENT = 330
_EXPONENTS = np.array(
    [format_exponent(e).encode() for e in range(-_MAX_EXPONENT, _MAX_EXPONENT + 1)], dtype="S4"
).view("<u4")
_POWERS = np.array([float(f"1e{k}") for k in range(-300, 301)])


def _padded(n_digits: int) -> np.ndarray:
    """All numbers of so many digits as text, zeros in front: bytes, shape (10**n, n)."""
    powers = 10 ** np.arange(n_digits)[::-1]
    return (np.arange(10**n_digits)[:, None] // powers % 10 + ord("0")).astype(np.uint8)


# One number is four pieces: blank, lead, point and five digits | four digits | two | exponent.
_FIRST = np.empty((2, 100_000, 8), dtype=np.uint8)
_FIRST[..., :3] = [[list(b" 0.")], [list(b" -.")]]
_FIRST[..., 3:] = _padded(5)
_HEADS = _FIRST.view("<u8").ravel()
_MIDDLES = _padded(4).view("<u4").ravel()
_ENDS = _padded(2).view("<u2").ravel()
_NUMBER = np.dtype([("head", "<u8"), ("middle", "<u4"), ("end", "<u2"), ("exponent", "<u4")])
_LINE = np.dtype([("numbers", _NUMBER, _PER_LINE), ("newline", "S1")])


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
    ChgcarError
        The density or an occupancy is not finite.
    OSError
        The folder cannot be written to or is full; no partial file remains.
    """
    path = Path(path)
    arrays = [density.total, *(density.augmentation or ())]
    if (magnetization := density.magnetization) is not None:
        arrays += [magnetization.grid, magnetization.moments, *(magnetization.augmentation or ())]
    if not all(np.all(np.isfinite(array)) for array in arrays):
        raise ChgcarError(f"{path}: not written, the density holds NaN or infinite values")
    with atomic_path(path) as partial, partial.open("wb") as file:
        _write_pieces(file, density, compressed=path.name.endswith(".gz"))


def _write_pieces(file: BinaryIO, density: Density, compressed: bool) -> None:
    if not compressed:
        file.writelines(_pieces(density))
        return
    # No name and no time inside: equal densities make equal files.
    with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0) as packed:
        for piece in _pieces(density):
            packed.write(piece)


def _pieces(density: Density) -> Iterator[bytes]:
    pieces = _unix_pieces(density)
    windows = isinstance(density, ChgcarDensity) and density.windows
    if windows and _header_lines(density) is getattr(density, "header", None):
        return (piece.replace(b"\n", b"\r\n") for piece in pieces)
    return pieces


def _unix_pieces(density: Density) -> Iterator[bytes]:
    yield "".join(f"{line}\n" for line in _header_lines(density)).encode()
    padded = density.padded if isinstance(density, ChgcarDensity) else True
    volume = density.crystal.volume
    yield from _block(density.total, volume, density.augmentation, padded)
    if (magnetization := density.magnetization) is not None:
        yield _format_rows(magnetization.moments, 20, 12)
        yield from _block(magnetization.grid, volume, magnetization.augmentation, padded)


def _header_lines(density: Density) -> Sequence[str]:
    kept = density.header if isinstance(density, ChgcarDensity) else ()
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
    return _format_header(density.crystal, density.comment)


def _block(
    grid: np.ndarray, volume: float, augmentation: Sequence[np.ndarray] | None, padded: bool
) -> Iterator[bytes]:
    yield ("".join(f"{n:5d}" for n in grid.shape) + "\n").encode()
    for lines in format_grid(grid.ravel(order="F") * volume):
        yield lines if padded else lines.replace(b"  \n", b"\n")
    for ion, occupancies in enumerate(augmentation or (), start=1):
        yield TITLE + f"{ion:4d}{len(occupancies):4d}\n".encode()
        yield _format_rows(occupancies, 15, 7)


def _format_header(crystal: Crystal, comment: str) -> tuple[str, ...]:
    """Lines of a header as VASP 6 writes it, without their ends; the last one is blank."""
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


def is_prediction(comment: str) -> bool:
    """Whether a CHGCAR is an initial density of this package, and so no result of a run.

    Parameters
    ----------
    comment
        Its first line.

    Returns
    -------
    bool
        True for the comments of the first release, too.
    """
    return comment.startswith((COMMENT_PREFIX, _OLD_COMMENT_PREFIX))


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


def _format_rows(values: np.ndarray, width: int, digits: int) -> bytes:
    """Whole lines of occupancies or moments: ``5Ewidth.digits``."""
    texts = [format_e(float(value), width, digits) for value in values]
    rows = ["".join(texts[i : i + _PER_LINE]) for i in range(0, len(texts), _PER_LINE)]
    return "".join(f"{row}\n" for row in rows).encode()


def format_grid(values: np.ndarray) -> Iterator[bytes]:
    """Write numbers as VASP writes a grid: ``5(1X,E17.11)``.

    Parameters
    ----------
    values
        Finite numbers, shape (n,).

    Yields
    ------
    bytes
        Whole lines; the last incomplete line is padded with two blanks, as VASP does.

    Raises
    ------
    FortranNumberError
        If a number is not finite.
    """
    if not np.all(np.isfinite(values)):
        raise FortranNumberError("NaN or infinity cannot be written as a Fortran number")
    n_full = len(values) // _PER_LINE * _PER_LINE
    for start in range(0, n_full, _CHUNK):
        yield _full_lines(values[start : min(start + _CHUNK, n_full)])
    if n_full < len(values):
        rest = "".join(f" {format_e(value, 17, _DIGITS)}" for value in values[n_full:])
        yield f"{rest}  \n".encode()


def _full_lines(values: np.ndarray) -> bytes:
    magnitude = np.abs(values)
    zero = magnitude == 0.0
    magnitude[zero] = 0.1
    exponent = np.floor(np.log10(magnitude)).astype(np.intp) + 1
    scaled = magnitude * _POWERS[np.clip(_DIGITS - exponent, -300, 300) + 300]
    mantissa = np.floor(scaled + 0.5)
    # `scaled` is right to 3e-5. Where that could change the rounding, where the logarithm was one
    # off and at the ends of the double range, the number takes the slow way.
    hard = np.abs(scaled - np.floor(scaled) - 0.5) < 1e-3
    hard |= (mantissa < 1e10) | (mantissa >= 1e11) | (np.abs(exponent) > 280)
    mantissa[hard] = 1e10
    mantissa[zero] = 0.0
    exponent[zero] = 0

    digits = mantissa.astype(np.int64)
    # Division by a constant is vectorized, divmod is not.
    upper = digits // 1_000_000
    digits -= upper * 1_000_000
    middle = digits // 100
    digits -= middle * 100
    lines = np.empty(len(values) // _PER_LINE, dtype=_LINE)
    lines["newline"] = b"\n"
    numbers = lines["numbers"]
    shape = numbers.shape
    numbers["head"] = _HEADS[upper + 100_000 * np.signbit(values)].reshape(shape)
    numbers["middle"] = _MIDDLES[middle].reshape(shape)
    numbers["end"] = _ENDS[digits].reshape(shape)
    numbers["exponent"] = _EXPONENTS[exponent + _MAX_EXPONENT].reshape(shape)
    for index in np.flatnonzero(hard):
        line, column = divmod(int(index), _PER_LINE)
        exact = f" {format_e(float(values[index]), 17, _DIGITS)}".encode()
        numbers[line, column] = np.frombuffer(exact, dtype=_NUMBER)[0]
    return lines.tobytes()
