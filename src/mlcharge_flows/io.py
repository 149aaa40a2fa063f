"""Files: written atomically, unpacked and hashed.

A file that is written here appears whole: a reader finds the old one or the new one, never a part.
"""

from __future__ import annotations

import bz2
import codecs
import errno
import gzip
import lzma
import os
import zlib
from contextlib import contextmanager, suppress
from hashlib import sha256
from io import BufferedReader, RawIOBase, TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO, cast

from mlcharge_flows.errors import MlchargeError, one_line
from mlcharge_flows.file_kinds import foreign_archive, special_file
from mlcharge_flows.partial_files import new_partial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from io import BufferedIOBase

MAX_BYTES = 2**28
"""Largest input file, unpacked, in bytes: 256 MiB."""

_LONGEST_LINE = 2**24
_FREE_BYTES = 2**28
_LARGEST_RATIO = 200
"""A text archive that unpacks to more than 256 MiB is no more than so many times smaller: numbers
of VASP's files shrink to a half or a tenth."""

UNREADABLE = (OSError, ValueError, EOFError, zlib.error, lzma.LZMAError)
"""What opening, unpacking and parsing a file raises if it cannot be read, is cut or damaged."""

COMPRESSIONS = ("", ".gz", ".bz2", ".xz")
"""Endings of a plain file and of compressed ones."""

_DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError)
_MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz"}
_OPENERS: dict[str, Callable[[Path], BufferedIOBase]] = {
    "gzip": gzip.GzipFile,
    "bzip2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
}


class UnreadableFileError(MlchargeError, OSError):
    """A file that is none, larger than what is read, or an archive that cannot be unpacked."""


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
        A file of the same folder that is gone afterwards, whatever happened; what a killed process
        left of it goes with the next one.

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
    partial = new_partial(path)
    try:
        yield partial
        _to_disk(partial)
        partial.replace(path)
        _to_disk(path.parent)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(partial)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with suppress(OSError):
            partial.unlink()


def atomic_write(path: str | Path, text: str) -> None:
    """Write a text file whole, as :func:`atomic_path` does.

    Parameters
    ----------
    path
        The file to make or to replace.
    text
        Its content.
    """
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


def is_file(path: str | os.PathLike[str]) -> bool:
    """Whether there is a file of this name.

    Parameters
    ----------
    path
        Any text, such as a word of which it is not known whether it is a path.

    Returns
    -------
    bool
        False, too, for what no file can be called, such as a very long word.

    Examples
    --------
    >>> is_file("learned" * 1000)
    False
    """
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def compression(path: str | os.PathLike[str]) -> str | None:
    """Name the format of a compressed file, whatever it is called.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    str or None
        ``gzip``, ``bzip2`` or ``xz``; None for any other file.

    Raises
    ------
    UnreadableFileError
        The archive is of another format, or there is a named pipe, a socket or a device.
    OSError
        The file cannot be opened.
    """
    if reason := special_file(path):
        raise UnreadableFileError(reason)
    with Path(path).open("rb") as file:
        first = file.read(6)
    if form := foreign_archive(first):
        raise UnreadableFileError(f"is a {form} archive; unpack it, or use gzip, bzip2 or xz")
    return next((name for magic, name in _MAGIC.items() if first.startswith(magic)), None)


def plain_or_compressed(path: str | os.PathLike[str]) -> Path:
    """Find a file under its own name, or compressed by gzip, bzip2 or xz.

    Parameters
    ----------
    path
        Its name without the ending of an archive.

    Returns
    -------
    Path
        The first that exists; `path` if none does.
    """
    found = (Path(f"{os.fspath(path)}{end}") for end in COMPRESSIONS)
    return next((file for file in found if file.exists()), Path(path))


