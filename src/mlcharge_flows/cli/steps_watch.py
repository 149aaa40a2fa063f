"""What runs at present: arm and electronic step of the materials that are not finished."""

from __future__ import annotations

import re
from contextlib import contextmanager
from threading import Event, Thread
from time import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

_JOB = re.compile(rb"Starting job - (.+?) \([0-9a-f-]{36}\)")
_STEP = re.compile(rb"^[A-Z]{3}: +(\d+)", re.MULTILINE)
_INTERVAL = 2.0
_MAX_SHOWN = 3


def current_step(folder: Path, since: float = 0.0) -> str | None:
    """Job of a material that runs, and the electronic step that it has reached.

    Parameters
    ----------
    folder
        Folder of the material.
    since
        Time of the clock, s; what was written before is of an earlier command.

    Returns
    -------
    str or None
        Such as ``learned run, step 7``; None if nothing runs in the folder.
    """
    try:
        log = folder / "flow.log"
        if log.stat().st_mtime < since or not (jobs := _JOB.findall(log.read_bytes())):
            return None
        result = folder / "comparison.json"
        if result.exists() and result.stat().st_mtime >= log.stat().st_mtime:
            return None
        job = str(jobs[-1], errors="replace")
        latest = max(folder.glob("job_*"), default=None)
        steps = latest / "OSZICAR" if latest is not None else None
        if steps is None or not steps.is_file():
            return job
        found = _STEP.findall(steps.read_bytes())
    except OSError:  # files of a run come and go
        return None
    return f"{job}, step {int(found[-1])}" if found else job


@contextmanager
def watched(
    folder: Path, running: Callable[[], Sequence[str]], show: Callable[[str], None]
) -> Iterator[None]:
    """Show the current steps every two seconds, from a thread of its own.

    Parameters
    ----------
    folder
        Campaign folder.
    running
        Gives the identifiers of the materials that may run at present: their files are looked at.
    show
        Called with one line of text.

    Yields
    ------
    None
        While the thread runs.
    """
    ended, since = Event(), time()

    def look() -> None:
        while not ended.wait(_INTERVAL):
            steps = ((name, current_step(folder / name, since)) for name in running())
            now = [f"{name}: {step}" for name, step in steps if step]
            more = f" and {len(now) - _MAX_SHOWN} more" if len(now) > _MAX_SHOWN else ""
            show("; ".join(now[:_MAX_SHOWN]) + more)

    thread = Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(2 * _INTERVAL)
