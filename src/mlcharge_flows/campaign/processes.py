"""Worker processes that never outlive the campaign, nor their own VASP."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from multiprocessing import active_children, connection, parent_process

import psutil


def join_parent() -> None:
    """Tie this worker to its parent: Ctrl-C is the parent's to handle, its death is ours too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()


def stop_workers() -> None:
    """Kill the workers of this process with all that they started."""
    for worker in active_children():
        if worker.pid is not None:
            _kill_descendants(worker.pid)
            worker.kill()


def _follow_parent() -> None:
    parent = parent_process()
    if parent is None:
        return
    connection.wait([parent.sentinel])
    # Killed without a chance to tell: a run that went on would meet the one that resumes it.
    _kill_descendants(os.getpid())
    os._exit(1)


def _kill_descendants(pid: int) -> None:
    """Kill all that a process started; its signals do not reach VASP in custodian's session."""
    with suppress(psutil.NoSuchProcess):
        for process in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                process.kill()
