"""A campaign on a FireWorks LaunchPad: one workflow per material, never two."""

from __future__ import annotations

import io
import time
from collections import Counter
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlcharge_flows.campaign.documents import CAMPAIGN, identity, labeled_flow
from mlcharge_flows.campaign.request import CampaignRequest
from mlcharge_flows.campaign.routing import route_fireworks
from mlcharge_flows.errors import MlchargeError, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from fireworks import LaunchPad, Workflow

    from mlcharge_flows.atomate2.flows.material import MaterialFlowMaker
    from mlcharge_flows.campaign.spec import FireWorksSpec
    from mlcharge_flows.scf.comparison import Comparison
    from mlcharge_flows.structures import Material

BATCH_SIZE = 20
"""Workflows that are inserted at once."""

LOST_AFTER = 4 * 3600
"""Seconds without a ping of its worker after which FireWorks calls a run lost (its default)."""

_LOCK_SAMPLES, _LOCK_PAUSE = 10, 1.0
"""How often, and at which interval in seconds, a lock is seen before it is called left behind."""


class LaunchPadError(MlchargeError, RuntimeError):
    """The LaunchPad cannot be used; the message is one line."""


@dataclass
class CampaignState:
    """Progress of a campaign on a LaunchPad.

    Parameters
    ----------
    workflows
        Number of workflows, that is of materials, by state.
    jobs
        Number of jobs by category and state.
    lost
        FireWorks whose worker has sent no ping for hours.
    """

    workflows: Counter[str] = field(default_factory=Counter)
    jobs: Counter[tuple[str, str]] = field(default_factory=Counter)
    lost: list[int] = field(default_factory=list)


def open_launchpad(path: Path | None = None) -> LaunchPad:
    """Connect to a LaunchPad.

    Parameters
    ----------
    path
        A my_launchpad.yaml; the one of FireWorks' own settings if not given.

    Returns
    -------
    LaunchPad
        Connected; its ``connection`` is to be closed.

    Raises
    ------
    LaunchPadError
        FireWorks is not installed, there is no such file, or no database answers.
    """
    try:
        from fireworks import LaunchPad, fw_config
    except ImportError:
        raise LaunchPadError(
            "FireWorks is not installed: pip install 'mlcharge-flows[fireworks]'"
        ) from None
    from pymongo.errors import PyMongoError

    path = path or (Path(fw_config.LAUNCHPAD_LOC) if fw_config.LAUNCHPAD_LOC else None)
    if path is None:
        raise LaunchPadError(
            "there is no my_launchpad.yaml: write one with 'lpad init', or name it by --launchpad"
        )
    try:
        launchpad = LaunchPad.from_file(str(path))
    except KeyError as error:
        raise LaunchPadError(f"{path}: {error.args[0]} is missing; add it") from None
    except (OSError, ValueError, TypeError) as error:
        raise LaunchPadError(f"{path}: not a LaunchPad file ({error})") from None
    launchpad.m_logger.setLevel("WARNING")
    try:
        assigner = launchpad.fw_id_assigner.find_one({})
    except PyMongoError as error:
        launchpad.connection.close()
        reason = one_line(str(error).split(",")[0], 150)
        raise LaunchPadError(f"{path}: no database answers ({reason})") from None
    if assigner is None:
        launchpad.connection.close()
        raise LaunchPadError(f"{path}: the LaunchPad is empty; set it up once with 'lpad reset'")
    return launchpad


def submit(
    launchpad: LaunchPad,
    campaign: str,
    materials: Sequence[Material],
    maker: MaterialFlowMaker,
    settings: FireWorksSpec,
    on_added: Callable[[int], None] = lambda count: None,
) -> int:
    """Add one workflow for each material that has none yet.

    Safe to repeat, also after an interruption: submitted materials are skipped, and workflows of
    which only a part was written are written again. No arms are added to them; another choice of
    arms needs another campaign name.

    Parameters
    ----------
    launchpad
        Where to.
    campaign
        Name of the campaign.
    materials
        What to run.
    maker
        Flow of one material.
    settings
        Categories and priorities.
    on_added
        Called with the number of workflows after each batch.

    Returns
    -------
    int
        Number of workflows that were added.

    Raises
    ------
    LaunchPadError
        The campaign holds a material of the same name with other settings or another structure.
    RoutingError
        Files are not shared, but categories differ.
    """
    _remove_incomplete(launchpad, campaign)
    submitted = {
        workflow["metadata"]["material"]: workflow["metadata"]
        for workflow in _workflows(launchpad, campaign)
    }
    pending = []
    for material in materials:
        known = submitted.get(material.id)
        if known is None:
            pending.append(material)
        elif difference := _difference(known, identity(material, maker)):
            raise LaunchPadError(
                f"campaign {campaign!r}: {material.id} is submitted already with another "
                f"{difference}; choose another name for the campaign"
            )
    for first in range(0, len(pending), BATCH_SIZE):
        batch = [
            _workflow(material, maker, campaign, settings)
            for material in pending[first : first + BATCH_SIZE]
        ]
        with redirect_stderr(io.StringIO()):  # FireWorks draws a bar of its own for each batch
            launchpad.bulk_add_wfs(batch)
        on_added(len(batch))
    return len(pending)


