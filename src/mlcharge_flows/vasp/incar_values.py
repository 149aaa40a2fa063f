"""Values of INCAR tags, by type, and lines that seem to be a tag and a value without ``=``.

References
----------
VASP wiki, INCAR: text that does not fit the format ``tag = values`` is ignored.
"""

from __future__ import annotations

import re
from math import isfinite
from typing import TYPE_CHECKING, Any

from pymatgen.io.vasp.inputs import Incar

from mlcharge_flows.errors import one_line
from mlcharge_flows.vasp.fortran import FortranNumberError, parse_integer, parse_logical, parse_real

if TYPE_CHECKING:
    from collections.abc import Callable, Container

# pymatgen's table of types, and where VASP reads another type.
_TYPES: dict[str, str] = {
    **{tag: str(entry["type"]) for tag, entry in Incar.INCAR_PARAMS.items()},
    **dict.fromkeys(("ENCUTLF", "ENMAX", "HFSCREENC", "SPRING"), "float"),
    **dict.fromkeys(("POMASS", "STM", "ZVAL"), "list"),
    **dict.fromkeys(("LCHARGH5", "LFOCKAE", "LH5", "LWAVEH5"), "bool"),
}
_BY_ELEMENT = ("MAGMOM", "LDAUL", "LDAUU", "LDAUJ")
"""Tags that pymatgen's input sets take by element."""
_AS_GIVEN = frozenset({"ML_MODE", "SYSTEM", "WANNIER90_WIN"})

# Words that a line with a tag and without '=' may have as its value, beside pymatgen's table.
_OTHER_WORDS = {
    "ALGO": "N F V A C D E",  # VASP looks at the first letter
    "PREC": "N A S M L H SINGLEN",
    "PRECFOCK": "N A F M L",
    "METAGGA": "LIBXC OFR2 R2SCAN R2SCANL RSCAN SCANL LAK",
    "LREAL": "T F",
}
_WORDS: dict[str, set[str]] = {
    tag: {str(word).upper() for word in entry["values"]}.union(_OTHER_WORDS.get(tag, "").split())
    for tag, entry in Incar.INCAR_PARAMS.items()
    if "values" in entry
}

_MAX_REPEATED = 10_000_000
"""Numbers that repeat counts may ask for; more is a typing error."""

_REPEATED = re.compile(r"((?:[0-9]+\*)+)(.+)")
_TAG_AND_REST = re.compile(r"(\w*)[^\w.]*(.*)", re.ASCII | re.DOTALL)


def tag_value(tag: str, text: str) -> bool | int | float | str | list[bool | int | float] | None:
    """Read what is behind the equals sign of a tag.

    Parameters
    ----------
    tag
        In capitals.
    text
        Without blanks around it.

    Returns
    -------
    bool, int, float, str, list or None
        Of the tag's type; None where a string is blank.

    Raises
    ------
    FortranNumberError
        The text is not of the tag's type.
    """
    kind = _TYPES.get(tag, "")
    if tag in _AS_GIVEN or kind == "str":
        return (text if tag in _AS_GIVEN else text.capitalize()) or None
    words = text.split()
    first = words[0] if words else ""
    match kind:
        case "int":
            return parse_integer(first)
        case "float":
            return parse_real(first)
        case "bool":
            return parse_logical(first)
        case "bool | str":  # LREAL, which is .FALSE., On or Auto
            known = _first_that_reads(first, parse_logical)
            return first.capitalize() or None if known is None else known
        case "list":
            if not words:
                raise FortranNumberError("is not a list of numbers")
            return [item for word in words for item in _repeated(word)]
    if len(words) == 1:
        known = _first_that_reads(first, parse_integer, parse_real, _spelled_logical)
        return first.capitalize() if known is None else known
    return text.capitalize() or None


