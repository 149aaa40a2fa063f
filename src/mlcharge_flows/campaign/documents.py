"""Result documents of a campaign: one small document per material, found by the campaign's name."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime
from statistics import median
from typing import TYPE_CHECKING, Any

from mlcharge_flows.atomate2.jobs.comparison import DOCUMENT, OUTCOME_FILE, Outcome
from mlcharge_flows.campaign.local import read_results
from mlcharge_flows.campaign.material_folder import structure_hash
from mlcharge_flows.campaign.request import CampaignRequest
from mlcharge_flows.errors import MlchargeError, one_line
from mlcharge_flows.reports.table import record_table, to_csv
from mlcharge_flows.scf.comparison import Comparison, refuse_mixed
from mlcharge_flows.scf.nonscf import NonSCFComparison
from mlcharge_flows.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from jobflow import Flow, JobStore

    from mlcharge_flows.atomate2.flows.material import MaterialFlowMaker
    from mlcharge_flows.structures import Material

CAMPAIGN = "campaign"
"""Key of the metadata of all jobs of a campaign."""
STRUCTURE = "structure_hash"
"""Key of the metadata of the hash of the structure that a job is of."""
RESULT = "result"
"""Key of the metadata of the one job of each flow whose output is the result."""


class StoreError(MlchargeError, RuntimeError):
    """There is no usable job store; the message is one line."""


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

    Returns
    -------
    Flow
        With the names of campaign and material in the metadata of its jobs.
    """
    flow = maker.make(material.structure, material.id)
    structure = structure_hash(material.structure)
    flow.update_metadata({CAMPAIGN: campaign, "material": material.id, STRUCTURE: structure})
    flow.jobs[-1].metadata[RESULT] = True
    return flow


def identity(material: Material, maker: MaterialFlowMaker) -> dict[str, Any]:
    """Properties in which two flows of the same material may differ.

    Parameters
    ----------
    material
        What to run.
    maker
        Its flow.

    Returns
    -------
    dict
        Identifier, hashes of structure and settings, arms, and models.
    """
    structure = json.dumps(material.structure.as_dict(), sort_keys=True, default=str)
    return {
        "material": material.id,
        "structure": hashlib.sha256(structure.encode()).hexdigest()[:12],
        "protocol": maker.protocol,
        "arms": list(maker.arms),
        "models": maker.models,
    }


def find_results(store: JobStore, campaign: str) -> list[Comparison]:
    """Find the results in a job store that are there so far.

    Only documents of one or two kilobytes are read: none of a run, no grid.

    Parameters
    ----------
    store
        Job store, connected.
    campaign
        Name of the campaign.

    Returns
    -------
    list of Comparison
        By name of the material; each material once. Documents that cannot be read are left out.
    """
    query = {f"metadata.{CAMPAIGN}": campaign, f"metadata.{RESULT}": True}
    properties = ["output", "completed_at", "metadata"]
    found = store.docs_store.query(query, properties=properties)
    newest: dict[str, tuple[str, Comparison]] = {}
    for document in found:
        output = document["output"]
        try:
            kind = Outcome if output.get("@class") == "Outcome" else Comparison
            result = kind.model_validate(output)
        except (AttributeError, ValueError):  # a document that is broken costs itself alone
            continue
        result.structure = document.get("metadata", {}).get(STRUCTURE)
        time = str(document.get("completed_at") or "")
        # A job that ran twice has one document; only a name that was used twice gives two.
        if result.material_id not in newest or newest[result.material_id][0] < time:
            newest[result.material_id] = time, result
    return [newest[name][1] for name in sorted(newest)]


@dataclass
class Selection:
    """The results that a campaign asked for, and what else was found.

    Parameters
    ----------
    results
        Of its materials under its settings, with its arms alone.
    others
        One line about each kind of results that are not shown.
    n_complete
        Number of materials that have all arms.
    """

    results: list[Comparison]
    others: list[str]
    n_complete: int


def select_results(
    found: Iterable[Comparison], materials: Iterable[Material], maker: MaterialFlowMaker
) -> Selection:
    """Choose the results of a campaign, whose executable need not be configured here.

    Parameters
    ----------
    found
        Results in a folder or a job store.
    materials
        Materials of the campaign.
    maker
        Flow of one material.

    Returns
    -------
    Selection
        Without results of other materials, changed structures, other settings or checkpoints.
    """
    structures = {material.id: material.structure for material in materials}
    requests, found = CampaignRequest.by_material(maker), list(found)
    protocols = _protocols(found, maker)
    shown, n_complete = [], 0
    others, further = Counter[str](), Counter[str]()
    for result in found:
        request = requests(result.material_id)
        here = replace(request, protocol=protocols[_program(result)])
        if (structure := structures.get(result.material_id)) is None:
            others["of materials that are not in it"] += 1
        elif result.structure not in (None, structure_hash(structure)):
            others["of structures that were changed since"] += 1
        elif reason := here.conflicts_with(result):
            others[f"{reason}"] += 1
        else:
            arms = {arm: run for arm, run in result.arms.items() if arm in request.arms}
            further.update(result.arms.keys() - arms.keys())
            n_complete += here.is_complete(result)
            shown.append(result.model_copy(update={"arms": arms}))
    lines = [f"{number} results {reason}" for reason, number in others.items()]
    lines += [f"arm {arm!r} of {number} materials" for arm, number in sorted(further.items())]
    return Selection([result for result in shown if result.arms], lines, n_complete)


def _program(result: Comparison) -> str:
    """Executable of a result; empty for results that do not tell."""
    names = (run.execution.get("executable") for run in result.arms.values())
    return next((name for name in names if name), "")


