"""Reporting a campaign at any time: what is finished, from its folder or from the job store."""

from __future__ import annotations

import csv
import io
from collections import Counter
from statistics import median
from typing import TYPE_CHECKING

from mlcharge_flows.cli.exit import exit_with_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from rich.console import Console

    from mlcharge_flows.atomate2.jobs.comparison import Outcome
    from mlcharge_flows.cli.campaign_spec import Campaign
    from mlcharge_flows.scf.comparison import Comparison

OUTCOMES = "outcomes.csv"


def is_local(out: Path) -> bool:
    """Whether a campaign runs, or ran, in a folder on this machine."""
    return (out / ".lock").exists()


def finished_materials(campaign: Campaign, out: Path) -> list[Comparison]:
    """Results so far: of the folder if the campaign runs there, else of the job store."""
    if not is_local(out):
        from mlcharge_flows.campaign.documents import StoreError, find_results, open_store

        try:
            return find_results(open_store(), campaign.spec.name)
        except StoreError as error:
            exit_with_error(f"{out}: no campaign has run in it, and {error}")
    from mlcharge_flows.atomate2.jobs.comparison import OUTCOME_FILE, Outcome
    from mlcharge_flows.campaign.local import results

    complete: list[Comparison] = []
    for comparison in results(out):
        path = out / comparison.material_id / "outcome" / OUTCOME_FILE
        try:
            complete.append(Outcome.model_validate_json(path.read_text()))
        except (OSError, ValueError):
            complete.append(comparison)
    return complete


def show_campaign(
    console: Console, campaign: Campaign, comparisons: list[Comparison], out: Path
) -> None:
    """Write the report files, print the summary, what is missing, and where the page is.

    Parameters
    ----------
    console
        Where to print.
    campaign
        The campaign.
    comparisons
        What is finished.
    out
        Where to write.
    """
    from mlcharge_flows.atomate2.jobs.comparison import Outcome
    from mlcharge_flows.reports.scf_report import terminal_table, write_report
    from mlcharge_flows.scf.statistics import summarize

    if not comparisons:
        exit_with_error(f"{campaign.spec.name}: no material is finished yet")
    if len(protocols := {comparison.protocol for comparison in comparisons}) > 1:
        exit_with_error(
            f"{campaign.spec.name}: its materials were run with {len(protocols)} different "
            "settings, which cannot be compared; use one name for each campaign"
        )
    reference = campaign.reference
    try:
        page = write_report(comparisons, out, reference)
        outcomes = [c for c in comparisons if isinstance(c, Outcome)]
        if outcomes:
            (out / OUTCOMES).write_text(outcomes_csv(outcomes), encoding="utf-8")
    except OSError as error:
        exit_with_error(f"{error.filename or out}: cannot be written ({error.strerror})")
    if outcomes:
        console.print(started_summary(outcomes), markup=False)
    else:
        console.print(terminal_table(summarize(comparisons, reference)))
    missing = len(campaign.materials) - len(comparisons)
    if missing > 0:
        console.print(f"{missing} of {len(campaign.materials)} materials are not finished")
    if outcomes:
        console.print(f"Outcomes: {(out / OUTCOMES).absolute()}", soft_wrap=True, markup=False)
    console.print(f"Report: {page.absolute()}", soft_wrap=True, markup=False)


def started_summary(outcomes: Sequence[Outcome]) -> str:
    """Say in one line how many materials were started, in how many steps, and what was not.

    Examples
    --------
    >>> from mlcharge_flows.atomate2.jobs.comparison import Outcome
    >>> from mlcharge_flows.scf.run import ScfRun
    >>> lost = ScfRun(folder="", failure="no start: a reason")
    >>> one = Outcome(material_id="Si", formula="Si", n_atoms=2, protocol="", arms={"file": lost})
    >>> started_summary([one])
    "0 of 1 materials ran from 'file'; not counted: 1 no start"
    """
    start = next(iter(outcomes[0].arms))
    runs = [outcome.arms[start] for outcome in outcomes]
    steps = [run.n_total for run in runs if run.exclusion_reason is None and run.n_total]
    causes = Counter(run.exclusion_reason.partition(":")[0] for run in runs if run.exclusion_reason)
    text = f"{len(steps)} of {len(runs)} materials ran from {start!r}"
    if steps:
        text += f", median {median(steps):g} electronic steps"
    listed = ", ".join(f"{number} {cause}" for cause, number in causes.most_common())
    return f"{text}; not counted: {listed}" if listed else text


def outcomes_csv(outcomes: Iterable[Outcome]) -> str:
    """Tabulate what started workflows gave; None is an empty cell.

    Examples
    --------
    >>> from mlcharge_flows.atomate2.jobs.comparison import Outcome
    >>> from mlcharge_flows.scf.run import ScfRun
    >>> run = ScfRun(folder="/run", n_total=9, started_from="chgcar")
    >>> given = {"material_id": "Si", "formula": "Si", "n_atoms": 2, "protocol": ""}
    >>> silicon = Outcome(**given, arms={"file": run})
    >>> print(outcomes_csv([silicon]).splitlines()[1])
    Si,Si,2,file,9,chgcar,read a CHGCAR that it was not given,,,/run
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        "material formula n_atoms start n_total started_from not_counted energy_per_atom "
        "band_gap folder".split()
    )
    for outcome in outcomes:
        ((start, run),) = outcome.arms.items()
        writer.writerow(
            [
                outcome.material_id,
                outcome.formula,
                outcome.n_atoms,
                start,
                run.n_total,
                run.started_from,
                run.exclusion_reason,
                outcome.energy_per_atom,
                outcome.band_gap,
                run.folder,
            ]
        )
    return text.getvalue()
