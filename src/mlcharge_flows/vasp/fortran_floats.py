"""Fortran's E format, both ways, number by number.

The mantissa lies between 0.1 and 1. Where a field is narrow, the zero before the point gives way
to a minus sign, and the letter E gives way to a third exponent digit: ``0.44062142953E+00``,
``-.36466499731E+01``, ``0.50000000000-100``. Every number written is the correctly rounded one and
every number read is the double nearest to its text.
"""

from __future__ import annotations

import re
import warnings
from math import isfinite

import numpy as np


class FortranNumberError(ValueError):
    """Text that holds no number, too few or too many of them, or one that is not finite."""


def format_e(value: float, width: int, digits: int) -> str:
    """Write one number as Fortran's ``Ewidth.digits``.

    The obvious and slow way, and the reference for :mod:`mlcharge_flows.vasp.grid_writing`.

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
    tail = f".{mantissa.replace('.', '')}{exponent_text(exponent)}"
    text = f"{sign}0{tail}"
    if len(text) > width:
        text = f"{sign}{tail}"
    return text.rjust(width) if len(text) <= width else "*" * width


def exponent_text(exponent: int) -> str:
    """Write an exponent in Fortran's four columns.

    Parameters
    ----------
    exponent
        Power of ten, of three digits at most.

    Returns
    -------
    str
        ``E-01``, or ``-100`` without the letter.
    """
    return f"E{exponent:+03d}" if abs(exponent) < 100 else f"{exponent:+04d}"


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
