"""Numbers as Fortran prints and reads them.

In E format the mantissa lies between 0.1 and 1. Where a field is narrow, the zero before the point
gives way to a minus sign; an exponent of three digits takes the place of the letter E:
``0.44062142953E+00``, ``-.36466499731E+01``, ``0.50000000000-100``. A number that does not fit its
field is printed as stars. Every number written here is the correctly rounded one, with the sign of
a negative zero, and every number read is the double nearest to its text.

References
----------
ISO/IEC 1539-1:2018 (Fortran 2018), sections 13.7.2.3.3 (E editing) and 13.10 (list-directed input).
"""

from __future__ import annotations

import re
import warnings
from math import copysign, isfinite, isnan, nan

import numpy as np

from mlcharge_flows.errors import MlchargeError, one_line

# A formatted real has a point and, in E format, exactly two exponent digits or three without the
# letter: only so can ``-0.28645E+03104832`` be told apart into -286.45 and 104832.
REAL = r"(?:[-+]?\d*\.\d*(?:[EeDd][-+]\d\d|[-+]\d\d\d)?|\*+|[-+]?(?:NaN|Inf(?:inity)?))"
"""Pattern of a real in a column of a formatted line, where fields may touch."""

_INTEGER = re.compile(r"[-+]?\d+")
_WORD = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[EeDdQq][-+]?\d+|[-+]\d+)?")
_LOGICAL = re.compile(r"\.?([TtFf])[A-Za-z]*\.?")
_EXPONENT_LETTERS = str.maketrans("DdQq", "EEEE")
_BARE_EXPONENT = re.compile(r"(?<=[\d.])([-+]\d+)$")
_BARE_EXPONENTS = re.compile(rb"(\d)([+-]\d{3})(?!\d)")


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
