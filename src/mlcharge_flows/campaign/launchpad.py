"""A campaign on a FireWorks LaunchPad: one workflow per material, never two."""

from __future__ import annotations

import io
from collections import Counter
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlcharge_flows.campaign.documents import CAMPAIGN, identity, labeled_flow
from mlcharge_flows.campaign.routing import route_fireworks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from fireworks import LaunchPad, Workflow

    from mlcharge_flows.atomate2.flows.material import MaterialFlowMaker
    from mlcharge_flows.campaign.spec import FireWorksSpec
    from mlcharge_flows.structures import Material

BATCH = 20
"""Workflows that are inserted at once."""

LOST_AFTER = 4 * 3600
"""Seconds without a sign of life after which FireWorks calls a run lost (its own default)."""


class LaunchPadError(RuntimeError):
    """The LaunchPad cannot be used; the message is one line that says why."""


@dataclass
class CampaignState:
    """How far a campaign on a LaunchPad is.

    Parameters
    ----------
    workflows
        Number of workflows, that is of materials, by state.
    jobs
        Number of jobs by category and state.
    lost
        Jobs that run, but whose worker has given no sign of life for hours.
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
        reason = " ".join(str(error).split(",")[0].split())[:150]
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

    Safe to repeat, also after an interruption: materials that are there are left alone. Arms are
    not added to them; another choice of arms needs another campaign name.

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
    ValueError
        The categories do not fit.
    """
    there = {wf["metadata"]["material"]: wf["metadata"] for wf in _workflows(launchpad, campaign)}
    pending = []
    for material in materials:
        known = there.get(material.id)
        if known is None:
            pending.append(material)
        elif differing := _differing(known, identity(material, maker)):
            raise LaunchPadError(
                f"campaign {campaign!r}: {material.id} is submitted already with another "
                f"{differing}; choose another name for the campaign"
            )
    for first in range(0, len(pending), BATCH):
        batch = [
            _workflow(material, maker, campaign, settings)
            for material in pending[first : first + BATCH]
        ]
        with redirect_stderr(io.StringIO()):  # FireWorks draws a bar of its own for each batch
            launchpad.bulk_add_wfs(batch)
        on_added(len(batch))
    return len(pending)


def state(launchpad: LaunchPad, campaign: str) -> CampaignState:
    """Count workflows and jobs of a campaign by state, in the database.

    Parameters
    ----------
    launchpad
        Where it was submitted to.
    campaign
        Name of the campaign.
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


def _workflow(
    material: Material, maker: MaterialFlowMaker, campaign: str, settings: FireWorksSpec
) -> Workflow:
    from jobflow.managers.fireworks import flow_to_workflow

    flow = route_fireworks(labeled_flow(material, maker, campaign), settings)
    metadata = {CAMPAIGN: campaign, **identity(material, maker)}
    # Without a store of its own, a job uses that of the worker that runs it.
    return flow_to_workflow(flow, name=f"{campaign}: {material.id}", metadata=metadata)


def _workflows(launchpad: LaunchPad, campaign: str) -> Iterable[dict[str, Any]]:
    return launchpad.workflows.find(
        {f"metadata.{CAMPAIGN}": campaign}, {"metadata": True, "state": True}
    )


def _differing(known: dict[str, Any], own: dict[str, Any]) -> str | None:
    """Say which part of the identity differs, in a user's words."""
    words = {"structure": "structure", "protocol": "settings", "arms": "choice of arms"}
    words["models"] = "model"
    return next((word for key, word in words.items() if known.get(key) != own[key]), None)
