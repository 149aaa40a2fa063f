"""Power-ups: any atomate2 VASP workflow, started from a given density."""

from __future__ import annotations

import inspect
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal, TypeVar

from atomate2.vasp.jobs.base import BaseVaspMaker
from atomate2.vasp.jobs.neb import NebFromImagesMaker
from jobflow import Flow, Job, JobOrder, Maker, OutputReference
from jobflow.core.maker import recursive_call

from mlcharge_flows.atomate2.jobs.run import RunFromStartMaker
from mlcharge_flows.models.checkpoint import SUFFIX
from mlcharge_flows.sources.existing import FileStartMaker
from mlcharge_flows.sources.known_models import known_models
from mlcharge_flows.sources.learned import LearnedStartMaker
from mlcharge_flows.sources.start import StartDocument, StartMaker

Work = TypeVar("Work", Flow, Job, Maker)
Route = Literal["inline", "upstream"]

_each: Any = recursive_call  # its annotations deny that filters can be None


def start_from_predicted_density(
    work: Work,
    start: StartMaker | StartDocument | OutputReference | str | Path,
    route: Route = "inline",
    name_filter: str | None = None,
    class_filter: type[Maker] = BaseVaspMaker,
) -> Work | Flow:
    """Let every VASP run of a Maker, Job or Flow begin from a start instead of atoms.

    What to do is decided when each run begins: one that inherits a CHGCAR or WAVECAR, or whose
    input set fixes another ICHARG, keeps its own start, as do meta-GGA and noncollinear runs. The
    task document tells, as ``additional_json["mlcharge"]``. Makers that are handed to jobs to make
    further jobs are reached, too.

    Parameters
    ----------
    work
        What to change; it is copied. Other power-ups can come before or after.
    start
        What writes the start of each run; or ``"learned"``, the name of a model, or a checkpoint;
        or a CHGCAR that exists; or, for the runs of one structure, the document of a start or the
        reference to the output of a job that makes it.
    route
        ``"inline"``: the start is written in the run's own folder, just before VASP starts.
        ``"upstream"``: by a job of its own before it, which can run elsewhere, for every run whose
        structure the flow knows; runs that are made later are started inline.
    name_filter
        Only Makers with this in their name.
    class_filter
        Only Makers of this class.

    Returns
    -------
    Maker, Job or Flow
        As given; a Job becomes a Flow with ``"upstream"``.

    Raises
    ------
    ValueError
        A nudged elastic band is among the runs, a document is given to a Maker, or a job cannot
        be put before a run.

    Examples
    --------
    >>> from atomate2.vasp.flows.core import DoubleRelaxMaker
    >>> from mlcharge_flows.sources.superposition import SuperpositionStartMaker
    >>> maker = start_from_predicted_density(DoubleRelaxMaker(), SuperpositionStartMaker())
    >>> type(maker).__name__, type(maker.relax_maker1).__name__
    ('DoubleRelaxMaker', 'RunFromStartMaker')
    >>> maker.relax_maker1.maker.name
    'relax'
    """
    if isinstance(start, str | Path):
        start = _named(start)
    writer = start if isinstance(start, StartMaker) else None
    if route == "upstream" and writer is None:
        raise ValueError("the upstream route needs what writes the starts, not a written one")
    if isinstance(work, Maker) and (writer is None or route == "upstream"):
        raise ValueError("a start that another job writes needs a Job or Flow: call make() first")

    def wrapped(maker: Maker) -> Any:
        bare = _each(maker, _unwrapped, name_filter, RunFromStartMaker)
        return _each(bare, lambda found: _wrap(found, writer), name_filter, class_filter)

    if isinstance(work, Maker):
        return wrapped(work)
    work = deepcopy(work)
    for job, flow in _jobs(work):
        if job.maker is not None:
            job.function = getattr(wrapped(job.maker), job.function.__name__)
        job.function_args = tuple(
            wrapped(a) if isinstance(a, Maker) else a for a in job.function_args
        )
        for key, value in job.function_kwargs.items():
            if isinstance(value, Maker):
                job.function_kwargs[key] = wrapped(value)
        if not isinstance(job.maker, RunFromStartMaker):
            continue
        if writer is None:
            job.function_kwargs["start"] = start
        elif route == "upstream" and (before := _start_job(job, job.maker)):
            job.function_kwargs["start"] = before.output
            if flow is None:
                return Flow([before, job], output=job.output, name=job.name)
            if flow.order is JobOrder.LINEAR:
                raise ValueError(f"{flow.name}: no job can be put into a flow of linear order")
            flow.add_jobs(before)
    return work


def _named(start: str | Path) -> StartMaker:
    """Start Maker for a name; what names no model is the path of a CHGCAR."""
    if start == "learned":
        return LearnedStartMaker()
    if isinstance(start, str) and start in known_models().paths():
        return LearnedStartMaker(model=start)
    path = str(Path(start).absolute())
    return LearnedStartMaker(model=path) if path.endswith(SUFFIX) else FileStartMaker(path=path)


def _unwrapped(maker: Any) -> Maker:
    """Take an earlier start away: the last one given counts."""
    if maker.icharg is not None:
        raise ValueError(f"{maker.name}: is already ordered to start with ICHARG = {maker.icharg}")
    return maker.maker


def _wrap(maker: Maker, writer: StartMaker | None) -> Maker:
    if isinstance(maker, NebFromImagesMaker):
        raise ValueError(
            f"{maker.name}: a nudged elastic band has a folder for each image and cannot be given "
            "a start; leave it out with name_filter or class_filter"
        )
    if not isinstance(maker, BaseVaspMaker):
        return maker
    return RunFromStartMaker(name=maker.name, maker=maker, start=deepcopy(writer), icharg=None)


def _jobs(work: Flow | Job, flow: Flow | None = None) -> list[tuple[Job, Flow | None]]:
    """All jobs, each with the flow that it stands in."""
    if isinstance(work, Job):
        return [(work, flow)]
    return [found for inner in work.jobs for found in _jobs(inner, work)]


def _start_job(job: Job, run: RunFromStartMaker) -> Job | None:
    """Job that writes the start of a run; None if it is to be seen when the run begins.

    A Maker with a `make` of its own may change the structure, or copy the density of the run
    before; so may files that are copied.
    """
    plain: Any = BaseVaspMaker.make
    if type(run.maker).make is not plain or run.start is None:
        return None
    original = plain.original  # type: ignore[attr-defined]
    given = inspect.signature(original).bind(run.maker, *job.function_args, **job.function_kwargs)
    copied = run.copy_vasp_kwargs.get("additional_vasp_files", ())
    if given.arguments.get("prev_dir") is not None and {"CHGCAR", "WAVECAR"} & {*copied}:
        return None
    before: Job = run.start.make(given.arguments["structure"], run.input_set_generator)
    before.name = f"{job.name} start"
    return before
