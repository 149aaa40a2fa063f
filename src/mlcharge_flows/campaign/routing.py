"""Sending the jobs of a flow to workers: predictions to one, VASP to another, the rest anywhere.

A workflow manager reads where a job goes from ``job.config.manager_config``: FireWorks takes
``_category`` and ``_priority`` into the spec of its Firework, jobflow-remote ``worker``,
``resources`` and ``exec_config``. Neither library is needed to write them.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from atomate2.vasp.jobs.base import BaseVaspMaker
from jobflow import Flow, Job

from mlcharge_flows.atomate2.jobs.initial_density import InitialDensityMaker
from mlcharge_flows.atomate2.jobs.run import RunFromDensityMaker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlcharge_flows.campaign.spec import FireWorksSpec

Role = Literal["start", "run", "other"]
Work = TypeVar("Work", Flow, Job)


def role(job: Job) -> Role:
    """Part that a job plays: it writes starts, runs VASP, or neither.

    Examples
    --------
    >>> from mlcharge_flows.atomate2.flows.compare import CompareDensitiesMaker
    >>> from pymatgen.core import Lattice, Structure
    >>> flow = CompareDensitiesMaker().make(Structure(Lattice.cubic(3), ["He"], [[0, 0, 0]]))
    >>> [role(job) for job in flow.jobs][:4]
    ['run', 'other', 'start', 'run']
    """
    if isinstance(job.maker, InitialDensityMaker):
        return "start"
    return "run" if isinstance(job.maker, RunFromDensityMaker | BaseVaspMaker) else "other"


def route(work: Work, configs: Mapping[Role, Mapping[str, Any]]) -> Work:
    """Give every job the settings of its part; jobs that jobs make later are run as VASP is.

    Parameters
    ----------
    work
        Job or Flow; changed in place, as jobflow's own settings are.
    configs
        Entries for ``manager_config`` of each part; a part that is left out stays as it is.

    Returns
    -------
    Job or Flow
        The same object.
    """
    for job in [job for job, _ in work.iterflow()] if isinstance(work, Flow) else [work]:
        if (config := configs.get(role(job))) is not None:
            job.config.manager_config |= deepcopy(dict(config))
        if "run" in configs:
            # Else they would inherit from their parent, which may be on a GPU.
            job.config.response_manager_config |= deepcopy(dict(configs["run"]))
    return work


def route_fireworks(work: Work, settings: FireWorksSpec) -> Work:
    """Route for FireWorks: categories and priorities.

    Without a common file system, ``_preserve_fworker`` keeps each chain of start, run and count
    on the worker that began it; the jobs that join chains need no files.

    Parameters
    ----------
    work
        Job or Flow; changed in place.
    settings
        Categories, priorities, and whether files are shared.

    Raises
    ------
    ValueError
        Files are not shared, but parts that hand each other files have different categories.

    Examples
    --------
    >>> from mlcharge_flows.atomate2.flows.compare import CompareDensitiesMaker
    >>> from mlcharge_flows.campaign.spec import FireWorksSpec
    >>> from pymatgen.core import Lattice, Structure
    >>> flow = CompareDensitiesMaker().make(Structure(Lattice.cubic(3), ["He"], [[0, 0, 0]]))
    >>> flow = route_fireworks(flow, FireWorksSpec(categories={"run": "vasp"}))
    >>> [job.config.manager_config["_category"] for job in flow.jobs][:4]
    ['vasp', 'cpu', 'gpu', 'vasp']
    """
    categories, priorities = settings.categories, settings.priorities
    if not settings.shared_files and len(set(categories.values())) > 1:
        raise ValueError(
            "fireworks.shared_files: without shared files all jobs of a material stay with one "
            "worker; give start, run and other the same category"
        )
    kept = {} if settings.shared_files else {"_preserve_fworker": True}
    return route(
        work,
        {
            part: {"_category": categories[part], "_priority": priorities[part], **kept}
            for part in categories
        },
    )


def route_remote(
    work: Work,
    workers: Mapping[Role, str],
    resources: Mapping[Role, Any] | None = None,
    exec_config: Mapping[Role, Any] | None = None,
) -> Work:
    """Route for jobflow-remote, as its ``set_run_config`` does for one kind of job at a time.

    Parameters
    ----------
    work
        Job or Flow; changed in place.
    workers
        Name of the worker of each part, as in the project file.
    resources
        Resources of each part: a dictionary, or qtoolkit's ``QResources``.
    exec_config
        Execution configuration of each part: its name, or jobflow-remote's ``ExecutionConfig``.

    Examples
    --------
    >>> from mlcharge_flows.atomate2.flows.compare import CompareDensitiesMaker
    >>> from pymatgen.core import Lattice, Structure
    >>> flow = CompareDensitiesMaker().make(Structure(Lattice.cubic(3), ["He"], [[0, 0, 0]]))
    >>> flow = route_remote(
    ...     flow,
    ...     workers={"start": "gpu_box", "run": "cluster", "other": "cluster"},
    ...     resources={"start": {"nodes": 1, "gpus_per_job": 1}, "run": {"nodes": 2}},
    ... )
    >>> flow.jobs[2].config.manager_config
    {'worker': 'gpu_box', 'resources': {'nodes': 1, 'gpus_per_job': 1}}
    """
    named = {"worker": workers, "resources": resources or {}, "exec_config": exec_config or {}}
    parts: tuple[Role, ...] = ("start", "run", "other")
    configs: dict[Role, dict[str, Any]] = {
        part: {key: values[part] for key, values in named.items() if part in values}
        for part in parts
    }
    return route(work, {part: config for part, config in configs.items() if config})