def recover(launchpad: LaunchPad, campaign: str, lost_after: float = LOST_AFTER) -> int:
    """Let workers take up again what their death, or another fault of a machine, left behind.

    Jobs whose worker is gone, and jobs that failed themselves (the runs record what goes wrong
    with a material), run again; locks and states that a killed worker left half-written are
    mended. Nothing that has a result runs again.

    Parameters
    ----------
    launchpad
        Where the campaign was submitted to.
    campaign
        Name of the campaign.
    lost_after
        Seconds without a sign of life after which a worker is taken for dead.

    Returns
    -------
    int
        Number of jobs that are run again.
    """
    unfinished = list(
        launchpad.workflows.find(
            {f"metadata.{CAMPAIGN}": campaign, "state": {"$nin": ["COMPLETED", "ARCHIVED"]}},
            {"nodes": True, "locked": True, "updated_on": True},
        )
    )
    _unlock(launchpad, [workflow for workflow in unfinished if workflow.get("locked")])
    nodes = [node for workflow in unfinished for node in workflow["nodes"]]
    fields = {"fw_id": True, "state": True, "launches": True, "updated_on": True}
    jobs = list(launchpad.fireworks.find({"fw_id": {"$in": nodes}}, fields))
    now, n_rerun = datetime.now(UTC), 0
    for job in sorted(jobs, key=lambda job: job["fw_id"]):
        if job["state"] in ("RUNNING", "RESERVED"):
            states = _launch_states(launchpad, job, now, lost_after)
            if "COMPLETED" in states:
                launchpad._refresh_wf(job["fw_id"])
                continue
            if "ALIVE" in states or _age(job, now) < lost_after:
                continue
        elif job["state"] != "FIZZLED":
            continue
        launchpad.rerun_fw(job["fw_id"])
        n_rerun += 1
    for job in launchpad.fireworks.find({"fw_id": {"$in": nodes}, "state": "WAITING"}, fields):
        launchpad._refresh_wf(job["fw_id"])  # its parents may have ended unnoticed
    return n_rerun


def retry(
    launchpad: LaunchPad,
    campaign: str,
    results: Iterable[Comparison],
    maker: MaterialFlowMaker,
    *,
    retry_failed: bool = False,
) -> int:
    """Run arms again that have failed, with all jobs that need their results.

    Parameters
    ----------
    launchpad
        Where the campaign was submitted to.
    campaign
        Name of the campaign.
    results
        Finished materials.
    maker
        Flow of one material.
    retry_failed
        Whether arms that failed for physical reasons run again, too, and not only those that failed
        by the fault of the machine.

    Returns
    -------
    int
        Number of jobs that are run again, those that follow not counted.
    """
    request, n_rerun = CampaignRequest.from_maker(maker), 0
    for result in results:
        if arms := request.arms_to_retry(result, retry_failed):
            n_rerun += _rerun(launchpad, campaign, result, arms)
    return n_rerun


def _rerun(launchpad: LaunchPad, campaign: str, result: Comparison, arms: Iterable[str]) -> int:
    """Run arms of a finished workflow again; all of it if it has no jobs of their names."""
    query = {f"metadata.{CAMPAIGN}": campaign, "metadata.material": result.material_id}
    found = launchpad.workflows.find_one(
        {**query, "state": "COMPLETED"}, {"nodes": True, "links": True}
    )
    if found is None:
        return 0
    jobs = {
        job["name"]: job["fw_id"]
        for job in launchpad.fireworks.find({"fw_id": {"$in": found["nodes"]}})
    }
    lacking = {arm for arm in arms if result.arms[arm].lacks_initial_density}
    names = {f"{arm} {'density' if arm in lacking else 'run'}" for arm in arms}
    again = {jobs[name] for name in names if name in jobs}
    if len(again) < len(names):
        children = {child for links in found["links"].values() for child in links}
        again = set(found["nodes"]) - children
    for fw_id in sorted(again):
        launchpad.rerun_fw(fw_id)
    return len(again)


