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
from mlcharge_flows.errors import MlchargeError, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from fireworks import LaunchPad, Workflow
    from pymongo.collection import Collection

    from mlcharge_flows.atomate2.flows.material import MaterialFlowMaker
    from mlcharge_flows.campaign.fireworks_spec import FireWorksSpec
    from mlcharge_flows.structures import Material

BATCH_SIZE = 20
"""Workflows that are inserted at once."""

LOST_AFTER = 4 * 3600
"""Seconds without a ping of its worker after which FireWorks calls a run lost (its default)."""


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
    from fireworks.utilities.fw_serializers import FWFormatError, FWSerializationError
    from pymongo.errors import PyMongoError
    from ruamel.yaml.error import YAMLError

    path = path or (Path(fw_config.LAUNCHPAD_LOC) if fw_config.LAUNCHPAD_LOC else None)
    if path is None:
        raise LaunchPadError(
            "there is no my_launchpad.yaml: write one with 'lpad init', or name it by --launchpad"
        )
    wrong_content = (FWFormatError, FWSerializationError, YAMLError, AttributeError, TypeError)
    unusable = (*wrong_content, OSError, ValueError, PyMongoError)
    try:
        launchpad = LaunchPad.from_file(str(path))
    except KeyError as error:
        raise LaunchPadError(f"{path}: {error.args[0]} is missing; add it") from None
    except unusable as error:
        raise LaunchPadError(f"{path}: not a LaunchPad file ({one_line(error, 150)})") from None
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
    jobs = _counts(launchpad.fireworks, query, {"category": "$spec._category", "state": "$state"})
    states = _counts(launchpad.workflows, {f"metadata.{CAMPAIGN}": campaign}, {"state": "$state"})
    # Running jobs alone can be lost; FireWorks would read the numbers of all jobs.
    running = launchpad.fireworks.find({**query, "state": "RUNNING"}, {"fw_id": True})
    lost: list[int] = []
    if numbers := [job["fw_id"] for job in running]:
        some = {"fw_id": {"$in": numbers}}
        _, lost, _ = launchpad.detect_lostruns(expiration_secs=LOST_AFTER, query=some)
    return CampaignState(
        workflows=Counter({group["state"]: number for group, number in states}),
        jobs=Counter(
            {(group.get("category") or "any", group["state"]): number for group, number in jobs}
        ),
        lost=sorted(lost),
    )


def _counts(
    collection: Collection[dict[str, Any]], query: dict[str, Any], key: dict[str, str]
) -> Iterator[tuple[dict[str, Any], int]]:
    """Number of documents by some of their values, counted in the database."""
    groups = [{"$match": query}, {"$group": {"_id": key, "number": {"$sum": 1}}}]
    for group in collection.aggregate(groups):
        yield group["_id"], group["number"]


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
