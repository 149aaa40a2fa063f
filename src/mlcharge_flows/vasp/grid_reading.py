"""Millions of numbers from a grid block, decoded by columns where VASP's columns are regular.

Lines of ``5(1X,E17.11)`` are taken as arrays of fixed-width fields: the digits become an integer,
and one division by an exact power of ten gives the double nearest to the text. All other styles are
read format-free, piece by piece too, so that the text of a large file is never held as a whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlcharge_flows.vasp.fortran import FortranNumberError, format_exponent, parse_floats

if TYPE_CHECKING:
    from typing import BinaryIO

_PER_LINE = 5
_CHUNK = 8192  # lines whose working arrays stay in the processor's cache
_DIGITS = 11


def read_grid(file: BinaryIO, count: int) -> tuple[np.ndarray, bool]:
    """Read a block of `count` numbers from the current line on.

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
        If the file ends inside the block.
    ValueError
        If the lines do not hold exactly these numbers.
    """
    start = file.tell()
    first = file.readline()
    file.seek(start)
    per_line = len(first.split())
    if per_line == 0:
        raise EOFError if not first else FortranNumberError("a blank line among them")
    values = np.empty(count)
    done = 0
    if len(first) in _LINES and per_line == _PER_LINE:
        done = _read_columns(file, values, _LINES[len(first)])
    last = b""
    while done < count:
        n_lines = min(_CHUNK, -(-(count - done) // per_line))
        lines = [file.readline() for _ in range(n_lines)]
        last = lines[-1]
        if not last.endswith(b"\n"):
            raise EOFError
        expected = min(n_lines * per_line, count - done)
        found = parse_floats(b"".join(lines))
        if len(found) != expected:
            blank = any(not line.strip() for line in lines)
            reason = "a blank line among them" if blank else "lines of unequal length"
            raise FortranNumberError(f"{expected} numbers expected, {len(found)} found: {reason}")
        values[done : done + expected] = found
        done += expected
    return values, last.rstrip(b"\r\n").endswith(b" ")


def _read_columns(file: BinaryIO, values: np.ndarray, layout: np.dtype) -> int:
    """Read full lines of the layout; stop before those of another one. Return the numbers read."""
    n_full = len(values) // _PER_LINE
    grid = values[: n_full * _PER_LINE].reshape(n_full, _PER_LINE)
    position = file.tell()
    for start in range(0, n_full, _CHUNK):
        part = grid[start : start + _CHUNK]
        text = file.read(len(part) * layout.itemsize)
        lines = np.frombuffer(text, dtype=layout, count=len(text) // layout.itemsize)
        if len(lines) < len(part) or np.any(lines["newline"] != _NEWLINES[layout.itemsize]):
            file.seek(position)
            return start * _PER_LINE
        if not _decode_columns(lines["numbers"], part):
            part[:] = _parse_columns(lines["numbers"]).reshape(part.shape)
        position += len(text)
    return n_full * _PER_LINE


# One number is 18 columns: lead | point, 7 digits | 4 digits, E, sign, 2 digits.
_COLUMNS = np.dtype([("lead", "<u2"), ("upper", "<u8"), ("lower", "<u8")])
_POSITIVE, _NEGATIVE = (int.from_bytes(lead, "little") for lead in (b" 0", b" -"))

_EXPONENT = 0xFFFFFFFF00000000  # the columns of `lower` that hold the exponent
_HASH_BITS = 10
_HASH_FACTOR = 0xCD613E31  # found by trial: no two of the exponents from -99 to 99 collide


def _hash(exponent: np.ndarray) -> np.ndarray:
    return (exponent * _HASH_FACTOR) >> (64 - _HASH_BITS)


def _exponent_table() -> tuple[np.ndarray, np.ndarray]:
    """Exponents as text, and the divisors that turn eleven digits into the number, by hash.

    The second half holds the divisors of negative numbers. Divisors that a double does not hold
    exactly are NaN: these numbers go the slow way.
    """
    size = 1 << _HASH_BITS
    texts = np.zeros(2 * size, dtype=np.uint64)
    divisors = np.full(2 * size, np.nan)
    for exponent in range(-99, 100):
        text = np.frombuffer(b"\0\0\0\0" + format_exponent(exponent).encode(), dtype="<u8")
        place = int(_hash(text)[0])
        texts[[place, place + size]] = text[0]
        if 0 <= _DIGITS - exponent <= 22:
            divisor = float(f"1e{_DIGITS - exponent}")
            divisors[[place, place + size]] = divisor, -divisor
    return texts, divisors


_EXPONENT_TEXTS, _DIVISORS = _exponent_table()

# Digits to pairs, to quadruples, to eight: factor, bits between neighbors, lanes that survive.
_LOWER_STEPS = ((10, 8, 0x00FF00FF), (100, 16, 0x0000FFFF))
_UPPER_STEPS = (
    (10, 8, 0x00FF00FF00FF00FF),
    (100, 16, 0x0000FFFF0000FFFF),
    (10_000, 32, 0x00000000FFFFFFFF),
)

# Unix and Windows lines, by their length.
_LINES = {
    18 * _PER_LINE + n: np.dtype([("numbers", _COLUMNS, _PER_LINE), ("newline", f"<u{n}")])
    for n in (1, 2)
}
_NEWLINES = {91: int.from_bytes(b"\n", "little"), 92: int.from_bytes(b"\r\n", "little")}


def _decode_columns(numbers: np.ndarray, values: np.ndarray) -> bool:
    """Decode 18-column numbers; False, with `values` undefined, if one has another style.

    ASCII digits are handled eight (or four) at a time as one integer: neighbors are combined to
    pairs, and pairs to the number, by multiplications that act on all lanes at once.
    """
    lead = np.ascontiguousarray(numbers["lead"])
    upper = numbers["upper"] ^ 0x303030303030302E
    lower = np.ascontiguousarray(numbers["lower"])
    exponent = lower & _EXPONENT
    lower ^= 0x30303030
    lower &= 0xFFFFFFFF
    place = exponent * _HASH_FACTOR
    place >>= 64 - _HASH_BITS
    negative = lead != _POSITIVE
    place += negative.astype(np.uint64) << _HASH_BITS
    place = place.view(np.int64)
    # Every lane must now be below ten, the point's lane zero.
    excess = upper + 0x767676767676767F
    excess |= upper
    excess |= lower
    excess |= lower + 0x76767676
    if (
        np.bitwise_or.reduce(excess, axis=None) & 0x8080808080808080
        or np.any(_EXPONENT_TEXTS.take(place) != exponent)
        or np.any(negative & (lead != _NEGATIVE))
    ):
        return False
    neighbor = excess  # reuse the memory
    for factor, bits, lanes in _UPPER_STEPS:
        np.right_shift(upper, bits, out=neighbor)
        upper *= factor
        upper += neighbor
        upper &= lanes
    for factor, bits, lanes in _LOWER_STEPS:
        np.right_shift(lower, bits, out=neighbor)
        lower *= factor
        lower += neighbor
        lower &= lanes
    upper *= 10_000
    upper += lower
    # Exact digits, an exact power of ten and one division: the result is correctly rounded.
    np.divide(upper.view(np.int64), _DIVISORS.take(place), out=values)
    far = np.isnan(values)
    if np.any(far):
        values[far] = _parse_columns(numbers[far])
    return True


def _parse_columns(numbers: np.ndarray) -> np.ndarray:
    """Read 18-column numbers format-free."""
    values = parse_floats(numbers.tobytes())
    if len(values) != numbers.size:
        raise FortranNumberError(f"{numbers.size} numbers expected, {len(values)} found")
    return values
