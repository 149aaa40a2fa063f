"""A campaign on one machine: a pool of processes over materials, all results in one folder.

Each material runs its flow through jobflow in ``FOLDER/<material>/`` and writes
``comparison.json`` there when it is finished. After a kill of any kind, a second run with the same
settings runs the materials that are not finished. Arms that a finished material lacks are added;
finished arms are kept and not run again. Arms that failed by the fault of the machine are run
again, those that failed for physical reasons only where that is asked for.
"""

from __future__ import annotations

import fcntl
import os
from collections import Counter, deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mlcharge_flows.atomate2.execution import installed
from mlcharge_flows.atomate2.run_processes import end_processes
from mlcharge_flows.campaign.material_folder import (
    RESULT,
    MaterialFolder,
    remove_scraps,
)
from mlcharge_flows.campaign.pool import run_in_workers
from mlcharge_flows.campaign.request import CampaignRequest
from mlcharge_flows.campaign.worker import failed_comparison, recover_result, run_material
from mlcharge_flows.errors import MlchargeError
from mlcharge_flows.scf.comparison import execution_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
    materials: Sequence[Material],
    maker: MaterialFlowMaker,
    folder: Path,
    *,
    retry_failed: bool = False,
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
    retry_failed
        Whether results with an arm that does not count are none.

    Returns
    -------
    dict of str to Comparison
        By identifier. They may hold further arms. Results of another protocol, other models, or
        another structure of the same name do not count, nor do arms that failed by the fault of the
        machine.
    """
    requests, finished = CampaignRequest.by_material(maker), {}
    for material in materials:
        place, request = MaterialFolder(folder / material.id), requests(material.id)
        comparison = place.read_result()
        if (
            comparison is not None
            and request.is_complete(comparison)
            and not request.arms_to_retry(comparison, retry_failed)
            and place.conflict(request, material.structure) is None
        ):
            finished[material.id] = comparison
    return finished


def folder_conflicts(
    materials: Sequence[Material], maker: MaterialFlowMaker, folder: Path
) -> dict[str, str]:
    """Tell which materials cannot be run in a folder for what lies in their places.

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
    dict of str to str
        Where and why, by identifier: files that are not of a campaign, and results of other
        settings, checkpoints or structures.
    """
    requests, found = CampaignRequest.by_material(maker), {}
    for material in materials:
        place = MaterialFolder(folder / material.id)
        if conflict := place.conflict(requests(material.id), material.structure):
            found[material.id] = f"{place.path}: {conflict}"
    return found


def read_results(folder: Path) -> list[Comparison]:
    """Read every comparison in a campaign folder.

    Parameters
    ----------
    folder
        Campaign folder.

    Returns
    -------
    list of Comparison
        By name of the material; those that cannot be read, and copies of folders, are left out, see
        :func:`unreadable_results`.
    """
    found = _results_by_folder(folder)
    first = _folders_of_results(found)
    return [result for place, result in found.items() if first[result.material_id] == place]


def unreadable_results(folder: Path) -> list[str]:
    """Tell which results in a campaign folder cannot be read.

    Parameters
    ----------
    folder
        Campaign folder.

    Returns
    -------
    list of str
        One line for each, and for each copy of a folder, whose material would count twice.
    """
    places = (MaterialFolder(path.parent) for path in sorted(folder.glob(f"*/{RESULT}")))
    found = _results_by_folder(folder)
    first = _folders_of_results(found)
    return [issue for place in places if (issue := place.result_issue())] + [
        f"{place}: holds a result of {result.material_id!r}, as {first[result.material_id]} does"
        for place, result in found.items()
        if first[result.material_id] != place
    ]


def _results_by_folder(folder: Path) -> dict[Path, Comparison]:
    places = [path.parent for path in sorted(folder.glob(f"*/{RESULT}"))]
    found = {place: MaterialFolder(place).read_result() for place in places}
    return {place: result for place, result in found.items() if result is not None}


def _folders_of_results(found: Mapping[Path, Comparison]) -> dict[str, Path]:
    """Folder of each material: the one of its name, else the first."""
    places: dict[str, Path] = {}
    for place, result in found.items():
        if place.name == result.material_id or result.material_id not in places:
            places[result.material_id] = place
    return places


def unchanged_results(
    folder: Path, results: Iterable[Comparison]
) -> tuple[list[Comparison], list[str]]:
    """Choose the results whose structure in the folder is still the one that was run.

    Parameters
    ----------
    folder
        Campaign folder.
    results
        Results in it.

    Returns
    -------
    unchanged : list of Comparison
        Those, and results that do not name their structure.
    changed : list of str
        One line for each other one.
    """
    unchanged, changed = [], []
    for result in results:
        now = MaterialFolder(folder / result.material_id).structure_hash()
        if None in (now, result.structure) or now == result.structure:
            unchanged.append(result)
        else:
            changed.append(f"{folder / result.material_id}: its structure was changed since")
    return unchanged, changed


def run_locally(
    materials: Sequence[Material],
    maker: MaterialFlowMaker,
    folder: Path,
    workers: int = 1,
    on_result: Callable[[Comparison], None] = lambda comparison: None,
    on_begin: Callable[[], None] = lambda: None,
    *,
    retry_failed: bool = False,
) -> list[Comparison]:
    """Run the flow of each material that is not finished, several at a time.

    Of a material that is finished with some of the arms, only the others run. What fails is a
    comparison with failures. A result that cannot be read is counted again from its runs. On Ctrl-C
    the running materials are stopped with all their processes; finished materials stay.

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
    retry_failed
        Whether arms that failed for physical reasons run again, too.

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
    requests = CampaignRequest.by_material(maker)
    places = {material.id: MaterialFolder(folder / material.id) for material in materials}
    with locked(folder):
        # Of a campaign that was killed here nothing runs on.
        end_processes(folder, of_campaign=True)
        remove_scraps(folder)
        if conflict := _other_execution(materials, maker, folder):
            raise FolderError(f"{folder}: {conflict}; choose another --out")
        for conflict in folder_conflicts(materials, maker, folder).values():
            raise FolderError(f"{conflict}; choose another --out, or remove it")
        unusable = _recover(materials, maker, places)
        finished = finished_materials(materials, maker, folder, retry_failed=retry_failed)
        finished |= unusable
        pending = {material.id: material for material in materials if material.id not in finished}
        for name in pending:
            places[name].remove_unfinished()
            if (before := places[name].read_result()) is not None:
                request = requests(name)
                failed = request.arms_to_retry(before, retry_failed)
                places[name].drop_arms(failed, keep_others=request.can_add_arms)
                places[name].remove_unfinished()
        on_begin()
        for comparison in unusable.values():
            on_result(comparison)

        def finish(material: Material, comparison: Comparison) -> None:
            places[material.id].write_result(comparison, material.structure)
            finished[material.id] = comparison
            on_result(comparison)

        crashes: Counter[str] = Counter()
        queue = deque(pending.values())
        for material, found in run_in_workers(queue, run_material, maker, folder, workers):
            if found is not None:
                finish(material, found)
                continue
            # The worker was killed (by hand, or for its memory). Its material is run again, but
            # not for ever: it may be what kills the workers.
            place = places[material.id]
            place.remove_unfinished()
            crashes[material.id] += 1
            if crashes[material.id] < MAX_WORKER_CRASHES:
                queue.appendleft(material)
            else:
                cause = "its worker process was killed"
                finish(material, failed_comparison(material, maker, cause, place.read_result()))
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


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder, so that two campaigns never remove each other's runs.

    Parameters
    ----------
    folder
        Made if it does not exist.

    Yields
    ------
    None
        While it is locked.

    Raises
    ------
    FolderError
        It cannot be written, or another process has locked it.
    """
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


def _other_execution(
    materials: Sequence[Material], maker: MaterialFlowMaker, folder: Path
) -> str | None:
    """Tell if the folder's results were computed with another executable or PAW data than here."""
    found = [result for result in read_results(folder) if result.protocol == maker.protocol]
    before = execution_of(found)
    elements = {element for material in materials for element in material.structure.symbol_set}
    known = {element for element in elements if f"POTCAR of {element}" in before}
    if not before:
        return None
    now = installed(known, maker.generator)
    for key in sorted(before.keys() & now.keys()):
        if before[key] != {now[key]}:
            earlier = ", ".join(sorted(before[key]))
            return f"its results are of another {key} ({earlier}, now {now[key]})"
    return None


def _recover(
    materials: Sequence[Material], maker: MaterialFlowMaker, places: dict[str, MaterialFolder]
) -> dict[str, Comparison]:
    """Restore results that cannot be read; failures of those whose files may not be touched."""
    unusable = {}
    for material in materials:
        place = places[material.id]
        if (issue := place.result_issue()) is None:
            continue
        if place.has_broken_result():
            recover_result(place, material.structure)
        else:  # the file system refuses to read it: it may be whole
            unusable[material.id] = failed_comparison(material, maker, f"OSError: {issue}")
    return unusable
