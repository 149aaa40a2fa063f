"""What is not read: named pipes, sockets, devices, and archives of foreign formats."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

FOREIGN_ARCHIVES = {
    ".Z": "compress",
    ".zst": "Zstandard",
    ".zip": "ZIP",
    ".7z": "7-Zip",
    ".lzma": "LZMA",
    ".lz": "lzip",
    ".lz4": "LZ4",
}
"""Endings of archives that are not unpacked, and what they are called."""

_FOREIGN_MAGIC = {
    b"\x1f\x9d": "compress",
    b"\x28\xb5\x2f\xfd": "Zstandard",
    b"PK\x03\x04": "ZIP",
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
    b"\x5d\x00\x00\x80\x00": "LZMA",
    b"LZIP": "lzip",
    b"\x04\x22\x4d\x18": "LZ4",
}
_SPECIAL: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISFIFO, "a named pipe, no file"),
    (stat.S_ISSOCK, "a socket, no file"),
    (stat.S_ISCHR, "a device, no file"),
    (stat.S_ISBLK, "a device, no file"),
)


def not_a_file(path: str | os.PathLike[str]) -> str | None:
    """Tell why there is nothing to read under a name.

    Parameters
    ----------
    path
        Any text.

    Returns
    -------
    str or None
        What else than a file it is, such as a folder or a named pipe, of which reading may never
        end, or that there is nothing; None if it is a file.

    Examples
    --------
    >>> not_a_file("no-such-file"), not_a_file(".")
    ('there is no such file', 'is a folder; name the file in it')
    """
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError:
        return "there is no such file"
    except (OSError, ValueError) as error:  # such as a name that is too long, or a null byte
        return f"cannot be read ({getattr(error, 'strerror', error)})"
    return "is a folder; name the file in it" if stat.S_ISDIR(mode) else _special(mode)


def special_file(path: str | os.PathLike[str]) -> str | None:
    """Tell whether a name is one of a pipe, a socket or a device, of which reading may never end.

    Parameters
    ----------
    path
        Any text.

    Returns
    -------
    str or None
        What it is; None for files and folders, and where nothing can be read.

    Examples
    --------
    >>> special_file("/dev/null"), special_file(".")
    ('is a device, no file', None)
    """
    try:
        return _special(Path(path).stat().st_mode)
    except (OSError, ValueError):
        return None


def _special(mode: int) -> str | None:
    return next((f"is {name}" for is_of, name in _SPECIAL if is_of(mode)), None)


def foreign_archive(first: bytes) -> str | None:
    r"""Name the format of an archive that is not unpacked.

    Parameters
    ----------
    first
        First bytes of the file.

    Returns
    -------
    str or None
        None for any other file.

    Examples
    --------
    >>> foreign_archive(b"PK\x03\x04..")
    'ZIP'
    """
    found = (name for magic, name in _FOREIGN_MAGIC.items() if first.startswith(magic))
    return next(found, None)
