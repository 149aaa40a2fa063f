"""Fortran's E format, both ways: table-driven writing and reading of millions of numbers.

VASP writes a grid as ``5(1X,E17.11)``: a mantissa between 0.1 and 1 with eleven digits, the zero
before the point given up for a minus sign, and the letter E given up for a third exponent digit:
``0.44062142953E+00``, ``-.36466499731E+01``, ``0.50000000000-100``. Every number written here is
the correctly rounded one, and every number read is the double nearest to its text.
"""

from __future__ import annotations

import re
import warnings
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

_PER_LINE = 5
_CHUNK = 4096 * _PER_LINE  # values whose working arrays stay in the processor's cache
_DIGITS = 11


class FortranNumberError(ValueError):
    """Text that holds no number, too few or too many of them, or one that is not finite."""


# --- writing ------------------------------------------------------------------------------------


def format_e(value: float, width: int, digits: int) -> str:
    """Write one number as Fortran's ``Ewidth.digits``.

    The obvious and slow way, and the reference for :func:`grid_text`.

    Parameters
    ----------
    value
        Finite number.
    width
        Columns.
    digits
        Digits of the mantissa.

    Returns
    -------
    str
        Exactly `width` characters; stars where the number does not fit.

    Raises
    ------
    ValueError
        If the number is not finite.

    Examples
    --------
    >>> from mlcharge_flows.vasp.fortran_floats import format_e
    >>> [format_e(x, 17, 11) for x in (0.0, -3.6466499731, 5e-101)]
    ['0.00000000000E+00', '-.36466499731E+01', '0.50000000000-100']
    >>> format_e(-0.03307158, 15, 7)
    ' -0.3307158E-01'
    """
    if not isfinite(value):
        raise FortranNumberError(f"{value} cannot be written as a Fortran number")
    mantissa, _, power = f"{abs(value):.{digits - 1}E}".partition("E")
    exponent = int(power) + 1 if value else 0
    sign = "-" if value < 0 else ""
    tail = f".{mantissa.replace('.', '')}{_exponent_text(exponent)}"
    text = f"{sign}0{tail}"
    if len(text) > width:
        text = f"{sign}{tail}"
    return text.rjust(width) if len(text) <= width else "*" * width


def _exponent_text(exponent: int) -> str:
    return f"E{exponent:+03d}" if abs(exponent) < 100 else f"{exponent:+04d}"


_MAX_EXPONENT = 330
_EXPONENTS = np.array(
    [_exponent_text(e).encode() for e in range(-_MAX_EXPONENT, _MAX_EXPONENT + 1)], dtype="S4"
).view("<u4")
_POWERS = np.array([float(f"1e{k}") for k in range(-300, 301)])
# One number is four pieces: blank, lead, point and five digits | four digits | two | exponent.
_FIRST = np.array([f" {s}.{i:05d}".encode() for s in "0-" for i in range(100_000)], "S8")
_HEADS = _FIRST.view("<u8")
_MIDDLES = np.array([f"{i:04d}".encode() for i in range(10_000)], dtype="S4").view("<u4")
_ENDS = np.array([f"{i:02d}".encode() for i in range(100)], dtype="S2").view("<u2")
_NUMBER = np.dtype([("head", "<u8"), ("middle", "<u4"), ("end", "<u2"), ("exponent", "<u4")])
_LINE = np.dtype([("numbers", _NUMBER, _PER_LINE), ("newline", "S1")])


def grid_text(values: np.ndarray) -> Iterator[bytes]:
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
    n_full = len(values) // _PER_LINE * _PER_LINE
    for start in range(0, n_full, _CHUNK):
        yield _full_lines(values[start : min(start + _CHUNK, n_full)])
    if n_full < len(values):
        rest = "".join(f" {format_e(value, 17, _DIGITS)}" for value in values[n_full:])
        yield f"{rest}  \n".encode()


