"""Files that appear whole: a reader finds the old one or the new one, never a part."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a place to write to, and put what was written in place if nothing failed.

    Parameters
    ----------
    path
        The file to make or to replace.

    Yields
    ------
    Path
        A file of the same folder that is gone afterwards, whatever happened.

    Raises
    ------
    OSError
        It cannot be written; the error names `path`, since the user knows of no other.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with atomic_path(folder / "INCAR") as partial:
    ...     _ = partial.write_text("ISTART = 0")
    >>> [file.name for file in folder.iterdir()]
    ['INCAR']
    """
    path = Path(path)
    # No name inside: whoever searches a folder for CHGCAR* must not find a part of one.
    partial = path.with_name(f".{os.getpid()}-{crc32(path.name.encode()):08x}.partial")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(partial)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with suppress(OSError):
            partial.unlink()


def atomic_write(path: str | Path, text: str) -> None:
    """Write a text file whole.

    Parameters
    ----------
    path
        The file to make or to replace.
    text
        Its content.

    Raises
    ------
    OSError
        It cannot be written; the error names `path`.
    """
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")
