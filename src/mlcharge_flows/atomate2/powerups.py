"""Power-ups: any atomate2 VASP workflow from a given initial density."""

from __future__ import annotations

import inspect
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from atomate2.vasp.jobs.base import BaseVaspMaker
from atomate2.vasp.jobs.neb import NebFromImagesMaker
from jobflow import Flow, Job, JobOrder, Maker, OutputReference
from jobflow.core.maker import recursive_call

from mlcharge_flows.atomate2.jobs.initial_density import InitialDensityMaker
from mlcharge_flows.atomate2.jobs.run import RunFromDensityMaker
from mlcharge_flows.models.checkpoint import SUFFIX
from mlcharge_flows.sources.atomic_orbitals import AtomicOrbitals
from mlcharge_flows.sources.fallback import Fallback
from mlcharge_flows.sources.from_file import FromFile
from mlcharge_flows.sources.grammar import parse_initial_density
from mlcharge_flows.sources.initial_chgcar import InitialDensityDocument
from mlcharge_flows.sources.initial_density import InitialDensity
from mlcharge_flows.sources.learned import Learned
from mlcharge_flows.sources.source import Source, Superposition

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlcharge_flows.atomate2.jobs.run import OnDensityError

Work = TypeVar("Work", Flow, Job, Maker)
Route = Literal["inline", "upstream"]

PRODUCTION = InitialDensity(Fallback((Learned(), Superposition())), orbitals=AtomicOrbitals())
"""Initial density and orbitals that no test crystal was slower with than VASP's default."""

_each: Any = recursive_call  # its annotations deny that filters can be None


def start_from_predicted_density(
    work: Work,
    density: InitialDensity
    | Source
    | InitialDensityDocument
    | OutputReference
    | str
    | Path = PRODUCTION,
    route: Route = "inline",
    name_filter: str | None = None,
    class_filter: type[Maker] = BaseVaspMaker,
    on_density_error: OnDensityError = "atoms",
    *,
    explicit_kpoints: bool = False,
    calibration: str | Path | None = None,
) -> Work | Flow:
    """Let every VASP run of a Maker, Job or Flow begin from an initial density.

    What to do is decided when each run begins. A run that inherits a CHGCAR or WAVECAR, or whose
    input set fixes another ICHARG, keeps that; so do meta-GGA and noncollinear runs. The task
    document tells, as ``additional_json["mlcharge"]``. Makers that are handed to jobs to make
    further jobs are reached, too.

    Parameters
    ----------
    work
        What to change; it is copied. Other power-ups can come before or after.
    density
        The initial density of each run, by default the learned one or, where the model refuses the
        run, the superposition of atoms, both with atomic orbitals; or a source of density and
        augmentation occupancies; or either in words, such as ``"learned"``, ``"learned/atomic"``,
        the name of a model or the path of its checkpoint; or the path of a CHGCAR. Or, for the
        runs of one structure, the document of an initial density, or the reference to the output
        of a job that makes it.
    route
        ``"inline"``: the CHGCAR is written in the folder of the run, just before VASP starts.
        ``"upstream"``: by a job of its own before it, which can run elsewhere, for every run whose
        structure the flow knows; for runs that are made later it is written inline.
    name_filter
        Only Makers with this in their name.
    class_filter
        Only Makers of this class.
    on_density_error
        If the initial density of a run cannot be made, ``"atoms"`` documents the reason and runs
        from free atoms; ``"raise"`` fails the job.
    explicit_kpoints
        Whether KPOINTS may become a list of the irreducible points of its mesh. Only then can runs
        with initial orbitals begin from them where it is not known in which order VASP lists these
        points.
    calibration
        Calibration of the model of learned densities for the cutoff and the PAW data sets of the
        runs, a file that ``mlcharge calibrate`` wrote.

    Returns
    -------
    Maker, Job or Flow
        As given; a Job becomes a Flow with ``"upstream"``.

    Raises
    ------
    ValueError
        A nudged elastic band is among the runs, a document is given to a Maker, a job cannot be put
        before a run, the words name no initial density, or there is no learned one to calibrate.

    Examples
    --------
    >>> from atomate2.vasp.flows.core import DoubleRelaxMaker
    >>> maker = start_from_predicted_density(DoubleRelaxMaker(), "superposition")
    >>> type(maker).__name__, type(maker.relax_maker1).__name__
    ('DoubleRelaxMaker', 'RunFromDensityMaker')
    >>> maker.relax_maker1.maker.name
    'relax'
    """
    initial = _calibrated(_initial_density(density), calibration)
    if route == "upstream" and initial is None:
        raise ValueError("the upstream route needs what to write, not a written initial density")
    if isinstance(work, Maker) and (initial is None or route == "upstream"):
        raise ValueError(
            "an initial density that another job writes needs a Job or Flow: call make() first"
        )

    def wrapped(maker: Maker) -> Maker:
        bare = _each(maker, _unwrapped, name_filter, RunFromDensityMaker)

        def wrap(found: Maker) -> Maker:
            return _wrap(found, initial, on_density_error, explicit_kpoints)

        changed: Maker = _each(bare, wrap, name_filter, class_filter)
        return changed

    work = change_makers(work, wrapped)
    if isinstance(work, Maker):
        return work
    for job, flow in jobs_of(work):
        if not isinstance(job.maker, RunFromDensityMaker):
            continue
        if initial is None:
            job.function_kwargs["document"] = density
        elif route == "upstream" and (before := _upstream_job(job, job.maker)):
            job.function_kwargs["document"] = before.output
            if flow is None:
                return Flow([before, job], output=job.output, name=job.name)
            if flow.order is JobOrder.LINEAR:
                raise ValueError(f"{flow.name}: no job can be put into a flow of linear order")
            flow.add_jobs(before)
    return work