def campaign_state(launchpad: LaunchPad, campaign: str) -> CampaignState:
    """Count workflows and jobs of a campaign by state, in the database.

    Parameters
    ----------
    launchpad
        Where it was submitted to.
    campaign
        Name of the campaign.

    Returns
    -------
    CampaignState
        Empty if nothing is submitted under this name.
    """
    query = {f"spec.{CAMPAIGN}": campaign}
    groups = launchpad.fireworks.aggregate(
        [
            {"$match": query},
            {
                "$group": {
                    "_id": {"category": "$spec._category", "state": "$state"},
                    "number": {"$sum": 1},
                }
            },
        ]
    )
    _, lost, _ = launchpad.detect_lostruns(expiration_secs=LOST_AFTER, query=query)
    return CampaignState(
        workflows=Counter(wf["state"] for wf in _workflows(launchpad, campaign)),
        jobs=Counter(
            {
                (group["_id"].get("category") or "any", group["_id"]["state"]): group["number"]
                for group in groups
            }
        ),
        lost=sorted(lost),
    )


def _remove_incomplete(launchpad: LaunchPad, campaign: str) -> None:
    """Remove workflows of which a killed submission has written a part alone."""
    workflows = launchpad.workflows.find({f"metadata.{CAMPAIGN}": campaign}, {"nodes": True})
    nodes = {workflow["_id"]: workflow["nodes"] for workflow in workflows}
    query = {"fw_id": {"$in": [node for own in nodes.values() for node in own]}}
    present = {job["fw_id"] for job in launchpad.fireworks.find(query, {"fw_id": True})}
    for key, own in nodes.items():
        if not present.issuperset(own):
            launchpad.fireworks.delete_many({"fw_id": {"$in": own}})
            launchpad.workflows.delete_one({"_id": key})


def _launch_states(
    launchpad: LaunchPad, job: dict[str, Any], now: datetime, lost_after: float
) -> set[str]:
    """States of a job's launches; ``ALIVE`` for one whose worker has given a sign of life."""
    states = set()
    for launch in launchpad.launches.find({"launch_id": {"$in": job.get("launches", [])}}):
        state = launch["state"]
        if state in ("RUNNING", "RESERVED"):
            heard = max(
                (entry.get("updated_on") or entry["created_on"])
                for entry in launch["state_history"]
            )
            state = "ALIVE" if _seconds(heard, now) < lost_after else "LOST"
            if state == "LOST":
                launchpad.mark_fizzled(launch["launch_id"])
        states.add(state)
    return states


def _unlock(launchpad: LaunchPad, locked: list[dict[str, Any]]) -> None:
    """Unlock workflows whose lock, which a living worker holds for moments, stays."""
    keys = [workflow["_id"] for workflow in locked]
    for _ in range(_LOCK_SAMPLES if keys else 0):
        time.sleep(_LOCK_PAUSE)
        query = {"_id": {"$in": keys}, "locked": {"$exists": True}}
        keys = [workflow["_id"] for workflow in launchpad.workflows.find(query, {"_id": True})]
    launchpad.workflows.update_many({"_id": {"$in": keys}}, {"$unset": {"locked": True}})


def _age(document: dict[str, Any], now: datetime) -> float:
    return _seconds(document["updated_on"], now)


def _seconds(then: datetime | str, now: datetime) -> float:
    """Seconds since a time of the database, which is without its zone (UTC)."""
    time_ = datetime.fromisoformat(then) if isinstance(then, str) else then
    return (now - time_.replace(tzinfo=time_.tzinfo or UTC)).total_seconds()


def _workflow(
    material: Material, maker: MaterialFlowMaker, campaign: str, settings: FireWorksSpec
) -> Workflow:
    from jobflow.managers.fireworks import flow_to_workflow

    flow = route_fireworks(labeled_flow(material, maker, campaign), settings)
    metadata = {CAMPAIGN: campaign, **identity(material, maker)}
    # Without a store of its own, a job uses the store of the worker that runs it.
    return flow_to_workflow(flow, name=f"{campaign}: {material.id}", metadata=metadata)


def _workflows(launchpad: LaunchPad, campaign: str) -> Iterable[dict[str, Any]]:
    found: Iterable[dict[str, Any]] = launchpad.workflows.find(
        {f"metadata.{CAMPAIGN}": campaign}, {"metadata": True, "state": True}
    )
    return found


def _difference(known: dict[str, Any], own: dict[str, Any]) -> str | None:
    """Name the first property in which two identities differ; None if they are the same."""
    names = {"structure": "structure", "protocol": "settings", "arms": "choice of arms"}
    names["models"] = "model"
    return next((name for key, name in names.items() if known.get(key) != own[key]), None)