def setting_value(tag: str, value: Any) -> Any:
    """Check a tag that is set from outside of an INCAR, such as in a YAML file.

    Parameters
    ----------
    tag
        In capitals.
    value
        Number, logical, text, list, None, or a dict by element where pymatgen's sets take one.

    Returns
    -------
    object
        The value; of a text, what VASP reads in it: YAML takes 1e-6 for a text.

    Raises
    ------
    FortranNumberError
        The value is not of the type of the tag.

    Examples
    --------
    >>> setting_value("EDIFF", "1e-6"), setting_value("MAGMOM", {"Fe": 5})
    (1e-06, {'Fe': 5})
    >>> setting_value("ENCUT", "high")
    Traceback (most recent call last):
    mlcharge_flows.vasp.fortran.FortranNumberError: ENCUT = high is not a number
    """
    if value is None:
        return None
    if tag in _BY_ELEMENT or isinstance(value, dict):
        if tag not in _BY_ELEMENT or not _are_numbers(value):
            raise FortranNumberError(
                f"{tag}: values by element, such as {{Fe: 5}}, are those of "
                f"{', '.join(_BY_ELEMENT)}, and numbers"
            )
        return value
    if isinstance(value, str) and not value.isprintable():
        raise FortranNumberError(f"{tag}: {one_line(value, 40)!r} is not one line")
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    try:
        read = tag_value(tag, text.strip())
    except FortranNumberError as error:
        raise FortranNumberError(f"{tag} = {one_line(value, 40)} {error}") from None
    return read if isinstance(value, str) and not isinstance(read, str) else value


def _are_numbers(value: Any) -> bool:
    """Whether a dict by element holds numbers, or dicts of them by anion as for LDAUU."""
    return isinstance(value, dict) and all(
        isfinite(own) if isinstance(own, int | float) else _are_numbers(own)
        for own in value.values()
    )


def missing_in_free_text(line: str, given: Container[str]) -> str | None:
    """Tell what a line without an equals sign lacks to be a statement.

    Parameters
    ----------
    line
        Free text, without blanks around it.
    given
        Tags that have a value elsewhere.

    Returns
    -------
    str or None
        None for headings and remarks; words that go on behind the line where it is a tag with a
        value of its type, a tag that is given nowhere else, or nothing but numbers.

    Examples
    --------
    >>> missing_in_free_text("ENCUT: 500", given=())
    "lacks '=' behind ENCUT"
    >>> missing_in_free_text("charge output:", given=())
    """
    words = line.split()
    if all(_first_that_reads(word, _repeated_number) is not None for word in words):
        return "belongs to no tag: a backslash at the end of a line joins the next to it"
    match = _TAG_AND_REST.match(line)
    tag, words = (match[1].upper(), match[2].split()) if match else ("", [])
    if tag not in _TYPES or tag == "SYSTEM":
        return None
    if not words:
        return None if tag in given else f"lacks '=' and a value behind {tag}"
    first = words[0].strip(".,").upper()
    if "str" in _TYPES[tag]:
        complete = len(words) == 1 and first in _WORDS.get(tag, set())
    else:
        complete = _first_that_reads(first, _repeated_number, _spelled_logical) is not None
    return f"lacks '=' behind {tag}" if complete else None


def _repeated(word: str) -> list[bool | int | float]:
    """Items of one word of a list, such as ``0.6``, ``2*5.0`` or ``3*2*0``."""
    counts = 1
    if match := _REPEATED.fullmatch(word):
        for count in match[1].split("*")[:-1]:
            counts *= parse_integer(count)
        word = match[2]
    if counts > _MAX_REPEATED:
        raise FortranNumberError("repeats a number too often")
    item = _first_that_reads(word, parse_integer, parse_real, _spelled_logical)
    if item is None:
        raise FortranNumberError(f"is not a list of numbers: {one_line(word, 24)!r}")
    return [item] * counts


def _repeated_number(word: str) -> float:
    """Number behind a repeat count, if there is one."""
    match = _REPEATED.fullmatch(word)
    return parse_real(match[2] if match else word)


def _spelled_logical(word: str) -> bool:
    """Logical where a word might be text as well: no other word that begins with T or F."""
    if word.strip(".").upper() not in ("T", "F", "TRUE", "FALSE"):
        raise FortranNumberError("is not a logical")
    return parse_logical(word)


def _first_that_reads(
    word: str, *readers: Callable[[str], bool | int | float]
) -> bool | int | float | None:
    for reader in readers:
        try:
            return reader(word)
        except FortranNumberError:
            continue
    return None
