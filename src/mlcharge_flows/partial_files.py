"""Names of files that are being written, and what killed processes left of them."""

from __future__ import annotations

import os
import shutil
import socket
import zlib
from contextlib import suppress
from pathlib import Path
from time import time

_HOST = f"{zlib.crc32(socket.gethostname().encode()):08x}"
_ABANDONED = 86_400.0
"""Age in seconds from which on a file of another machine is no longer written."""


def new_partial(path: str | Path) -> Path:
    """Name the place where a file is written, and remove what killed processes left of it.

    Parameters
    ----------
    path
        The file, or the folder that is filled.

    Returns
    -------
    Path
        Hidden, in the same folder, and of this process alone; nothing is there yet.
    """
    path = Path(path)
    key = f"{zlib.crc32(path.name.encode()):08x}"
    for partial in path.parent.glob(f".*-{key}.partial"):
        with suppress(OSError):
            if _is_left(partial):
                shutil.rmtree(partial) if partial.is_dir() else partial.unlink()
    # No name inside: whoever searches a folder for CHGCAR* must not find a part of one.
    return path.with_name(f".{_HOST}-{os.getpid()}-{key}.partial")


def is_hidden(path: Path, root: Path) -> bool:
    """Whether a path is in a hidden folder, as what killed campaigns left of runs.

    Parameters
    ----------
    path
        Within `root`.
    root
        Folder that is searched; it may be hidden itself.

    Returns
    -------
    bool
        True if a part of the path below the folder begins with a dot.

    Examples
    --------
    >>> is_hidden(Path("out/.removed-1/Si"), Path("out")), is_hidden(Path(".a/Si"), Path(".a"))
    (True, False)
    """
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def _is_left(partial: Path) -> bool:
    """Whether the process that wrote it is gone; that of another machine after a day."""
    host, pid, *_ = partial.name.removeprefix(".").split("-")
    if host != _HOST or not pid.isdigit():
        return time() - partial.stat().st_mtime > _ABANDONED
    try:
        os.kill(int(pid), 0)  # sends nothing
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # it is of another user
        return False
    return False
