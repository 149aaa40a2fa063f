r"""Text of VASP's input files: whatever people store, or only what a Fortran program reads.

VASP opens plain files under their exact names and reads bytes: an archive, UTF-16 or lines that end
with carriage returns alone are no input for it. Programs around VASP may read all of these.
"""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mlcharge_flows.errors import MlchargeError
from mlcharge_flows.io import MAX_BYTES, UnreadableFileError, compression, decode_text, read_bytes

if TYPE_CHECKING:
    import os

CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
"""Characters that no text has; tabs and line ends are not among them."""

BYTE_ORDER_MARK = "\ufeff"
"""What UTF-8 files of Windows begin with: part of the first word for Fortran."""

_CONTROL_BYTE = re.compile(CONTROL.pattern.encode("latin-1"))
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
_LONE_RETURN = re.compile(rb"\r(?!\n)")
_FOREIGN_BLANK = re.compile(r"[^\S\x00-\x7f]")


class NotPlainTextError(MlchargeError, ValueError):
    """A file that Fortran does not read as text; one line that says what it is."""


def read_content(path: str | os.PathLike[str], *, plain: bool = False) -> bytes:
    """Read the bytes of an input file.

    Parameters
    ----------
    path
        The file.
    plain
        Whether only what Fortran reads as text is accepted. By default archives are unpacked, and
        every byte is accepted.

    Returns
    -------
    bytes
        Unpacked content.

    Raises
    ------
    NotPlainTextError
        With `plain`, if the file is an archive, has characters of two or four bytes or control
        characters, or lines that end with carriage returns alone.
    UnreadableFileError
        The file is too large, or an archive is damaged.
    OSError
        The file cannot be read.
    """
    if not plain:
        return read_bytes(path)
    if form := compression(path):
        raise NotPlainTextError(f"is a {form} archive, VASP reads plain files only: unpack it")
    with Path(path).open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise UnreadableFileError(f"is larger than {MAX_BYTES >> 20} MiB, the limit")
    if content.startswith(_WIDE):
        raise NotPlainTextError("is encoded in UTF-16 or UTF-32: save it as UTF-8 or ASCII")
    if match := _CONTROL_BYTE.search(content):
        raise NotPlainTextError(f"is no text, byte {match.start() + 1} is {match[0][0]:#04x}")
    if match := _LONE_RETURN.search(content):
        line = content.count(b"\n", 0, match.start()) + 1
        raise NotPlainTextError(
            f"line {line} holds a carriage return, which ends no line: save it with Unix line ends"
        )
    return content


def read_text(path: str | os.PathLike[str], *, plain: bool = False) -> str:
    """Read the text of an input file in UTF-8 or Latin-1.

    Parameters
    ----------
    path
        The file.
    plain
        Whether only what Fortran reads as text is accepted. A byte-order mark then stays where it
        is, and a blank that is not ASCII becomes a sign that separates no words.

    Returns
    -------
    str
        Its text; without `plain`, also from archives and from UTF-16 and UTF-32 with their marks.

    Raises
    ------
    NotPlainTextError
        With `plain`, if Fortran does not read the file as text.
    UnreadableFileError
        The file is too large, or an archive is damaged.
    OSError
        The file cannot be read.
    """
    content = read_content(path, plain=plain)
    if not plain:
        return decode_text(content)
    mark = BYTE_ORDER_MARK if content.startswith(codecs.BOM_UTF8) else ""
    return mark + _FOREIGN_BLANK.sub("\ufffd", decode_text(content))


def split_lines(text: str) -> list[str]:
    r"""Split a text where editors do, and not at the rarer separators that Unicode has.

    Parameters
    ----------
    text
        With line feeds, carriage returns or both.

    Returns
    -------
    list of str
        Lines without their ends.

    Examples
    --------
    >>> split_lines("one\r\ntwo\x85 still two\nthree\n")
    ['one', 'two\x85 still two', 'three']
    """
    lines = re.split(r"\r\n?|\n", text)
    return lines if lines[-1] else lines[:-1]
