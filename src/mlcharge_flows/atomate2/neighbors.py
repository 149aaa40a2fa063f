"""Power-up: each run of a workflow begins from a finished run of almost the same crystal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atomate2.common.flows.elastic import BaseElasticMaker
from atomate2.vasp.jobs.base import BaseVaspMaker
from atomate2.vasp.jobs.elastic import ElasticRelaxMaker
from atomate2.vasp.jobs.phonons import PhononDisplacementMaker
from atomate2.vasp.powerups import update_user_incar_settings
from jobflow import Maker, OutputReference
from jobflow.core.maker import recursive_call

from mlcharge_flows.atomate2.jobs.run import RunFromDensityMaker
from mlcharge_flows.atomate2.powerups import change_makers, jobs_of, start_from_predicted_density
from mlcharge_flows.models.registry import DEFAULT
from mlcharge_flows.sources.atomic_orbitals import AtomicOrbitals
from mlcharge_flows.sources.initial_density import InitialDensity
from mlcharge_flows.sources.learned import Learned
from mlcharge_flows.sources.nearest import Nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlcharge_flows.atomate2.powerups import Work

LAST_RUNS = (PhononDisplacementMaker, ElasticRelaxMaker)
"""Makers of runs, one of many, whose density no later run of their flow is near to."""

_each: Any = recursive_call  # its annotations deny that filters can be None


def start_from_neighbors(
    work: Work,
    runs: Sequence[str | Path | OutputReference] = (),
    model: str | Path | None = DEFAULT,
    *,
    orbitals: bool = True,
    keep_densities: bool = True,
    **options: Any,
) -> Work:
    """Let every VASP run of a workflow begin from the nearest finished run.

    When a run begins, the previous run of its flow (a relaxation, the undisplaced or undeformed
    parent) and the finished runs of `runs` are compared with its crystal. The density of the
    nearest is moved to it: by the model's difference, or where the model refuses a crystal by the
    change of the superposition of atoms. Without a run that corresponds, the density is learned,
    or else that of atoms. The task document tells in ``additional_json["mlcharge"]``: its initial
    density has ``density_source``, ``reference_run``, and the reasons among its ``warnings``.

    Parameters
    ----------
    work
        What to change; it is copied.
    runs
        Folders of finished runs, or folders of them to any depth, such as an archive or the folder
        in which the flow itself runs; or references to the folder that a job of the flow will have
        (``job.output.dir_name``).
    model
        Name of a model, or path of its checkpoint; None for no model.
    orbitals
        Whether the runs begin with atomic orbitals, too.
    keep_densities
        Whether the runs write their CHGCAR (LCHARG), which input sets of relaxations leave out; not
        those of :data:`LAST_RUNS`.
    **options
        As for :func:`~mlcharge_flows.atomate2.powerups.start_from_predicted_density`:
        `name_filter`, `class_filter`, `on_density_error`, `explicit_kpoints` and `calibration`.

    Returns
    -------
    Maker, Job or Flow
        As given.

    Raises
    ------
    ValueError
        A nudged elastic band is among the runs; a Maker of elastic constants is given, whose flow
        alone can be told where the undeformed run is; or there is no model to calibrate.

    Examples
    --------
    >>> from atomate2.vasp.flows.core import DoubleRelaxMaker
    >>> maker = start_from_neighbors(DoubleRelaxMaker(), model=None)
    >>> str(maker.relax_maker2.initial_density)
    'nearest+orbitals'
    >>> maker.relax_maker2.input_set_generator.user_incar_settings
    {'LCHARG': True}
    """
    if isinstance(work, BaseElasticMaker):
        raise ValueError(
            f"{work.name}: its deformed runs are not told the folder of the undeformed one; call "
            "make() first: start_from_neighbors(maker.make(structure))"
        )
    named = None if model is None else Learned.from_argument(str(model)).model
    source = Nearest(tuple(map(_place, runs)), named)
    if keep_densities:
        filters = options.get("name_filter"), options.get("class_filter", BaseVaspMaker)
        work = change_makers(work, lambda maker: _each(maker, _keeping_density, *filters))
    changed: Any = start_from_predicted_density(
        work,
        InitialDensity(source, orbitals=AtomicOrbitals() if orbitals else None),
        **options,
    )
    if not isinstance(changed, Maker):
        _tell_parents(changed)
    done: Work = changed
    return done


def _place(run: str | Path | OutputReference) -> Any:
    """Absolute path of a folder; a reference, and a path with its host, stay as they are."""
    return run if isinstance(run, OutputReference) or ":" in str(run) else str(Path(run).absolute())


def _keeping_density(maker: Maker) -> Maker:
    """Let a VASP Maker write its CHGCAR."""
    if not isinstance(maker, BaseVaspMaker) or isinstance(maker, LAST_RUNS):
        return maker
    changed: Maker = update_user_incar_settings(maker, {"LCHARG": True})
    return changed


def _tell_parents(work: Any) -> None:
    """Hand the folder of the parent run to jobs that make runs, and do not tell these of it."""
    for job, _ in jobs_of(work):
        parent = job.function_kwargs.get("prev_dir")
        if job.maker is not None or parent is None:
            continue

        def with_parent(run: Any, parent: Any = parent) -> Any:
            initial = run.initial_density
            if initial is None or not isinstance(initial.density, Nearest):
                return run
            near = replace(initial.density, runs=(*initial.density.runs, parent))
            return replace(run, initial_density=replace(initial, density=near))

        for key, value in job.function_kwargs.items():
            if isinstance(value, Maker):
                job.function_kwargs[key] = _each(value, with_parent, None, RunFromDensityMaker)
