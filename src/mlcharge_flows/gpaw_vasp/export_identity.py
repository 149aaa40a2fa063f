"""Which PAW data set of GPAW an export is, and whether its text is as it was written.

gpaw-vasp takes potentials and partial waves from GPAW's data set, which the POTCAR only names. So
that a POTCAR never says something else than what is computed, an export carries its own SHA-256
(as VASP's data sets do), the version of ``gpaw-data`` and the MD5 of GPAW's file.

References
----------
VASP wiki, https://www.vasp.at/wiki/index.php/POTCAR.
"""

from __future__ import annotations

import re
from hashlib import md5, sha256
from importlib.metadata import version

from mlcharge_flows.errors import one_line
from mlcharge_flows.gpaw_vasp.errors import UnsupportedInputError

_WRITE = "write a library with 'gpaw-vasp potcar DIR' and set PMG_VASP_PSP_DIR to it"
_WRITE_ANEW = "write the library anew with 'gpaw-vasp potcar DIR'"

_ABOVE = " parameters from PSCTR are:\n"
_SEAL = re.compile(r"^ +SHA256 = ([0-9a-f]{64}) [A-Z][a-z]?/POTCAR of GPAW\n", re.MULTILINE)


def titel(symbol: str) -> str:
    """Name the exported data set of an element.

    Parameters
    ----------
    symbol
        Element.

    Returns
    -------
    str
        TITEL, which says PBE, and GPAW.
    """
    return f"PAW_PBE {symbol} GPAW-{version('gpaw-data')}"


def origin(symbol: str) -> str:
    """Name the file of GPAW that an export is made of.

    Parameters
    ----------
    symbol
        Element.

    Returns
    -------
    str
        Text of COPYR, with the MD5 of the file.

    Raises
    ------
    FileNotFoundError
        If there is no PBE data set of the element.
    """
    from gpaw.setup_data import search_for_file

    _, content = search_for_file(f"{symbol}.PBE")
    fingerprint = md5(content, usedforsecurity=False).hexdigest()
    return (
        f"GPAW data set {symbol}.PBE of gpaw-data {version('gpaw-data')}, fingerprint "
        f"{fingerprint}; not a VASP POTCAR"
    )


def without_seal(text: str) -> str:
    """Take away the line with the SHA-256 of an export, which earlier ones lack.

    Parameters
    ----------
    text
        Any POTCAR.

    Returns
    -------
    str
        The text that is hashed; POTCARs of VASP come back unchanged.
    """
    return _SEAL.sub("", text, count=1)


def sealed(text: str, symbol: str) -> str:
    """Add the line with its SHA-256 to an export.

    Parameters
    ----------
    text
        One data set.
    symbol
        Its element.

    Returns
    -------
    str
        The text with one line more, where VASP's data sets have it.
    """
    above, mark, below = text.partition(_ABOVE)
    return f"{above}{mark}   SHA256 = {_digest(text)} {symbol}/POTCAR of GPAW\n{below}"


def check_export(text: str, symbol: str) -> None:
    """Refuse a data set that is not the export of GPAW's present data set, to the letter.

    Parameters
    ----------
    text
        One data set of a POTCAR.
    symbol
        Element that the data set is read as.

    Raises
    ------
    UnsupportedInputError
        The titles name another data set, the text was changed, or it was written by an earlier
        version or from another file of GPAW.
    """
    lines = text.strip().splitlines()
    titles = [lines[0].strip(), *re.findall(r"^ *TITEL *= *(.*?) *$", text, re.MULTILINE)]
    for title in titles:
        if title != titel(symbol):
            raise UnsupportedInputError(
                f"POTCAR: {one_line(title, 60)!r} is not GPAW's installed data set of {symbol}, "
                f"{titel(symbol)!r}: {_WRITE}"
            )
    seal = _SEAL.search(text)
    if seal is None:
        raise UnsupportedInputError(
            f"POTCAR: {titel(symbol)} was written by an earlier gpaw-vasp and has no SHA-256: "
            f"{_WRITE_ANEW}"
        )
    if _digest(text) != seal[1]:
        raise UnsupportedInputError(
            f"POTCAR: {titel(symbol)} was changed after gpaw-vasp had written it, its SHA-256 is "
            f"another: {_WRITE_ANEW}"
        )
    if f"   COPYR  = {origin(symbol)}\n" not in text:
        raise UnsupportedInputError(
            f"POTCAR: {titel(symbol)} was made from another file than the one that GPAW finds now: "
            f"{_WRITE_ANEW}"
        )


def _digest(text: str) -> str:
    """SHA-256 of a data set, with or without its last line and the blanks around it."""
    bare = without_seal(text).strip().removesuffix("End of Dataset").rstrip()
    return sha256(bare.encode()).hexdigest()
