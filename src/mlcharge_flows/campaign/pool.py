"""A pool of worker processes that knows which material each worker runs.

When a worker is killed, its own material alone is affected: the other workers go on. The pools of
the standard library break as a whole and do not tell which of their tasks was the cause.
"""

from __future__ import annotations

import pickle
from contextlib import suppress
from multiprocessing import connection, get_context
from typing import TYPE_CHECKING, Any, NamedTuple

from mlcharge_flows.atomate2.run_processes import end_processes
from mlcharge_flows.campaign.worker import follow_parent, stop_workers

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess
    from pathlib import Path

    from mlcharge_flows.atomate2.flows.material import MaterialFlowMaker
    from mlcharge_flows.scf.comparison import Comparison
    from mlcharge_flows.structures import Material

    Run = Callable[[Material, MaterialFlowMaker, Path], Comparison]

START_METHOD = "spawn"
"""How a worker process is started: not as a copy of one that has threads."""


class Ended(NamedTuple):
    """A material whose run in a worker has ended.

    Parameters
    ----------
    material
        The material.
    comparison
        Its result; None if the worker process was killed.
    """

    material: Material
    comparison: Comparison | None


class _Worker:
    """A process that runs one material after another."""

    def __init__(self, run: Run, maker: MaterialFlowMaker, folder: Path) -> None:
        context: Any = get_context(START_METHOD)
        self.connection, other = context.Pipe()
        self.process: BaseProcess = context.Process(
            target=_serve, args=(other, run, maker, folder), daemon=False
        )
        self.process.start()
        other.close()
        self.material: Material | None = None

    def begin(self, material: Material) -> None:
        self.material = material
        with suppress(OSError):  # it is dead already: its end is found by whoever waits for it
            self.connection.send(material)

    def result(self) -> Ended:
        """Result of the material that it ran; None for one that is dead."""
        assert self.material is not None
        material, self.material = self.material, None
        try:
            comparison = self.connection.recv()
        except (EOFError, OSError, pickle.UnpicklingError):
            return Ended(material, None)
        return Ended(material, comparison)

    def end(self) -> None:
        """Let an idle worker end by itself; one that is killed is waited for."""
        with suppress(OSError):
            self.connection.send(None)
        self.connection.close()
        self.process.join()


def run_in_workers(
    materials: deque[Material],
    run: Run,
    maker: MaterialFlowMaker,
    folder: Path,
    workers: int,
) -> Iterator[Ended]:
    """Run materials in worker processes, in order, and give each as it ends.

    The executable of a killed worker is ended before its material is given. When this generator
    ends early, all worker processes are killed with all their descendants.

    Parameters
    ----------
    materials
        What to run; whoever iterates may append a material that is to run again.
    run
        Runs a material in its folder.
    maker
        Flow of one material.
    folder
        Campaign folder.
    workers
        Number of processes.

    Yields
    ------
    Ended
        A material with its result.
    """
    idle: list[_Worker] = []
    busy: list[_Worker] = []
    try:
        while materials or busy:
            while materials and len(busy) < max(1, workers):
                worker = idle.pop() if idle else _Worker(run, maker, folder)
                worker.begin(materials.popleft())
                busy.append(worker)
            ready = set(connection.wait([worker.connection for worker in busy]))
            for worker in [worker for worker in busy if worker.connection in ready]:
                busy.remove(worker)
                ended = worker.result()
                if ended.comparison is None:
                    worker.end()
                    end_processes(folder / ended.material.id)
                else:
                    idle.append(worker)
                yield ended
        for worker in idle:
            worker.end()
    finally:
        stop_workers()


def _serve(link: Connection, run: Run, maker: MaterialFlowMaker, folder: Path) -> None:
    """Work of a worker process: run what it is sent until it is sent nothing."""
    follow_parent()
    with suppress(EOFError):
        while (material := link.recv()) is not None:
            link.send(run(material, maker, folder / material.id))
