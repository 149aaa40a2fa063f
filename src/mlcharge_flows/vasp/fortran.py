"""Numbers as Fortran prints and reads them, one at a time and in blocks of a file.

In E format the mantissa lies between 0.1 and 1. Where a field is narrow, the zero before the point
gives way to a minus sign; an exponent of three digits takes the place of the letter E:
``0.44062142953E+00``, ``-.36466499731E+01``, ``0.50000000000-100``. A number that does not fit its
field is printed as stars. Every number written here is the correctly rounded one, with the sign of
a negative zero, and every number read is the double nearest to its text.

Blocks are read by pymatgen's C parser; that every word was one number is checked afterwards, since
it takes ``0.5-100``, Fortran's form of 0.5E-100, for two. A grid of 80 x 80 x 80 points takes 1.8
times as long as with a decoder of fixed columns by integer arithmetic; numpy's ``fromstring`` and
``loadtxt`` and pandas' ``read_csv`` take 3.5 to 5 times as long.

References
----------
ISO/IEC 1539-1:2018 (Fortran 2018), sections 13.7.2.3.3 (E editing) and 13.10 (list-directed input).
"""

from __future__ import annotations

import re
import warnings
from io import BytesIO
from math import copysign, isfinite, isnan, nan
from typing import BinaryIO

import numpy as np
from pymatgen.optimization.fast_parser import parse_n_doubles

from mlcharge_flows.errors import MlchargeError, one_line

# A formatted real has a point and, in E format, exactly two exponent digits or three without the
# letter: only so can ``-0.28645E+03104832`` be told apart into -286.45 and 104832.
REAL = r"(?:[-+]?\d*\.\d*(?:[EeDd][-+]\d\d|[-+]\d\d\d)?|\*+|[-+]?(?:NaN|Inf(?:inity)?))"
"""Pattern of a real in a column of a formatted line, where fields may touch."""

_INTEGER = re.compile(r"[-+]?\d+", re.ASCII)
_LONGEST_INTEGER = 20
"""Digits, leading zeros included, of what is tried as an integer of 32 bits."""
_WORD = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[EeDdQq][-+]?\d+|[-+]\d+)?", re.ASCII)
_LOGICAL = re.compile(r"\.?([TtFf])[A-Za-z]*\.?")
_EXPONENT_LETTERS = str.maketrans("DdQq", "EEEE")
_BARE_EXPONENT = re.compile(r"(?<=[\d.])([-+]\d+)$")
_BARE_EXPONENTS = re.compile(rb"(\d)([+-]\d{3})(?!\d)")

_LINES_READ = 8192
"""Lines that are read at once, so that the text of a large file is never held as a whole."""


class FortranNumberError(MlchargeError, ValueError):
    """Text that holds no number, too few or too many of them, or one that is not finite."""


def format_e(value: float, width: int, digits: int) -> str:
    """Write one number with the edit descriptor ``Ewidth.digits``.

    Parameters
    ----------
    value
        The number.
    width
        Columns.
    digits
        Digits of the mantissa.

    Returns
    -------
    str
        Exactly `width` characters; stars where the number does not fit.

    Examples
    --------
    >>> [format_e(x, 17, 11) for x in (0.0, -3.6466499731, 5e-101)]
    ['0.00000000000E+00', '-.36466499731E+01', '0.50000000000-100']
    >>> format_e(-0.03307158, 15, 7), format_e(float("nan"), 6, 1)
    (' -0.3307158E-01', '   NaN')
    """
    sign = "-" if copysign(1.0, value) < 0.0 and not isnan(value) else ""
    if not isfinite(value):
        text = "NaN" if isnan(value) else f"{sign or '+'}Inf"
    else:
        mantissa, _, power = f"{abs(value):.{digits - 1}E}".partition("E")
        exponent = int(power) + 1 if value else 0
        tail = f".{mantissa.replace('.', '')}{format_exponent(exponent)}"
        text = f"{sign}0{tail}"
        if len(text) > width:
            text = f"{sign}{tail}"
    return _in_columns(text, width)


