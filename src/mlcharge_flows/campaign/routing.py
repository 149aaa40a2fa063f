"""Routing of the jobs of a flow: predictions to one worker, VASP to another, the rest anywhere.

A workflow manager reads the worker of a job from ``job.config.manager_config``: FireWorks takes
``_category`` and ``_priority`` into the spec of its Firework, jobflow-remote ``worker``,
``resources`` and ``exec_config``. Neither library is needed to write them.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any, TypeVar

from atomate2.vasp.jobs.base import BaseVaspMaker
from jobflow import Flow, Job

from mlcharge_flows.atomate2.jobs.initial_density import InitialDensityMaker
from mlcharge_flows.atomate2.jobs.run import RunFromDensityMaker
from mlcharge_flows.errors import MlchargeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlcharge_flows.campaign.fireworks_spec import FireWorksSpec, Role

Work = TypeVar("Work", Flow, Job)


class RoutingError(MlchargeError, ValueError):
    """The jobs of a flow cannot be routed as wished; the message begins with the key."""


def role(job: Job) -> Role:
    """Role of a job.

    Parameters
    ----------
    job
        Any job of a flow.

    Returns
    -------
    {"density", "run", "other"}
        Whether it writes initial densities, runs VASP, or does neither.

    Examples
    --------
    >>> from mlcharge_flows.atomate2.flows.compare import CompareDensitiesMaker
    >>> from pymatgen.core import Lattice, Structure
    >>> flow = CompareDensitiesMaker().make(Structure(Lattice.cubic(3), ["He"], [[0, 0, 0]]))
    >>> [role(job) for job in flow.jobs][:4]
    ['run', 'other', 'density', 'run']
    """
    if isinstance(job.maker, InitialDensityMaker):
        return "density"
    return "run" if isinstance(job.maker, RunFromDensityMaker | BaseVaspMaker) else "other"


def route(work: Work, configs: Mapping[Role, Mapping[str, Any]]) -> Work:
    """Give every job the settings of its role; jobs that jobs make later are routed as VASP runs.

    Parameters
    ----------
    work
        Job or Flow; changed in place, as by jobflow's own settings.
    configs
        Entries for ``manager_config`` by role; jobs of a role that is left out stay as they are.

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

    Without a common file system, ``_preserve_fworker`` keeps each chain of density, run and count
    on one worker; the jobs that join chains need no files.

    Parameters
    ----------
    work
        Job or Flow; changed in place.
    settings
        Categories, priorities, and whether files are shared.

    Returns
    -------
    Job or Flow
        The same object.

    Raises
    ------
    RoutingError
        Files are not shared, but roles that pass files to each other have different categories.

    Examples
    --------
    >>> from mlcharge_flows.atomate2.flows.compare import CompareDensitiesMaker
    >>> from mlcharge_flows.campaign.fireworks_spec import FireWorksSpec
    >>> from pymatgen.core import Lattice, Structure
    >>> flow = CompareDensitiesMaker().make(Structure(Lattice.cubic(3), ["He"], [[0, 0, 0]]))
    >>> flow = route_fireworks(flow, FireWorksSpec(categories={"run": "vasp"}))
    >>> [job.config.manager_config["_category"] for job in flow.jobs][:4]
    ['vasp', 'cpu', 'gpu', 'vasp']
    """
    categories, priorities = settings.categories, settings.priorities
    if not settings.shared_files and len(set(categories.values())) > 1:
        raise RoutingError(
            "fireworks.shared_files: without shared files all jobs of a material stay with one "
            "worker; give density, run and other the same category"
        )
    preserved = {} if settings.shared_files else {"_preserve_fworker": True}
    return route(
        work,
        {
            name: {"_category": categories[name], "_priority": priorities[name], **preserved}
            for name in categories
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
        Name of the worker by role, as in the project file.
    resources
        Resources by role: a dictionary, or qtoolkit's ``QResources``.
    exec_config
        Execution configuration by role: its name, or jobflow-remote's ``ExecutionConfig``.

    Returns
    -------
    Job or Flow
        The same object.

    Examples
    --------
    >>> from mlcharge_flows.atomate2.flows.compare import CompareDensitiesMaker
    >>> from pymatgen.core import Lattice, Structure
    >>> flow = CompareDensitiesMaker().make(Structure(Lattice.cubic(3), ["He"], [[0, 0, 0]]))
    >>> flow = route_remote(
    ...     flow,
    ...     workers={"density": "gpu_box", "run": "cluster", "other": "cluster"},
    ...     resources={"density": {"nodes": 1, "gpus_per_job": 1}, "run": {"nodes": 2}},
    ... )
    >>> flow.jobs[2].config.manager_config
    {'worker': 'gpu_box', 'resources': {'nodes': 1, 'gpus_per_job': 1}}
    """
    named = {"worker": workers, "resources": resources or {}, "exec_config": exec_config or {}}
    roles: tuple[Role, ...] = ("density", "run", "other")
    configs: dict[Role, dict[str, Any]] = {
        name: {key: values[name] for key, values in named.items() if name in values}
        for name in roles
    }
    return route(work, {name: config for name, config in configs.items() if config})
