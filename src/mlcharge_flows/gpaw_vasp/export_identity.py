"""Which PAW data set an export is, and whether its text is as it was written.

gpaw-vasp takes potentials and partial waves from GPAW's data set, which the POTCAR only names, or
from a data set of another family, whose file the POTCAR contains. So that a POTCAR never says
something else than what is computed, an export carries its own SHA-256 (as VASP's data sets do)
and that of the file, or the version of ``gpaw-data`` and the MD5 of GPAW's file.

References
----------
VASP wiki, https://www.vasp.at/wiki/index.php/POTCAR.
"""

from __future__ import annotations

import bz2
import re
from base64 import b64decode, b64encode
from hashlib import md5, sha256
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

from mlcharge_flows.errors import one_line
from mlcharge_flows.gpaw_vasp.errors import UnsupportedInputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlcharge_flows.gpaw_vasp.paw_family import PawXml

_WRITE = "write a library with 'gpaw-vasp potcar DIR' and set PMG_VASP_PSP_DIR to it"
_WRITE_ANEW = "write the library anew with 'gpaw-vasp potcar DIR'"

_ABOVE = " parameters from PSCTR are:\n"
_FOREIGN = re.compile(r"PAW_PBE ([A-Z][a-z]?) ([\w.-]+)-[0-9a-f]{8} GPAW")
_CONTAINED = "PAW-XML (bzip2, base64)"
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
        TITEL, which says PBE, and GPAW. Where ``GPAW_SETUP_PATH`` makes GPAW find another file than
        that of ``gpaw-data``, it has the first digits of the file's MD5.

    Raises
    ------
    FileNotFoundError
        If there is no PBE data set of the element.
    """
    path, fingerprint = _found(symbol)
    packaged = path.parent == Path(str(files("gpaw_data"))) / "setups"
    return (
        f"PAW_PBE {symbol} GPAW-{version('gpaw-data')}{'' if packaged else f'-{fingerprint[:8]}'}"
    )


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
    _, fingerprint = _found(symbol)
    return (
        f"GPAW data set {symbol}.PBE of gpaw-data {version('gpaw-data')}, fingerprint "
        f"{fingerprint}; not a VASP POTCAR"
    )


def _found(symbol: str) -> tuple[Path, str]:
    """File that GPAW finds, and its MD5."""
    from gpaw.setup_data import search_for_file

    path, content = search_for_file(f"{symbol}.PBE")
    return Path(path), md5(content, usedforsecurity=False).hexdigest()


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


def contained(paw_xml: PawXml) -> Iterator[str]:
    """Format the section with the file of a data set of another family.

    Parameters
    ----------
    paw_xml
        The data set.

    Yields
    ------
    str
        Lines without their ends: title, number of lines, lines.
    """
    lines = wrap(b64encode(bz2.compress(paw_xml.content)).decode(), 100)
    yield f" {_CONTAINED}"
    yield f"   {len(lines)}"
    yield from (f" {line}" for line in lines)


def check_export(text: str, symbol: str) -> PawXml | None:
    """Refuse a data set that is not, to the letter, an export of a data set that can be computed.

    Parameters
    ----------
    text
        One data set of a POTCAR.
    symbol
        Element that the data set is read as.

    Returns
    -------
    PawXml or None
        The data set of another family that the export contains; None for GPAW's own.

    Raises
    ------
    UnsupportedInputError
        The titles name another data set, the text was changed, or it was written by an earlier
        version or from another file of GPAW.
    """
    lines = text.strip().splitlines()
    titles = [lines[0].strip(), *re.findall(r"^ *TITEL *= *(.*?) *$", text, re.MULTILINE)]
    foreign = _FOREIGN.fullmatch(titles[0])
    paw_xml = None if foreign is None else _contained(lines, symbol, foreign[2])
    title, source = (
        (titel(symbol), origin(symbol)) if paw_xml is None else (paw_xml.titel, paw_xml.origin)
    )
    for other in titles:
        if other != title:
            raise UnsupportedInputError(
                f"POTCAR: {one_line(other, 60)!r} is not GPAW's installed data set of {symbol}, "
                f"{titel(symbol)!r}, nor one of another family with its file: {_WRITE}"
            )
    seal = _SEAL.search(text)
    if seal is None:
        raise UnsupportedInputError(
            f"POTCAR: {title} was written by an earlier gpaw-vasp and has no SHA-256: {_WRITE_ANEW}"
        )
    if _digest(text) != seal[1]:
        raise UnsupportedInputError(
            f"POTCAR: {title} was changed after gpaw-vasp had written it, its SHA-256 is "
            f"another: {_WRITE_ANEW}"
        )
    if f"   COPYR  = {source}\n" not in text:
        raise UnsupportedInputError(
            f"POTCAR: {title} was made from another file than the one that GPAW finds now: "
            f"{_WRITE_ANEW}"
        )
    return paw_xml


def _contained(lines: list[str], symbol: str, label: str) -> PawXml | None:
    """Data set whose file an export contains; None where there is none that can be read."""
    from mlcharge_flows.gpaw_vasp.paw_family import PawXml

    try:
        start = lines.index(f" {_CONTAINED}") + 1
        packed = "".join(line.strip() for line in lines[start + 1 : start + 1 + int(lines[start])])
        return PawXml(symbol, label, bz2.decompress(b64decode(packed, validate=True)))
    except (ValueError, OSError, IndexError):
        return None


def _digest(text: str) -> str:
    """SHA-256 of a data set, with or without its last line and the blanks around it."""
    bare = without_seal(text).strip().removesuffix("End of Dataset").rstrip()
    return sha256(bare.encode()).hexdigest()