def format_i(value: int, width: int) -> str:
    """Write one integer with the edit descriptor ``Iwidth``.

    Parameters
    ----------
    value
        The number.
    width
        Columns.

    Returns
    -------
    str
        Exactly `width` characters; stars where the number does not fit.

    Examples
    --------
    >>> format_i(516096, 6), format_i(-7, 6), format_i(1000000, 6)
    ('516096', '    -7', '******')
    """
    return _in_columns(str(value), width)


def _in_columns(text: str, width: int) -> str:
    return text.rjust(width) if len(text) <= width else "*" * width


def format_exponent(exponent: int) -> str:
    """Write an exponent in the four columns of E format.

    Parameters
    ----------
    exponent
        Power of ten, of three digits at most.

    Returns
    -------
    str
        Such as ``E-01``, or ``-100`` without the letter.
    """
    return f"E{exponent:+03d}" if abs(exponent) < 100 else f"{exponent:+04d}"


def parse_column(text: str) -> float:
    """Read a real from a column of a formatted line.

    Parameters
    ----------
    text
        One number, as matched by :data:`REAL`.

    Returns
    -------
    float
        Its value; nan where the column overflowed and holds stars.

    Examples
    --------
    >>> parse_column("-.10846877E+02"), parse_column("0.5-100"), parse_column("1.0D+01")
    (-10.846877, 5e-101, 10.0)
    >>> parse_column("******")
    nan
    """
    text = text.strip()
    if text.startswith("*"):
        return nan
    return float(_BARE_EXPONENT.sub(r"E\1", text.translate(_EXPONENT_LETTERS)))


def parse_real(word: str) -> float:
    """Read a word that must be a finite number, as in list-directed input.

    Parameters
    ----------
    word
        Text without blanks.

    Returns
    -------
    float
        Its value.

    Raises
    ------
    FortranNumberError
        The word as a whole is not a number, or one that is not finite.

    Examples
    --------
    >>> [parse_real(word) for word in ("1D-6", "5.d2", "-.5", "7", "0.5-100")]
    [1e-06, 500.0, -0.5, 7.0, 5e-101]
    """
    if not _WORD.fullmatch(word):
        raise FortranNumberError("is not a number")
    if not isfinite(value := parse_column(word)):
        raise FortranNumberError("is not a finite number")
    return value


def parse_integer(word: str) -> int:
    """Read a word that must be an integer, as in list-directed input.

    Parameters
    ----------
    word
        Text without blanks.

    Returns
    -------
    int
        Its value.

    Raises
    ------
    FortranNumberError
        The word as a whole is not an integer.
    """
    if not _INTEGER.fullmatch(word):
        raise FortranNumberError("is not an integer")
    if len(word) > _LONGEST_INTEGER or abs(int(word)) >= 2**31:
        raise FortranNumberError("is too large for an integer")
    return int(word)


def parse_logical(word: str) -> bool:
    """Read a word that must be a logical, as in list-directed input.

    Parameters
    ----------
    word
        Text without blanks.

    Returns
    -------
    bool
        Its value.

    Raises
    ------
    FortranNumberError
        The word is not a logical.

    Examples
    --------
    >>> [parse_logical(word) for word in (".TRUE.", "T", ".f", "false")]
    [True, True, False, False]
    """
    match = _LOGICAL.fullmatch(word)
    if match is None:
        raise FortranNumberError("is not a logical (.TRUE. or .FALSE.)")
    return match[1] in "Tt"


def parse_floats(text: bytes) -> np.ndarray:
    """Read numbers that are separated by blanks, in any of Fortran's styles.

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
    FortranNumberError
        Something else is among them: words, overflow stars, NaN or infinity.

    Examples
    --------
    >>> parse_floats(b" 0.44E+00 -.364D+01 0.5-100")
    array([ 4.40e-001, -3.64e+000,  5.00e-101])
    """
    if b"*" in text:
        raise FortranNumberError("a number overflowed its columns and was printed as stars")
    text = text.translate(bytes.maketrans(b"Dd", b"EE"))
    try:
        values = _free_format(text)
    except FortranNumberError:
        # A number such as `0.5-100`: give these back their E.
        values = _free_format(_BARE_EXPONENTS.sub(rb"\1E\2", text))
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


def _first_bad_word(text: bytes) -> str:
    for word in text.split():
        try:
            float(word)
        except ValueError:
            return repr(one_line(word.decode("ascii", "replace"), 24))
    return "something"


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