@contextmanager
def open_bytes(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for reading, plain or compressed by gzip, bzip2 or xz, whatever it is called.

    Parameters
    ----------
    path
        The file.

    Yields
    ------
    BinaryIO
        Its unpacked content, which is read in pieces.

    Raises
    ------
    OSError
        The file cannot be opened or read.
    UnreadableFileError
        What is read of the archive is damaged or cut.
    """
    try:
        form = compression(path)
    except UnreadableFileError as error:
        raise UnreadableFileError(f"{path}: {error}") from None
    if form is None and Path(path).suffix in COMPRESSIONS[1:] and not Path(path).stat().st_size:
        raise UnreadableFileError(f"{path}: the archive is damaged or cut (it is empty)")
    if form is None:
        with Path(path).open("rb") as plain:
            yield plain
        return
    try:
        with _OPENERS[form](Path(path)) as unpacked:
            yield cast("BinaryIO", unpacked)
    except _DAMAGED as error:
        if isinstance(error, MlchargeError) or getattr(error, "errno", None) is not None:
            raise
        reason = f"{path}: the {form} archive is damaged or cut ({one_line(error)})"
        raise UnreadableFileError(reason) from None


@contextmanager
def open_text(path: str | os.PathLike[str], encoding: str = "utf-8") -> Iterator[TextIO]:
    """Open a text file for reading, plain or compressed by gzip, bzip2 or xz.

    Parameters
    ----------
    path
        The file.
    encoding
        Its encoding; bytes that are not of it are replaced.

    Yields
    ------
    TextIO
        Its unpacked text, which is read in pieces.

    Raises
    ------
    OSError
        The file cannot be opened or read.
    UnreadableFileError
        The archive is damaged, cut, or 200 times smaller than its text; a line exceeds 16 MiB.
    """
    with open_bytes(path) as content:
        bounded = BufferedReader(_Lines(content, Path(path)))
        with TextIOWrapper(bounded, encoding, errors="replace") as text:
            yield text


class _Lines(RawIOBase):
    """Bytes of a text file, up to a line or a size that no text has."""

    def __init__(self, content: BinaryIO, path: Path) -> None:
        self._content, self._path = content, path
        self._most = max(_FREE_BYTES, _LARGEST_RATIO * path.stat().st_size)
        self._n_read = self._n_in_line = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._content.read(len(buffer))
        buffer[: len(data)] = data
        self._n_read += len(data)
        end = data.rfind(b"\n")
        self._n_in_line = len(data) - end - 1 + (0 if end >= 0 else self._n_in_line)
        if self._n_in_line > _LONGEST_LINE:
            raise UnreadableFileError(f"{self._path}: is no text: a line has more than 16 MiB")
        if self._n_read > self._most:
            raise UnreadableFileError(f"{self._path}: unpacks to more than 200 times its size")
        return len(data)


def read_bytes(path: str | os.PathLike[str], limit: int = MAX_BYTES) -> bytes:
    """Read a file, plain or compressed by gzip, bzip2 or xz.

    Parameters
    ----------
    path
        The file.
    limit
        Most bytes of its unpacked content: some kilobytes can stand for billions.

    Returns
    -------
    bytes
        Unpacked content.

    Raises
    ------
    UnreadableFileError
        The file is larger, damaged or cut, or no file.
    """
    form = compression(path)
    with Path(path).open("rb") as file:
        # Of the size that is asked for, a reader reserves all.
        content = file.read(min(limit, os.fstat(file.fileno()).st_size) + 1)
    if form is not None and len(content) <= limit:
        content = _unpacked(content, form, limit)
    if len(content) > limit:
        raise UnreadableFileError(f"is larger than {limit >> 20} MiB, the limit")
    return content


def _unpacked(packed: bytes, form: str, limit: int) -> bytes:
    """Content of joined archives, no more than a byte above the limit."""
    content = bytearray()
    try:
        while packed and len(content) <= limit:
            decompressor: Any
            if form == "gzip":
                decompressor = zlib.decompressobj(wbits=31)
            else:
                decompressor = bz2.BZ2Decompressor() if form == "bzip2" else lzma.LZMADecompressor()
            content += decompressor.decompress(packed, limit + 1 - len(content))
            if not decompressor.eof and len(content) <= limit:
                raise UnreadableFileError(f"the {form} archive is damaged or cut")
            packed = decompressor.unused_data.lstrip(b"\0")
    except UNREADABLE as error:
        if isinstance(error, UnreadableFileError):
            raise
        raise UnreadableFileError(f"the {form} archive is damaged ({one_line(error)})") from None
    return bytes(content)


def decode_text(content: bytes) -> str:
    r"""Decode a text file of unknown origin by its byte-order mark, or as UTF-8 or Latin-1.

    Parameters
    ----------
    content
        Bytes of the file.

    Returns
    -------
    str
        Its text; every byte has a meaning in Latin-1, so that nothing is refused.

    Examples
    --------
    >>> decode_text(b"\xef\xbb\xbfNaCl"), decode_text(b"M\xfcller"), decode_text(b"M\xc3\xbcller")
    ('NaCl', 'Müller', 'Müller')
    """
    encoding = "utf-8-sig"
    if content.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        encoding = "utf-32"
    elif content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        return content.decode("latin-1")


def file_sha256(path: str | Path, unpacked: bool = False) -> str:
    """SHA-256 of a file's content, hexadecimal; the file is read in pieces.

    Parameters
    ----------
    path
        The file.
    unpacked
        Whether the content of a compressed file is hashed instead of the archive.

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    OSError
        The file cannot be read.
    UnreadableFileError
        The archive is damaged or cut.
    """
    digest = sha256()
    path = Path(path)
    with open_bytes(path) if unpacked else path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _to_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk: a power cut may follow."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems without it
            raise
    finally:
        os.close(descriptor)
