"""Numbers as Fortran prints them."""

from __future__ import annotations

import re
from math import nan

# A formatted real has a point and, in E format, exactly two exponent digits or three without the
# letter: only so can ``-0.28645E+03104832`` be told apart into -286.45 and 104832.
REAL = r"(?:[-+]?\d*\.\d*(?:[EeDd][-+]\d\d|[-+]\d\d\d)?|\*+|[-+]?(?:NaN|Inf(?:inity)?))"
"""Pattern of a formatted real; a field that overflowed is a run of stars."""

_BARE_EXPONENT = re.compile(r"(?<=[\d.])([-+]\d\d\d)$")


def real(text: str) -> float:
    """Value of a formatted Fortran real; nan where the field overflowed.

    Parameters
    ----------
    text
        One number, as matched by :data:`REAL`.

    Examples
    --------
    >>> from mlcharge_flows.vasp.fortran import real
    >>> real("-.10846877E+02"), real("0.5-100"), real("1.0D+01")
    (-10.846877, 5e-101, 10.0)
    >>> real("******")
    nan
    """
    text = text.strip()
    if text.startswith("*"):
        return nan
    return float(_BARE_EXPONENT.sub(r"E\1", text.replace("D", "E").replace("d", "e")))
