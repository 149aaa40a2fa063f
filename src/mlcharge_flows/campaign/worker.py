"""One material in a worker process: its flow through jobflow, in its own folder."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from jobflow import JobStore
from jobflow import run_locally as run_flow
from maggma.stores import MemoryStore

from mlcharge_flows.atomate2.flows.material import AddsArms
from mlcharge_flows.campaign.material_folder import begin, read_result
from mlcharge_flows.scf.comparison import Comparison
from mlcharge_flows.scf.run import ScfRun

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobflow import Flow, Response

    from mlcharge_flows.atomate2.flows.material import MaterialFlowMaker
    from mlcharge_flows.structures import Material

LOG = "flow.log"


def run_material(material: Material, maker: MaterialFlowMaker, folder: Path) -> Comparison:
    """Run the flow of a material; whatever goes wrong comes back as a comparison with failures.

    Arms that its folder holds already are not run, and come back as they are.

    Parameters
    ----------
    material
        What to run.
    maker
        Its flow.
    folder
        Folder of the material; one folder per job is made in it, and the log of all.
    """
    before = read_result(folder)
    try:
        begin(folder, material.structure, before)
        with _logged(folder / LOG):
            if before is None:
                flow = maker.make(material.structure, material.id)
            elif isinstance(maker, AddsArms):
                flow = maker.add(material.structure, before)
            else:
                raise ValueError(f"{type(maker).__name__} adds no arms to what is finished")
            # Documents live as long as the flow: the folder is what stays.
            store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
            responses = run_flow(flow, log=False, store=store, create_folders=True, root_dir=folder)
            _name_folders(flow, responses, folder)
            output = store.get_output(flow.jobs[-1].uuid, load=False)
        return Comparison.model_validate(output)
    except Exception as error:
        cause = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return lost(material, maker, cause, before)


def _name_folders(flow: Flow, responses: dict[str, dict[int, Response]], folder: Path) -> None:
    """Link each job's folder under the name of the job; those that hold nothing go."""
    for job in flow.jobs:
        for response in responses.get(job.uuid, {}).values():
            made = Path(response.job_dir)
            if any(made.iterdir()):
                link = folder / job.name.replace(" ", "-").replace("/", "-")
                if link.is_symlink():  # of an arm whose result somebody took out, to run it again
                    link.unlink()
                link.symlink_to(made.name)
            else:
                made.rmdir()


def lost(
    material: Material, maker: MaterialFlowMaker, cause: str, before: Comparison | None = None
) -> Comparison:
    """Comparison of a material whose arms have no result, but for those that it had before.

    Parameters
    ----------
    material
        What was run.
    maker
        Its flow.
    cause
        What went wrong.
    before
        What was finished before; it is kept.
    """
    failed = ScfRun(folder="", failure=cause[:300])
    kept = before.arms if before else {}
    return Comparison(
        material_id=material.id,
        formula=material.structure.composition.reduced_formula,
        n_atoms=len(material.structure),
        protocol=maker.protocol,
        arms={**kept, **{arm: failed for arm in maker.arms if arm not in kept}},
        models={**(before.models if before else {}), **maker.models},
    )


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Send what the libraries log and warn of to a file instead of the terminal."""
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