def _protocols(found: Iterable[Comparison], maker: MaterialFlowMaker) -> dict[str, str]:
    """Hash of the settings under each executable of the results."""
    protocols = {"": maker.protocol}
    for program in {_program(result) for result in found} - {""}:
        with Settings(vasp_cmd=program).named():
            protocols[program] = maker.protocol
    return protocols


def finish_times(store: JobStore, campaign: str) -> list[datetime]:
    """Times at which the finished materials were finished.

    Parameters
    ----------
    store
        Job store, connected.
    campaign
        Name of the campaign.

    Returns
    -------
    list of datetime
        One per material.
    """
    query = {f"metadata.{CAMPAIGN}": campaign, f"metadata.{RESULT}": True}
    found = store.docs_store.query(query, properties=["completed_at"])
    return [datetime.fromisoformat(str(document["completed_at"])) for document in found]


def open_store() -> JobStore:
    """Open the job store of this machine's jobflow settings, indexed for campaigns.

    Returns
    -------
    JobStore
        Connected.

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
        reason = one_line(str(error).split(",")[0], 150)
        raise StoreError(f"the job store does not answer ({reason})") from None
    return store


def read_outcomes(folder: Path) -> list[Comparison]:
    """Read the results in the folder of a campaign on this machine.

    Parameters
    ----------
    folder
        Campaign folder.

    Returns
    -------
    list of Comparison
        By name of the material; workflows give an
        :class:`~mlcharge_flows.atomate2.jobs.comparison.Outcome`, with energy and band gap.
    """
    complete: list[Comparison] = []
    for comparison in read_results(folder):
        path = folder / comparison.material_id / "outcome" / OUTCOME_FILE
        try:
            outcome = Outcome.model_validate_json(path.read_text(encoding="utf-8"))
            complete.append(outcome.model_copy(update={"structure": comparison.structure}))
        except (OSError, ValueError):
            complete.append(comparison)
    return complete


def read_nonscf(folder: Path, comparison: Comparison) -> NonSCFComparison:
    """Read the errors at fixed density of a finished material.

    Parameters
    ----------
    folder
        Campaign folder.
    comparison
        Counted runs of the material.

    Returns
    -------
    NonSCFComparison
        Without errors where the flow of the material failed.
    """
    try:
        text = (folder / comparison.material_id / "nonscf" / DOCUMENT).read_text(encoding="utf-8")
        return NonSCFComparison.model_validate_json(text)
    except (OSError, ValueError):
        return NonSCFComparison.model_validate(comparison.model_dump())


def has_nonscf_documents(folder: Path, comparisons: Iterable[Comparison]) -> bool:
    """Whether the runs of a campaign folder are at fixed density.

    Parameters
    ----------
    folder
        Campaign folder.
    comparisons
        Results in it.

    Returns
    -------
    bool
        True if any material has errors at fixed density.
    """
    return any((folder / c.material_id / "nonscf" / DOCUMENT).is_file() for c in comparisons)


def summarize_outcomes(outcomes: Sequence[Outcome]) -> str:
    """Summarize how many workflows began from their initial density, and in how many steps.

    Parameters
    ----------
    outcomes
        Results of workflows from one initial density; at least one.

    Returns
    -------
    str
        One line.

    Raises
    ------
    MixedResultsError
        The workflows had different settings, checkpoints, executables or PAW data sets.

    Examples
    --------
    >>> from mlcharge_flows.scf.run import ScfRun
    >>> lost = ScfRun(folder="", failure="no initial density: a reason")
    >>> one = Outcome(material_id="Si", formula="Si", n_atoms=2, protocol="", arms={"file": lost})
    >>> summarize_outcomes([one])
    "0 of 1 materials ran from 'file'; not counted: 1 no initial density"
    """
    refuse_mixed(outcomes)
    arm = next(iter(outcomes[0].arms))
    runs = [outcome.arms[arm] for outcome in outcomes]
    steps = [run.n_total for run in runs if run.exclusion_reason is None and run.n_total]
    causes = Counter(run.exclusion_reason.partition(":")[0] for run in runs if run.exclusion_reason)
    text = f"{len(steps)} of {len(runs)} materials ran from {arm!r}"
    if steps:
        text += f", median {median(steps):g} electronic steps"
    listed = ", ".join(f"{number} {cause}" for cause, number in causes.most_common())
    return f"{text}; not counted: {listed}" if listed else text


def outcomes_csv(outcomes: Iterable[Outcome]) -> str:
    """Tabulate the results of workflows.

    Parameters
    ----------
    outcomes
        Results of workflows from one initial density.

    Returns
    -------
    str
        CSV with a header; energies in eV per atom, gaps in eV; None is an empty cell.

    Examples
    --------
    >>> from mlcharge_flows.scf.run import ScfRun
    >>> run = ScfRun(folder="/run", n_total=9, started_from="chgcar")
    >>> arms = {"file": run}
    >>> silicon = Outcome(material_id="Si", formula="Si", n_atoms=2, protocol="", arms=arms)
    >>> print(outcomes_csv([silicon]).splitlines()[1])
    Si,Si,2,file,9,chgcar,read a CHGCAR that it was not given,,,/run
    """
    columns = (
        *("material_id", "formula", "n_atoms", "initial_density", "n_total", "started_from"),
        *("exclusion_reason", "energy_per_atom", "band_gap", "folder"),
    )
    records = []
    for outcome in outcomes:
        ((arm, run),) = outcome.arms.items()
        known = {**run.model_dump(), **outcome.model_dump(exclude={"arms"})}
        known |= {"initial_density": arm, "exclusion_reason": run.exclusion_reason}
        records.append({name: known[name] for name in columns})
    return to_csv(record_table(columns, records))
