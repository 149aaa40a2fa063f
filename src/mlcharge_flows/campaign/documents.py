"""The result documents of a campaign in a job store: one small one per material, found by name."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mlcharge_flows.atomate2.jobs.comparison import Outcome
from mlcharge_flows.scf.comparison import Comparison

if TYPE_CHECKING:
    from jobflow import Flow, JobStore

    from mlcharge_flows.atomate2.flows.material import MaterialFlowMaker
    from mlcharge_flows.structures import Material

CAMPAIGN = "campaign"
RESULT = "result"
"""Keys of the metadata: of all jobs of a campaign; of the one job whose output is the result."""


class StoreError(RuntimeError):
    """There is no usable job store; the message is one line that says why."""


def labeled_flow(material: Material, maker: MaterialFlowMaker, campaign: str) -> Flow:
    """Flow of a material whose result can be found by the name of its campaign.

    Parameters
    ----------
    material
        What to run.
    maker
        Its flow; the output of the last job is the result.
    campaign
        Name of the campaign.
    """
    flow = maker.make(material.structure, material.id)
    flow.update_metadata({CAMPAIGN: campaign, "material": material.id})
    flow.jobs[-1].metadata[RESULT] = True
    return flow


def identity(material: Material, maker: MaterialFlowMaker) -> dict[str, Any]:
    """What tells whether a flow is the same: its material, structure, settings, arms and models."""
    structure = json.dumps(material.structure.as_dict(), sort_keys=True, default=str)
    return {
        "material": material.id,
        "structure": hashlib.sha256(structure.encode()).hexdigest()[:12],
        "protocol": maker.protocol,
        "arms": list(maker.arms),
        "models": maker.models,
    }


def find_results(store: JobStore, campaign: str) -> list[Comparison]:
    """Results that are there so far, by name of the material; each material once.

    Only documents of one or two kilobytes are read: none of a run, no grid.

    Parameters
    ----------
    store
        Job store, connected.
    campaign
        Name of the campaign.
    """
    query = {f"metadata.{CAMPAIGN}": campaign, f"metadata.{RESULT}": True}
    found = store.docs_store.query(query, properties=["output", "completed_at"])
    newest: dict[str, tuple[str, Comparison]] = {}
    for document in found:
        output = document["output"]
        kind = Outcome if output.get("@class") == "Outcome" else Comparison
        result = kind.model_validate(output)
        time = str(document.get("completed_at") or "")
        # A job that ran twice has one document; only a name that was used twice gives two.
        if result.material_id not in newest or newest[result.material_id][0] < time:
            newest[result.material_id] = time, result
    return [newest[name][1] for name in sorted(newest)]


def finish_times(store: JobStore, campaign: str) -> list[datetime]:
    """Times at which the materials that are finished were."""
    query = {f"metadata.{CAMPAIGN}": campaign, f"metadata.{RESULT}": True}
    found = store.docs_store.query(query, properties=["completed_at"])
    return [datetime.fromisoformat(str(document["completed_at"])) for document in found]


def open_store() -> JobStore:
    """Job store of this machine's jobflow settings, connected and indexed for campaigns.

    Raises
    ------
    StoreError
        None is configured, or it does not answer.
    """
    from jobflow import SETTINGS
    from maggma.stores import MemoryStore
    from pymongo.errors import PyMongoError

    store: JobStore = SETTINGS.JOB_STORE
    if type(store.docs_store) is MemoryStore:
        raise StoreError(
            "jobflow has no job store that outlives a process: write one into ~/.jobflow.yaml, or "
            "into the file that JOBFLOW_CONFIG_FILE names"
        )
    try:
        store.connect()
        store.docs_store.ensure_index("uuid")
        store.docs_store.ensure_index(f"metadata.{CAMPAIGN}")
    except PyMongoError as error:
        raise StoreError(f"the job store does not answer ({_short(error)})") from None
    return store


def _short(error: Exception) -> str:
    return " ".join(str(error).split(",")[0].split())[:150]
