"""A campaign on the terminal: its SPEC.yaml, its results so far, and its report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from mlcharge_flows.cli.rounds import has_result
from mlcharge_flows.cli.terminal import exit_with_error, print_left_out, written

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from mlcharge_flows.atomate2.flows.material import MaterialFlowMaker
    from mlcharge_flows.campaign.documents import Selection
    from mlcharge_flows.campaign.rounds import Rounds
    from mlcharge_flows.campaign.spec import CampaignSpec
    from mlcharge_flows.scf.comparison import Comparison
    from mlcharge_flows.structures import Material

OUTCOMES = "outcomes.csv"


@dataclass
class Campaign:
    """A campaign that was read and found usable.

    Parameters
    ----------
    spec
        As the user wrote it.
    maker
        Flow of one material.
    materials
        What to run.
    """

    spec: CampaignSpec
    maker: MaterialFlowMaker
    materials: list[Material]

    @property
    def reference(self) -> str:
        """Arm that the report compares with: the first, of a workflow the only one."""
        return self.maker.arms[0]

    def has_result(self, comparison: Comparison) -> bool:
        """Whether the reference of a material counts; in rounds, any of its runs.

        Parameters
        ----------
        comparison
            Counted runs of the material.

        Returns
        -------
        bool
            False, too, where it is missing.
        """
        if self.spec.rounds is not None:
            return has_result(comparison)
        run = comparison.arms.get(self.reference)
        return run is not None and run.exclusion_reason is None

    def rounds(self, out: Path, materials: list[Material] | None = None) -> Rounds | None:
        """Read its rounds; exit with one line if their records cannot be used.

        Parameters
        ----------
        out
            Campaign folder.
        materials
            Those that can be run, if others were left out.

        Returns
        -------
        Rounds or None
            None if it runs as a whole.
        """
        from mlcharge_flows.atomate2.flows.compare import CompareDensitiesMaker
        from mlcharge_flows.campaign.rounds import Rounds

        if self.spec.rounds is None:
            return None
        assert isinstance(self.maker, CompareDensitiesMaker)
        chosen = self.materials if materials is None else materials
        return Rounds(self.spec.rounds, self.maker, chosen, out)


def read_campaign(
    console: Console, path: Path, skip_bad: bool, *, to_run: bool = False
) -> Campaign:
    """Read a SPEC.yaml and its structures; exit with a line per problem if they are unusable.

    Parameters
    ----------
    console
        Where to print what is left out.
    path
        The SPEC.yaml.
    skip_bad
        Whether to continue without structures that cannot be used.
    to_run
        Whether it is to run, and the files that its initial densities name have to be there.

    Returns
    -------
    Campaign
        With at least one material.
    """
    from mlcharge_flows.campaign.spec import SpecError, campaign_maker, read_spec
    from mlcharge_flows.cli.runs import select_structures

    try:
        spec = read_spec(path)
        maker = campaign_maker(spec, to_run)
    except SpecError as error:
        exit_with_error(f"{path}: {error}")
    spec.skip_bad |= skip_bad
    materials, problems = select_structures(spec.structures, spec.max_atoms, spec.limit)
    if problems and not spec.skip_bad:
        remedy = "correct this, or leave it out with 'skip_bad: true' or --skip-bad"
        exit_with_error(*problems, f"{path}: {remedy}")
    print_left_out(console, problems)
    if not materials:
        exit_with_error(f"{path}: no structure is left")
    return Campaign(spec, maker, materials)


def finished_results(campaign: Campaign, out: Path) -> Selection:
    """Read the results so far: of the folder if the campaign runs there, else of the job store.

    Parameters
    ----------
    campaign
        That is meant.
    out
        Its folder.

    Returns
    -------
    Selection
        Results that it asked for; exits with one line if there is neither folder nor job store.
    """
    from mlcharge_flows.campaign.documents import (
        StoreError,
        find_results,
        open_store,
        read_outcomes,
        select_results,
    )
    from mlcharge_flows.campaign.local import is_campaign_folder, unreadable_results

    unreadable: list[str] = []
    if is_campaign_folder(out):
        found, unreadable = read_outcomes(out), unreadable_results(out)
    else:
        try:
            found = find_results(open_store(), campaign.spec.name)
        except StoreError as error:
            exit_with_error(f"{out}: no campaign has run in it, and {error}")
    rounds = campaign.rounds(out)
    maker = campaign.maker if rounds is None else rounds.maker()
    selection = select_results(found, campaign.materials, maker)
    selection.others += unreadable
    return selection


def show_campaign(
    console: Console, campaign: Campaign, found: Selection, out: Path, *, as_json: bool = False
) -> None:
    """Write the report, print its summary, what is missing, and where the page is.

    Parameters
    ----------
    console
        Where to print.
    campaign
        That is reported.
    found
        Its results.
    out
        Folder of the report.
    as_json
        Whether the summary is printed as JSON on standard output.
    """
    from mlcharge_flows.atomate2.jobs.comparison import Outcome
    from mlcharge_flows.campaign.documents import outcomes_csv, summarize_outcomes
    from mlcharge_flows.campaign.round_summary import summarize_rounds
    from mlcharge_flows.io import atomic_write
    from mlcharge_flows.reports.rounds import summary_json, terminal_rounds
    from mlcharge_flows.reports.scf_report import terminal_table, write_report
    from mlcharge_flows.scf.comparison import mixed
    from mlcharge_flows.scf.statistics import summarize

    name, comparisons = campaign.spec.name, found.results
    print_left_out(console, found.others, "not shown")
    if not comparisons:
        exit_with_error(f"{name}: no material is finished yet")
    if differences := mixed(comparisons):
        exit_with_error(
            f"{name}: its materials were run with {', '.join(differences)}, which cannot be "
            "compared; use one name for each campaign"
        )
    rounds = campaign.rounds(out)
    by_round = [] if rounds is None else summarize_rounds(rounds)
    page = written(
        lambda: write_report(comparisons, out, campaign.reference, found.others, by_round), out
    )
    if outcomes := [c for c in comparisons if isinstance(c, Outcome)]:
        written(lambda: atomic_write(out / OUTCOMES, outcomes_csv(outcomes)), out)
    if as_json:
        typer.echo(summary_json(summarize(comparisons, campaign.reference), by_round))
    elif outcomes:
        console.print(summarize_outcomes(outcomes), markup=False)
    else:
        console.print(terminal_table(summarize(comparisons, campaign.reference)))
        if by_round:
            console.print(terminal_rounds(by_round))
    missing = len(campaign.materials) - found.n_complete
    if missing > 0:
        console.print(f"{missing} of {len(campaign.materials)} materials are not finished")
    if outcomes:
        console.print(f"Outcomes: {(out / OUTCOMES).absolute()}", soft_wrap=True, markup=False)
    console.print(f"Report: {page.absolute()}", soft_wrap=True, markup=False)
