"""Numbers of a CHGCAR: grids, ``5(1X,E17.11)``, and rows of occupancies or moments.

Reading uses pymatgen's C parser and checks afterwards that every word of the text was one number:
it would take ``0.5-100``, Fortran's form of 0.5E-100, for two. A grid of 80 x 80 x 80 points
takes 1.8 times as long as with a decoder of fixed columns by integer arithmetic; ``fromstring``
and ``loadtxt`` of numpy and ``read_csv`` of pandas would take 3.5 to 5 times as long.

Writing takes the digits from tables: eleven digits fit into a double exactly, so a number is scaled
to an eleven-digit integer whose pieces are looked up as text. The few numbers whose rounding that
scaling could change, and those at the ends of the double range, are written by
:func:`~mlcharge_flows.vasp.fortran.format_e`, the slow reference.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from pymatgen.optimization.fast_parser import parse_n_doubles

from mlcharge_flows.vasp.fortran import (
    FortranNumberError,
    format_e,
    format_exponent,
    parse_floats,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_PER_LINE = 5
_DIGITS = 11
_LINES_READ = 8192
"""Lines that are read at once, so that the text of a large file is never held as a whole."""


def read_block(file: BinaryIO, count: int) -> tuple[np.ndarray, bool]:
    """Read a block of numbers from the current line on.

    All lines but the last hold as many numbers as the first.

    Parameters
    ----------
    file
        Open, seekable, at the first line of the block; left at the line after it.
    count
        Numbers to read.

    Returns
    -------
    tuple
        The numbers, shape (count,), and whether the last line ends with blanks.

    Raises
    ------
    EOFError
        The file ends inside the block. A last line without line end is whole if its last number has
        as many digits as the first one of the block.
    FortranNumberError
        The lines do not hold exactly these numbers.
    """
    start = file.tell()
    first = file.readline()
    file.seek(start)
    per_line = len(first.split())
    if per_line == 0:
        raise EOFError if not first else FortranNumberError("a blank line among them")
    values = np.empty(count)
    done = 0
    text = b""
    while done < count:
        n_lines = min(_LINES_READ, -(-(count - done) // per_line))
        text = _read_lines(file, n_lines, first)
        found = _parse_lines(text, min(n_lines * per_line, count - done))
        values[done : done + len(found)] = found
        done += len(found)
    return values, text.rstrip(b"\r\n").endswith(b" ")


def _read_lines(file: BinaryIO, n_lines: int, first: bytes) -> bytes:
    """Read lines; they probably all have the length of the first one."""
    start, length = file.tell(), len(first)
    text = file.read(n_lines * length)
    codes = np.frombuffer(text, dtype=np.uint8)
    if len(codes) == n_lines * length and np.all(codes[length - 1 :: length] == ord("\n")):
        return text
    file.seek(start)
    lines = [file.readline() for _ in range(n_lines)]
    if not lines[-1].endswith(b"\n") and not _ends_whole(lines[-1], first):
        raise EOFError
    return b"".join(lines)


def _ends_whole(line: bytes, first: bytes) -> bool:
    """Whether the last number of a line has as many digits as the first one of another."""
    words, others = line.split(), first.split()
    return bool(words) and len(words[-1].rpartition(b".")[2]) == len(others[0].rpartition(b".")[2])


def _parse_lines(text: bytes, count: int) -> np.ndarray:
    """Read so many numbers, and no others, from whole lines."""
    filled = np.frombuffer(text, dtype=np.uint8) > ord(" ")
    n_words = int(filled[0]) + np.count_nonzero(filled[1:] > filled[:-1])
    if n_words == count:
        values, stream = np.empty(count), BytesIO(text)
        n_read = parse_n_doubles(stream, values, count)
        if n_read == count and not stream.read().strip() and np.all(np.isfinite(values)):
            return values
    values = parse_floats(text)
    if len(values) != count:
        blank = any(not line.strip() for line in text.splitlines())
        reason = "a blank line among them" if blank else "lines of unequal length"
        raise FortranNumberError(f"{count} numbers expected, {len(values)} found: {reason}")
    return values


def format_rows(values: np.ndarray, width: int, digits: int) -> bytes:
    """Write numbers as VASP writes occupancies and moments: ``5Ewidth.digits``.

    Parameters
    ----------
    values
        Finite numbers, shape (n,).
    width
        Columns of one number.
    digits
        Digits of its mantissa.

    Returns
    -------
    bytes
        Whole lines.
    """
    texts = [format_e(float(value), width, digits) for value in values]
    rows = ["".join(texts[i : i + _PER_LINE]) for i in range(0, len(texts), _PER_LINE)]
    return "".join(f"{row}\n" for row in rows).encode()


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
    ValueError
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