def change_makers(work: Work, change: Callable[[Maker], Maker]) -> Work:
    """Change the Makers of a Maker, Job or Flow, those that jobs are handed included.

    Parameters
    ----------
    work
        What to change; it is copied.
    change
        Makes the changed copy of a Maker.

    Returns
    -------
    Maker, Job or Flow
        As given.
    """
    if isinstance(work, Maker):
        changed: Any = change(work)
        made: Work = changed
        return made
    work = deepcopy(work)
    for job, _ in jobs_of(work):
        if job.maker is not None:
            job.function = getattr(change(job.maker), job.function.__name__)
        job.function_args = tuple(
            change(a) if isinstance(a, Maker) else a for a in job.function_args
        )
        for key, value in job.function_kwargs.items():
            if isinstance(value, Maker):
                job.function_kwargs[key] = change(value)
    return work


def _initial_density(density: Any) -> InitialDensity | None:
    """Initial density that is to be written; None if a document is given.

    Returns
    -------
    InitialDensity or None

    Raises
    ------
    ValueError
        It is nothing of the kind.
    """
    match density:
        case InitialDensity():
            return density
        case Source():
            return InitialDensity(density)
        case Path() if density.name.endswith(SUFFIX):
            return InitialDensity(Learned.from_argument(str(density)))
        case Path():
            return InitialDensity(FromFile.from_argument(str(density)))
        case str():
            return parse_initial_density(density)
        case InitialDensityDocument() | OutputReference():
            return None
    raise ValueError(f"{density!r} is no initial density")


def _calibrated(
    initial: InitialDensity | None, calibration: str | Path | None
) -> InitialDensity | None:
    """Take a calibration for the model of an initial density."""
    if calibration is None:
        return initial
    found = None if initial is None else initial.calibrated(calibration)
    if found is None or not found.calibration:
        raise ValueError(f"{initial or 'a document'}: a calibration is for learned densities")
    return found


def _unwrapped(maker: RunFromDensityMaker) -> Maker:
    """Take an earlier initial density away: the last one given counts.

    Returns
    -------
    Maker
        The one that would run without it.

    Raises
    ------
    ValueError
        The run is an arm of a comparison.
    """
    if maker.icharg is not None:
        raise ValueError(f"{maker.name}: is already ordered to run with ICHARG = {maker.icharg}")
    return maker.maker


def _wrap(
    maker: Maker,
    initial_density: InitialDensity | None,
    on_density_error: OnDensityError,
    explicit_kpoints: bool,
) -> Maker:
    if isinstance(maker, NebFromImagesMaker):
        raise ValueError(
            f"{maker.name}: a nudged elastic band has a folder for each image and cannot be given "
            "an initial density; leave it out with name_filter or class_filter"
        )
    if not isinstance(maker, BaseVaspMaker):
        return maker
    return RunFromDensityMaker(
        name=maker.name,
        maker=maker,
        initial_density=initial_density,
        icharg=None,
        explicit_kpoints=explicit_kpoints,
        on_density_error=on_density_error,
    )


def jobs_of(work: Flow | Job, flow: Flow | None = None) -> list[tuple[Job, Flow | None]]:
    """List the jobs of a Job or Flow, to any depth.

    Parameters
    ----------
    work
        The Job or Flow.
    flow
        The flow that it stands in.

    Returns
    -------
    list of tuple
        Each job with the flow that it stands in, if there is one.
    """
    if isinstance(work, Job):
        return [(work, flow)]
    return [found for inner in work.jobs for found in jobs_of(inner, work)]


def _upstream_job(job: Job, run: RunFromDensityMaker) -> Job | None:
    """Job that writes the initial density of a run; None if that is decided when the run begins.

    A Maker with a `make` of its own may change the structure, or copy the density of the run
    before; so may files that are copied.

    Returns
    -------
    Job or None
    """
    plain: Any = BaseVaspMaker.make
    signature = inspect.signature(plain.original)
    if type(run.maker).make is not plain or run.initial_density is None:
        return None
    given = signature.bind(run.maker, *job.function_args, **job.function_kwargs)
    copied = run.copy_vasp_kwargs.get("additional_vasp_files", ())
    if given.arguments.get("prev_dir") is not None and {"CHGCAR", "WAVECAR"} & {*copied}:
        return None
    on_error: Any = "raise" if run.on_density_error == "raise" else "record"
    writer = InitialDensityMaker(
        name=f"{job.name} density", initial_density=run.initial_density, on_error=on_error
    )
    before: Job = writer.make(given.arguments["structure"], run.input_set_generator)
    return before
