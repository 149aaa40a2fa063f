"""One material in a worker process, which never outlives the campaign, nor VASP the worker."""

from __future__ import annotations

import ctypes
import json
import logging
import os
import shutil
import signal
import sys
import threading
from contextlib import contextmanager, suppress
from multiprocessing import active_children, connection, parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from jobflow import JobStore
from jobflow import run_locally as run_flow
from maggma.stores import MemoryStore

from mlcharge_flows.atomate2.flows.material import AddsArms
from mlcharge_flows.atomate2.jobs.comparison import OUTCOME_FILE, Outcome, count
from mlcharge_flows.atomate2.run_processes import run_processes
from mlcharge_flows.campaign.material_folder import REQUEST, RESULT, MaterialFolder, link_name
from mlcharge_flows.campaign.request import CampaignRequest, maker_of
from mlcharge_flows.errors import one_line
from mlcharge_flows.io import atomic_path
from mlcharge_flows.scf.comparison import Comparison
from mlcharge_flows.scf.run import ScfRun

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobflow import Flow, Response
    from pymatgen.core.structure import Structure

    from mlcharge_flows.atomate2.flows.material import MaterialFlowMaker
    from mlcharge_flows.structures import Material

LOG = "flow.log"
UNREADABLE = f"{RESULT}.unreadable"
"""Name under which a result that cannot be read is kept."""

_PR_SET_PDEATHSIG = 1
"""Request of Linux' prctl: the signal that a process gets when its parent ends."""


def run_material(material: Material, maker: MaterialFlowMaker, path: Path) -> Comparison:
    """Run the flow of a material; what goes wrong is recorded in its comparison.

    Arms that its folder holds already are not run, and are returned as they are.

    Parameters
    ----------
    material
        What to run.
    maker
        Its flow.
    path
        Folder of the material; one folder per job is made in it, and the log of all.

    Returns
    -------
    Comparison
        All arms, failed ones with their cause.
    """
    folder, maker = MaterialFolder(path), maker_of(maker, material.id)
    finished = folder.read_result()
    try:
        folder.begin(CampaignRequest.from_maker(maker), material.structure, finished)
        with _logged(path / LOG), run_processes(path):
            flow = _missing_arms(material, maker, finished)
            # Documents live as long as the flow: the folder is what stays.
            store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
            responses = run_flow(flow, log=False, store=store, create_folders=True, root_dir=path)
            _name_folders(flow, responses, path)
            output = store.get_output(flow.jobs[-1].uuid, load=False)
        return Comparison.model_validate(output)
    except Exception as error:
        cause = f"{type(error).__name__}: {error}"
        return failed_comparison(material, maker, cause, finished)


def failed_comparison(
    material: Material, maker: MaterialFlowMaker, cause: str, finished: Comparison | None = None
) -> Comparison:
    """Comparison of a material whose arms have no result, apart from those finished before.

    Parameters
    ----------
    material
        What was run.
    maker
        Its flow.
    cause
        Cause of the failure.
    finished
        Arms that were finished before; they are kept.

    Returns
    -------
    Comparison
        All arms.
    """
    failed, maker = ScfRun(folder="", failure=one_line(cause)), maker_of(maker, material.id)
    arms = dict(finished.arms) if finished else {}
    return Comparison(
        material_id=material.id,
        formula=material.structure.composition.reduced_formula,
        n_atoms=len(material.structure),
        protocol=maker.protocol,
        arms={**arms, **{arm: failed for arm in maker.arms if arm not in arms}},
        models={**(finished.models if finished else {}), **maker.models},
    )


def recover_result(place: MaterialFolder, structure: Structure) -> Comparison | None:
    """Restore a result that cannot be read from the runs that it was counted from.

    Parameters
    ----------
    place
        Folder of the material.
    structure
        Structure that is to be run.

    Returns
    -------
    Comparison or None
        Of the arms whose runs are in the folder, now also its result; None if the folder does not
        tell what was run, or nothing of it is left.
    """
    try:
        with atomic_path(place.path / UNREADABLE) as kept:
            shutil.copyfile(place.path / RESULT, kept)
        found = _recounted(place, structure) if place.is_of(structure) else None
    except (ValueError, KeyError, TypeError, FileNotFoundError):
        return None
    if found is not None:
        place.write_result(found, structure)
    return found


def _recounted(place: MaterialFolder, structure: Structure) -> Comparison | None:
    outcome = place.path / "outcome" / OUTCOME_FILE
    if outcome.is_file():
        return Outcome.model_validate_json(outcome.read_text(encoding="utf-8"))
    requests = [json.loads(path.read_text()) for path in place.path.glob(REQUEST.format("*"))]
    if not requests or not all(request["can_add_arms"] for request in requests):
        return None  # other flows have results beside their counted runs
    names = [arm for request in requests for arm in request["arms"]]
    folders = {arm: place.path / link_name(f"{arm} run") for arm in names}
    present = {arm: path.resolve() for arm, path in folders.items() if path.is_dir()}
    recount: Any = count
    arms = {arm: recount.original(str(path)) for arm, path in present.items()}
    if not arms:
        return None
    models = {arm: sha for request in requests for arm, sha in request["models"].items()}
    return Comparison(
        material_id=place.path.name,
        formula=structure.composition.reduced_formula,
        n_atoms=len(structure),
        protocol=requests[0]["protocol"],
        arms=arms,
        models={arm: sha for arm, sha in models.items() if arm in arms},
    )


def follow_parent() -> None:
    """Tie this worker process to its parent: Ctrl-C is handled there, and its death ends both."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def stop_workers() -> None:
    """Kill the worker processes of this process with all their descendants."""
    for worker in active_children():
        if worker.pid is not None:
            _kill_descendants(worker.pid)
            worker.kill()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is None:
        return
    connection.wait([parent.sentinel])
    # The parent was killed: a run that continued would meet the one that resumes it.
    _kill_descendants(os.getpid())
    os._exit(1)


def _kill_descendants(pid: int) -> None:
    """Kill all descendants; signals of a process do not reach VASP in custodian's session."""
    with suppress(psutil.NoSuchProcess):
        for process in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                process.kill()


def _missing_arms(
    material: Material, maker: MaterialFlowMaker, finished: Comparison | None
) -> Flow:
    if finished is None:
        return maker.make(material.structure, material.id)
    if not isinstance(maker, AddsArms):
        raise ValueError(f"{type(maker).__name__} adds no arms to what is finished")
    return maker.add(material.structure, finished)


def _name_folders(flow: Flow, responses: dict[str, dict[int, Response[Any]]], folder: Path) -> None:
    """Link each job's folder under the name of the job; empty folders are removed."""
    for job in flow.jobs:
        for response in responses.get(job.uuid, {}).values():
            job_folder = Path(response.job_dir)
            if any(job_folder.iterdir()):
                link = folder / link_name(job.name)
                new = link.with_name(".link.partial")
                new.unlink(missing_ok=True)
                new.symlink_to(job_folder.name)
                new.replace(link)  # there may be one of an arm that is run again
            else:
                job_folder.rmdir()


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Send log messages and warnings of the libraries to a file instead of the terminal."""
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.removeHandler(handler)
        handler.close()
