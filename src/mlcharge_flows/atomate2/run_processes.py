"""The processes of a run: found by a mark in their environment, and ended with their worker.

Custodian starts the executable in a session of its own, which no signal to the worker reaches: when
a worker is killed (out of memory, the end of a batch job), the executable goes on beside the second
try of its run. So a watcher, a process that outlives the worker, waits for the worker's end and
then ends every process that carries the mark of the run, launchers and ranks on this machine
included.

The file is also the watcher's program: it needs the standard library and psutil alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator

MARK = "MLCHARGE_RUN_FOLDER"
"""Environment variable with the folder that the processes of a run belong to."""

_PATIENCE = 30.0
"""Seconds after which a process that does not end, such as one that waits for a disk, is left."""
_PAUSE = 0.1
"""Seconds between two searches: a process that is just being started carries no mark yet."""

_watched: set[tuple[int, str | None]] = set()
"""Processes of this program, and the folders whose marked processes are watched for each."""


@contextmanager
def run_processes(folder: Path) -> Iterator[None]:
    """Mark all processes that are started here, and end them should this process be killed.

    Parameters
    ----------
    folder
        Folder of the run, or of all runs of a material.

    Yields
    ------
    None
        While the environment carries the mark. Afterwards the environment is as before.
    """
    before, mark = os.environ.get(MARK), str(folder.absolute())
    if (os.getpid(), before) in _watched:
        yield  # one of the runs of a material, which are watched together
        return
    watcher = subprocess.Popen(
        [sys.executable, "-P", __file__, mark],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # what ends a group of processes must not end the watcher first
        cwd="/",
    )
    os.environ[MARK] = mark
    _watched.add((os.getpid(), mark))
    try:
        yield
    finally:
        _watched.discard((os.getpid(), mark))
        if before is None:
            os.environ.pop(MARK, None)
        else:
            os.environ[MARK] = before
        with suppress(OSError):
            watcher.communicate(b"ended\n")


def end_processes(folder: Path, *, of_campaign: bool = False) -> int:
    """Kill every process of this machine that carries the mark of a folder, or of one within it.

    Parameters
    ----------
    folder
        Folder of a run or of a material. The process that calls is spared.
    of_campaign
        Whether it is the folder of a campaign: those of its materials lie in it, and what lies
        deeper may be of another campaign.

    Returns
    -------
    int
        Number of processes.
    """
    found: set[int] = set()
    limit = time.monotonic() + _PATIENCE
    while (marked := _marked(folder.absolute(), of_campaign)) and time.monotonic() < limit:
        for process in marked:
            found.add(process.pid)
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(marked, timeout=5)
        time.sleep(_PAUSE)
    return len(found)


def _marked(folder: Path, of_campaign: bool) -> list[psutil.Process]:
    marked = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):  # of another user, or gone
            mark = process.environ().get(MARK)
            if mark is None or not _is_in(Path(mark), folder, of_campaign):
                continue
            if process.status() != psutil.STATUS_ZOMBIE and process.pid != os.getpid():
                marked.append(process)
    return marked


def _is_in(mark: Path, folder: Path, of_campaign: bool) -> bool:
    return mark.parent == folder if of_campaign else mark.is_relative_to(folder)


def _watch(folder: Path) -> None:
    """Wait for the end of the worker, whose end of the pipe closes with it."""
    if sys.stdin.buffer.readline() != b"ended\n":
        time.sleep(_PAUSE)
        end_processes(folder)


if __name__ == "__main__":
    _watch(Path(sys.argv[1]))
