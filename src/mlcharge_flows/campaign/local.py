"""A campaign on one machine: a pool of processes over materials, its truth in one folder.

Each material runs its flow through jobflow in ``FOLDER/<material>/`` and leaves
``comparison.json`` there, written at once and only when the material is finished. Whatever is
killed, a second start with the same settings runs what is not finished, and only that. Arms that
a finished material lacks are added to it; those that it has are kept, and never run again.
"""

from __future__ import annotations

import fcntl
import os
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TYPE_CHECKING

from mlcharge_flows.campaign.material_folder import (
    RESULT,
    clear,
    has_begun,
    is_foreign,
    keep,
    read_result,
)
from mlcharge_flows.campaign.processes import join_parent, stop_workers
from mlcharge_flows.campaign.request import Asked
from mlcharge_flows.campaign.worker import lost, run_material

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from mlcharge_flows.atomate2.flows.material import MaterialFlowMaker
    from mlcharge_flows.scf.comparison import Comparison
    from mlcharge_flows.structures import Material

LIVES = 2
"""Times that a material may be running while its worker process dies."""


class FolderError(RuntimeError):
    """The campaign folder cannot be used; the message is one line that says why."""


def finished(
    materials: Sequence[Material], maker: MaterialFlowMaker, folder: Path
) -> dict[str, Comparison]:
    """Comparisons in a folder that are the result of these materials under this Maker.

    They may hold further arms. Results of another protocol, other models, or another structure of
    the same name do not count.
    """
    asked = Asked.of(maker)
    found = {}
    for material in materials:
        place = folder / material.id
        comparison = read_result(place)
        if (
            comparison is not None
            and asked.all_in(comparison)
            and asked.obstacle(comparison, place, material.structure) is None
        ):
            found[material.id] = comparison
    return found


def results(folder: Path) -> list[Comparison]:
    """Every comparison in a campaign folder, by name of the material."""
    found = (read_result(path.parent) for path in sorted(folder.glob(f"*/{RESULT}")))
    return [comparison for comparison in found if comparison is not None]


def run_locally(
    materials: Sequence[Material],
    maker: MaterialFlowMaker,
    folder: Path,
    workers: int = 1,
    on_result: Callable[[Comparison], None] = lambda comparison: None,
    on_begin: Callable[[], None] = lambda: None,
) -> list[Comparison]:
    """Compare the starts for each material that is not finished, several at a time.

    Of a material that is finished with some of the arms, only the others run. What fails is a
    comparison with failures. On Ctrl-C the running materials are stopped with all their processes;
    those that are finished stay.

    Parameters
    ----------
    materials
        What to run.
    maker
        Flow of one material.
    folder
        Campaign folder; made if it does not exist.
    workers
        Processes.
    on_result
        Called for each material as it finishes.
    on_begin
        Called once, when the folder has proven usable.

    Returns
    -------
    list of Comparison
        Of all materials, finished now or before, in the order given.

    Raises
    ------
    FolderError
        The folder cannot be written, is in use by another campaign, or holds other files or
        results that are not of these materials, settings and models.
    """
    with _claimed(folder):
        done = finished(materials, maker, folder)
        pending = {material.id: material for material in materials if material.id not in done}
        asked = Asked.of(maker)
        for material in pending.values():
            _check(folder / material.id, material, asked)
        for name in pending:
            clear(folder / name)
        on_begin()
        lives = dict.fromkeys(pending, LIVES)
        while pending:
            try:
                for comparison in _pool(list(pending.values()), maker, folder, workers):
                    del pending[comparison.material_id]
                    keep(folder / comparison.material_id, comparison)
                    done[comparison.material_id] = comparison
                    on_result(comparison)
            except BrokenProcessPool:
                # A worker was killed (by hand, or for its memory). What ran then is run again, but
                # not for ever: it may be what kills the workers.
                for name, material in list(pending.items()):
                    started = has_begun(folder / name)
                    lives[name] -= started
                    if started and lives[name] == 0:
                        before = read_result(folder / name)
                        comparison = lost(material, maker, "its worker process was killed", before)
                        del pending[name]
                        keep(folder / name, comparison)
                        done[name] = comparison
                        on_result(comparison)
                    elif started:
                        clear(folder / name)
    return [done[material.id] for material in materials]


def _pool(
    materials: list[Material], maker: MaterialFlowMaker, folder: Path, workers: int
) -> Iterator[Comparison]:
    """Comparisons as they finish; whatever ends this early ends all processes below."""
    pool = ProcessPoolExecutor(
        max_workers=max(1, min(workers, len(materials))),
        mp_context=get_context("spawn"),
        initializer=join_parent,
    )
    try:
        waiting = {
            pool.submit(run_material, material, maker, folder / material.id)
            for material in materials
        }
        while waiting:
            ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            # Those that finished count, also when another one was killed at the same time.
            for future in sorted(ready, key=lambda future: future.exception() is not None):
                yield future.result()
        pool.shutdown()
    finally:
        stop_workers()
        pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Hold the folder, so that two campaigns never clear each other's runs."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise FolderError(f"{folder}: cannot be written ({error.strerror})") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderError(f"{folder}: another mlcharge is running in it") from None
        yield


def _check(folder: Path, material: Material, asked: Asked) -> None:
    """Refuse what is not a campaign's, and results that are of something else than is asked for."""
    if is_foreign(folder):
        raise FolderError(f"{folder}: exists and is not of a campaign; choose another --out")
    found = read_result(folder)
    if found and (obstacle := asked.obstacle(found, folder, material.structure)):
        raise FolderError(f"{folder}: {obstacle}; choose another --out, or remove it")


def usable_cpus() -> int:
    """CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