def _full_lines(values: np.ndarray) -> bytes:
    magnitude = np.abs(values)
    if not np.all(np.isfinite(magnitude)):
        raise FortranNumberError("NaN or infinity cannot be written as a Fortran number")
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
    upper, lower = np.divmod(digits, 1_000_000)
    middle, end = np.divmod(lower, 100)
    lines = np.empty(len(values) // _PER_LINE, dtype=_LINE)
    lines["newline"] = b"\n"
    numbers = lines["numbers"]
    shape = numbers.shape
    numbers["head"] = _HEADS[upper + 100_000 * (values < 0)].reshape(shape)
    numbers["middle"] = _MIDDLES[middle].reshape(shape)
    numbers["end"] = _ENDS[end].reshape(shape)
    numbers["exponent"] = _EXPONENTS[exponent + _MAX_EXPONENT].reshape(shape)
    for index in np.flatnonzero(hard):
        line, column = divmod(int(index), _PER_LINE)
        exact = f" {format_e(float(values[index]), 17, _DIGITS)}".encode()
        numbers[line, column] = np.frombuffer(exact, dtype=_NUMBER)[0]
    return lines.tobytes()


# --- reading ------------------------------------------------------------------------------------

_MISSING_E = re.compile(rb"(\d)([+-]\d{3})(?!\d)")


def parse_floats(text: bytes) -> np.ndarray:
    """Read numbers separated by blanks, in any of Fortran's styles.

    Parameters
    ----------
    text
        Numbers such as ``0.44E+00``, ``4.4D-01``, ``-.364E+01`` or ``0.5-100``.

    Returns
    -------
    numpy.ndarray
        Shape (n,).

    Raises
    ------
    ValueError
        If something else is among them: words, overflow stars, NaN or infinity.

    Examples
    --------
    >>> from mlcharge_flows.vasp.fortran_floats import parse_floats
    >>> parse_floats(b" 0.44E+00 -.364D+01 0.5-100")
    array([ 4.40e-001, -3.64e+000,  5.00e-101])
    """
    if b"*" in text:
        raise FortranNumberError("a number overflowed its columns and was printed as stars")
    text = text.translate(_D_TO_E)
    try:
        values = _free_format(text)
    except FortranNumberError:
        # `0.5-100` stopped it: give such numbers back their E.
        values = _free_format(_MISSING_E.sub(rb"\1E\2", text))
    if not np.all(np.isfinite(values)):
        raise FortranNumberError("a number is NaN or infinite")
    return values


def _free_format(text: bytes) -> np.ndarray:
    if not text.strip():
        return np.empty(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return np.fromstring(text, sep=" ")
    except (ValueError, DeprecationWarning):
        raise FortranNumberError(f"{_first_bad_word(text)} is not a number") from None


_D_TO_E = bytes.maketrans(b"Dd", b"EE")


def _first_bad_word(text: bytes) -> str:
    for word in text.split():
        try:
            float(word)
        except ValueError:
            return repr(word[:24].decode("ascii", "replace"))
    return "something"


# The same 18 columns, read: lead | point, 7 digits | 4 digits | E, sign, 2 digits.
_COLUMNS = np.dtype([("lead", "<u2"), ("upper", "<u8"), ("lower", "<u4"), ("exponent", "<u4")])
_POSITIVE, _NEGATIVE, _NEGATIVE_ZERO = (int.from_bytes(s, "little") for s in (b" 0", b" -", b"-0"))


_HASH_BITS = 10
_HASH_FACTOR = 0xCD613E31  # found by trial: no two of the exponents from -99 to 99 collide


def _exponent_hash(text: np.ndarray) -> np.ndarray:
    return (text * np.uint32(_HASH_FACTOR)) >> np.uint32(32 - _HASH_BITS)


def _exponent_table() -> tuple[np.ndarray, np.ndarray]:
    """Texts ``E+00`` and the powers of ten that turn eleven digits into the value, by hash.

    The power is NaN where it is not exact in double precision: these numbers go the slow way.
    """
    texts = np.zeros(1 << _HASH_BITS, dtype="<u4")
    powers = np.full(1 << _HASH_BITS, np.nan)
    for exponent in range(-99, 100):
        text = np.frombuffer(_exponent_text(exponent).encode(), dtype="<u4")
        texts[_exponent_hash(text)] = text
        if 0 <= _DIGITS - exponent <= 22:
            powers[_exponent_hash(text)] = float(f"1e{_DIGITS - exponent}")
    return texts, powers


_EXPONENT_TEXTS, _EXPONENT_POWERS = _exponent_table()


def parse_grid(buffer: bytes, start: int, count: int) -> tuple[np.ndarray, int]:
    """Read a block of `count` numbers that begins at a line start.

    All lines but the last hold as many numbers as the first. Lines of 18-column numbers are decoded
    by columns; anything else is read format-free.

    Parameters
    ----------
    buffer
        The file.
    start
        Offset of the first line.
    count
        Numbers to read.

    Returns
    -------
    tuple
        The numbers, shape (count,), and the offset of the line after the block.

    Raises
    ------
    EOFError
        If the file ends inside the block.
    ValueError
        If the lines do not hold exactly these numbers.
    """
    first_line = buffer[start : buffer.find(b"\n", start) + 1]
    n_full = count // _PER_LINE
    for newline in (b"\n", b"\r\n"):
        length = 18 * _PER_LINE + len(newline)
        if len(first_line) != length or start + n_full * length > len(buffer):
            continue
        layout = np.dtype([("numbers", _COLUMNS, _PER_LINE), ("newline", f"S{len(newline)}")])
        lines = np.frombuffer(buffer, dtype=layout, count=n_full, offset=start)
        if np.all(lines["newline"] == newline):
            values = np.empty(count)
            _decode_lines(lines["numbers"], values[: n_full * _PER_LINE].reshape(n_full, _PER_LINE))
            end = start + n_full * length
            if n_full * _PER_LINE < count:
                values[n_full * _PER_LINE :], end = _parse_lines(
                    buffer, end, count - n_full * _PER_LINE, per_line=_PER_LINE
                )
            return values, end
    return _parse_lines(buffer, start, count, per_line=len(first_line.split()))


def _parse_lines(buffer: bytes, start: int, count: int, per_line: int) -> tuple[np.ndarray, int]:
    n_lines = -(-count // max(per_line, 1))
    newlines = np.flatnonzero(np.frombuffer(buffer, dtype="u1", offset=start) == ord("\n"))
    if len(newlines) < n_lines:
        raise EOFError
    end = start + int(newlines[n_lines - 1]) + 1
    text = buffer[start:end]
    values = parse_floats(text)
    if len(values) != count:
        blank = any(not line.strip() for line in text.splitlines())
        reason = "a blank line among them" if blank else "lines of unequal length"
        raise FortranNumberError(f"{count} numbers expected, {len(values)} found: {reason}")
    return values, end


def _decode_lines(numbers: np.ndarray, values: np.ndarray) -> None:
    """Decode full lines, shape (lines, 5), chunk by chunk into `values` of the same shape."""
    step = _CHUNK // _PER_LINE
    for start in range(0, len(numbers), step):
        chunk = numbers[start : start + step]
        part = values[start : start + step]
        if not _decode_columns(chunk, part):
            parsed = _parse_columns(chunk)
            if len(parsed) != part.size:
                raise FortranNumberError("numbers are not where the columns of the block are")
            part[:] = parsed.reshape(part.shape)


def _decode_columns(numbers: np.ndarray, values: np.ndarray) -> bool:
    """Decode 18-column numbers; False, with `values` undefined, if one has another style.

    ASCII digits are handled eight (or four) at a time as one integer: neighbours are combined to
    pairs, and pairs to the number, by multiplications that act on all lanes at once.
    """
    upper = numbers["upper"] ^ 0x303030303030302E
    lower = numbers["lower"] ^ 0x30303030
    exponent = np.ascontiguousarray(numbers["exponent"])
    place = _exponent_hash(exponent).astype(np.intp)
    lead = np.ascontiguousarray(numbers["lead"])
    negative = lead != _POSITIVE
    # Every lane must now be below ten, the point's lane zero.
    if (
        np.bitwise_or.reduce(upper | (upper + 0x767676767676767F), axis=None) & 0x8080808080808080
        or np.bitwise_or.reduce(lower | (lower + 0x76767676), axis=None) & 0x80808080
        or not np.array_equal(_EXPONENT_TEXTS[place], exponent)
        or np.any(negative & (lead != _NEGATIVE) & (lead != _NEGATIVE_ZERO))
    ):
        return False
    upper = upper * 10 + (upper >> 8)
    upper = (
        (upper & 0x000000FF000000FF) * (100 + (1_000_000 << 32))
        + ((upper >> 16) & 0x000000FF000000FF) * (1 + (10_000 << 32))
    ) >> 32
    lower = lower * 10 + (lower >> 8)
    lower = (lower & 0xFF) * 100 + ((lower >> 16) & 0xFF)
    # Exact digits, an exact power of ten and one division: the result is correctly rounded.
    np.divide(upper * 10_000 + lower, _EXPONENT_POWERS[place], out=values)
    np.copysign(values, 0.5 - negative, out=values)
    far = np.isnan(values)
    if np.any(far):
        values[far] = _parse_columns(numbers[far])
    return True


def _parse_columns(numbers: np.ndarray) -> np.ndarray:
    """Read 18-column numbers format-free, a blank put between any two of them."""
    columns = np.frombuffer(numbers.tobytes(), dtype="u1").reshape(-1, _COLUMNS.itemsize)
    return parse_floats(np.pad(columns, ((0, 0), (1, 0)), constant_values=ord(" ")).tobytes())
