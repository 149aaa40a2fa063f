"""A campaign on a LaunchPad whose workers died or failed: what they left is taken up again."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mlcharge_flows.campaign.documents import CAMPAIGN
from mlcharge_flows.campaign.launchpad import LOST_AFTER
from mlcharge_flows.campaign.request import CampaignRequest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fireworks import LaunchPad

    from mlcharge_flows.atomate2.flows.material import MaterialFlowMaker
    from mlcharge_flows.scf.comparison import Comparison

_LOCK_SAMPLES, _LOCK_PAUSE = 10, 1.0
"""How often, and at which interval in seconds, a lock is seen before it is called left behind."""


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
            {"nodes": True, "locked": True, "fw_states": True},
        )
    )
    _unlock(launchpad, [workflow for workflow in unfinished if workflow.get("locked")])
    nodes = [node for workflow in unfinished for node in workflow["nodes"]]
    fields = {"fw_id": True, "state": True, "launches": True, "updated_on": True}
    jobs = list(launchpad.fireworks.find({"fw_id": {"$in": nodes}}, fields))
    noted = {int(key): state for wf in unfinished for key, state in wf["fw_states"].items()}
    now, n_rerun = datetime.now(UTC), 0
    for job in sorted(jobs, key=lambda job: job["fw_id"]):
        if job["state"] in ("RUNNING", "RESERVED"):
            states = _launch_states(launchpad, job, now, lost_after)
            if "COMPLETED" in states:
                launchpad._refresh_wf(job["fw_id"])
                continue
            if "ALIVE" in states or _age(job, now) < lost_after:
                continue
        elif job["state"] == "COMPLETED" and noted[job["fw_id"]] != "COMPLETED":
            # Its worker was killed before the workflow and the jobs that follow knew of it.
            query = {"fw_id": job["fw_id"], "state": "COMPLETED"}
            launchpad.fireworks.update_one(query, {"$set": {"state": "RUNNING"}})
            launchpad._refresh_wf(job["fw_id"])
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


def _launch_states(
    launchpad: LaunchPad, job: dict[str, Any], now: datetime, lost_after: float
) -> set[str]:
    """States of a job's launches; ``ALIVE`` for one whose worker has given a sign of life."""
    states = set()
    for launch in launchpad.launches.find({"launch_id": {"$in": job.get("launches", [])}}):
        state = launch["state"]
        if state in ("RUNNING", "RESERVED"):
            last_update = max(
                (entry.get("updated_on") or entry["created_on"])
                for entry in launch["state_history"]
            )
            state = "ALIVE" if _seconds(last_update, now) < lost_after else "LOST"
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
