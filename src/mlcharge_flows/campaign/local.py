"""A campaign on one machine: a pool of processes over materials, all results in one folder.

Each material runs its flow through jobflow in ``FOLDER/<material>/`` and writes
``comparison.json`` there when it is finished. After a kill of any kind, a second run with the same
settings runs the materials that are not finished. Arms that a finished material lacks are added;
finished arms are kept and not run again.
"""

from __future__ import annotations

import fcntl
import os
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TYPE_CHECKING

from mlcharge_flows.campaign.material_folder import RESULT, MaterialFolder
from mlcharge_flows.campaign.request import CampaignRequest
from mlcharge_flows.campaign.worker import (
    failed_comparison,
    follow_parent,
    run_material,
    stop_workers,
)
from mlcharge_flows.errors import MlchargeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from mlcharge_flows.atomate2.flows.material import MaterialFlowMaker
    from mlcharge_flows.scf.comparison import Comparison
    from mlcharge_flows.structures import Material

MAX_WORKER_CRASHES = 2
"""Worker crashes after which the material that was running has failed."""

LOCK = ".lock"


class FolderError(MlchargeError, RuntimeError):
    """The campaign folder cannot be used; the message is one line."""


def is_campaign_folder(folder: Path) -> bool:
    """Whether a campaign runs, or ran, in a folder of this machine.

    Parameters
    ----------
    folder
        Any path.

    Returns
    -------
    bool
        True if it holds the lock file of a campaign.
    """
    return (folder / LOCK).exists()


def finished_materials(
    materials: Sequence[Material], maker: MaterialFlowMaker, folder: Path
) -> dict[str, Comparison]:
    """Comparisons in a folder that are the complete results of these materials under a Maker.

    Parameters
    ----------
    materials
        What is to be run.
    maker
        Flow of one material.
    folder
        Campaign folder.

    Returns
    -------
    dict of str to Comparison
        By identifier. They may hold further arms. Results of another protocol, other models, or
        another structure of the same name do not count.
    """
    request = CampaignRequest.from_maker(maker)
    finished = {}
    for material in materials:
        place = MaterialFolder(folder / material.id)
        comparison = place.read_result()
        if (
            comparison is not None
            and request.is_complete(comparison)
            and place.conflict(request, material.structure) is None
        ):
            finished[material.id] = comparison
    return finished


def remove_failed(materials: Sequence[Material], maker: MaterialFlowMaker, folder: Path) -> None:
    """Remove the results of materials whose first arm does not count, so that they run again.

    Parameters
    ----------
    materials
        What is to be run.
    maker
        Flow of one material.
    folder
        Campaign folder.
    """
    for name, comparison in finished_materials(materials, maker, folder).items():
        if comparison.arms[maker.arms[0]].exclusion_reason is not None:
            (folder / name / RESULT).unlink()


def read_results(folder: Path) -> list[Comparison]:
    """Read every comparison in a campaign folder.

    Parameters
    ----------
    folder
        Campaign folder.

    Returns
    -------
    list of Comparison
        By name of the material.
    """
    places = (MaterialFolder(path.parent) for path in sorted(folder.glob(f"*/{RESULT}")))
    found = (place.read_result() for place in places)
    return [comparison for comparison in found if comparison is not None]


def run_locally(
    materials: Sequence[Material],
    maker: MaterialFlowMaker,
    folder: Path,
    workers: int = 1,
    on_result: Callable[[Comparison], None] = lambda comparison: None,
    on_begin: Callable[[], None] = lambda: None,
) -> list[Comparison]:
    """Run the flow of each material that is not finished, several at a time.

    Of a material that is finished with some of the arms, only the others run. What fails is a
    comparison with failures. On Ctrl-C the running materials are stopped with all their processes;
    finished materials stay.

    Parameters
    ----------
    materials
        What to run.
    maker
        Flow of one material.
    folder
        Campaign folder; made if it does not exist.
    workers
        Number of processes.
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
    with _locked(folder):
        finished = finished_materials(materials, maker, folder)
        pending = {material.id: material for material in materials if material.id not in finished}
        request = CampaignRequest.from_maker(maker)
        places = {name: MaterialFolder(folder / name) for name in pending}
        for name, material in pending.items():
            _check(places[name], material, request)
        for place in places.values():
            place.remove_unfinished()
        on_begin()

        def finish(comparison: Comparison) -> None:
            name = comparison.material_id
            del pending[name]
            places[name].write_result(comparison)
            finished[name] = comparison
            on_result(comparison)

        crashes = dict.fromkeys(pending, 0)
        while pending:
            try:
                for comparison in _pool(list(pending.values()), maker, folder, workers):
                    finish(comparison)
            except BrokenProcessPool:
                # A worker was killed (by hand, or for its memory). What ran then is run again, but
                # not for ever: it may be what kills the workers.
                for name, material in list(pending.items()):
                    if not places[name].is_unfinished():
                        continue
                    crashes[name] += 1
                    if crashes[name] < MAX_WORKER_CRASHES:
                        places[name].remove_unfinished()
                        continue
                    cause, before = "its worker process was killed", places[name].read_result()
                    finish(failed_comparison(material, maker, cause, before))
    return [finished[material.id] for material in materials]


def usable_cpus() -> int:
    """Count the CPUs that this process may use.

    Returns
    -------
    int
        At least one.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _pool(
    materials: list[Material], maker: MaterialFlowMaker, folder: Path, workers: int
) -> Iterator[Comparison]:
    """Comparisons as they finish; when this ends early, all processes below are stopped."""
    pool = ProcessPoolExecutor(
        max_workers=max(1, min(workers, len(materials))),
        mp_context=get_context("spawn"),
        initializer=follow_parent,
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
def _locked(folder: Path) -> Iterator[None]:
    """Lock the folder, so that two campaigns never remove each other's runs."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("w")
    except OSError as error:
        raise FolderError(f"{folder}: cannot be written ({error.strerror})") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderError(f"{folder}: another mlcharge is running in it") from None
        yield


def _check(place: MaterialFolder, material: Material, request: CampaignRequest) -> None:
    """Refuse folders that are not of a campaign, and results of something else."""
    if place.is_foreign():
        raise FolderError(f"{place.path}: exists and is not of a campaign; choose another --out")
    if conflict := place.conflict(request, material.structure):
        raise FolderError(f"{place.path}: {conflict}; choose another --out, or remove it")
