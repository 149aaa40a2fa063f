"""Numbers as Fortran's E edit descriptor prints them: mantissa between 0.1 and 1."""

from __future__ import annotations

from math import isfinite


def exponential(value: float, width: int, digits: int) -> str:
    """One number in the layout of Fortran's ``E<width>.<digits>``.

    The zero before the point is dropped where the width asks for it, and the letter E where the
    exponent has three digits; a number that does not fit becomes a row of stars.

    Parameters
    ----------
    value
        The number.
    width, digits
        Columns, and digits of the mantissa.

    Examples
    --------
    >>> from mlcharge_flows.gpaw_vasp.fortran_format import exponential
    >>> exponential(-10.841697426, 14, 8), exponential(0.373, 13, 3)
    ('-.10841697E+02', '    0.373E+00')
    >>> exponential(5e-101, 8, 1)
    ' 0.5-100'
    """
    if not isfinite(value):
        return ("NaN" if value != value else f"{value:+}".title()).rjust(width)
    mantissa, _, exponent = f"{abs(value):.{digits - 1}e}".partition("e")
    power = int(exponent) + 1 if value else 0
    number = (
        "." + mantissa.replace(".", "") + (f"E{power:+03d}" if abs(power) < 100 else f"{power:+d}")
    )
    sign = "-" if value < 0 else ""
    zero = "0" if len(sign) + len(number) < width else ""
    text = (sign + zero + number).rjust(width)
    return text if len(text) == width else "*" * width
