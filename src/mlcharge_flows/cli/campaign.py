"""``mlcharge campaign``: many materials, on this machine or on a cluster."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlcharge_flows.cli.launchpad_status import show_launchpad
from mlcharge_flows.cli.options import (  # noqa: TC001 - typer needs them at run time
    AsJson,
    DryRun,
    Executable,
    RetryFailed,
    SkipBad,
)
from mlcharge_flows.cli.runs import prepare, run_materials
from mlcharge_flows.cli.terminal import (
    NOTHING_DONE,
    exit_with_error,
    make_console,
    print_left_out,
    written,
)

if TYPE_CHECKING:
    from fireworks import LaunchPad
    from rich.console import Console

    from mlcharge_flows.atomate2.flows.material import MaterialFlowMaker
    from mlcharge_flows.campaign.documents import Selection
    from mlcharge_flows.campaign.spec import CampaignSpec
    from mlcharge_flows.structures import Material

OUTCOMES = "outcomes.csv"

app = typer.Typer(name="campaign", no_args_is_help=True)

Spec = Annotated[Path, typer.Argument(help="The campaign's SPEC.yaml.")]
Out = Annotated[
    Path | None,
    typer.Option(help="Folder of the runs and of the report; the campaign's name if not given."),
]
LaunchPadFile = Annotated[
    Path | None,
    typer.Option("--launchpad", help="A my_launchpad.yaml instead of FireWorks' own choice."),
]


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


@app.callback()
def _campaign() -> None:
    """Run many materials from a SPEC.yaml, on this machine or on a cluster."""


@app.command()
def run(
    context: typer.Context,
    spec: Spec,
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Materials at a time; 0: one per CPU, or 1 with VASP."),
    ] = None,
    out: Out = None,
    executable: Executable = None,
    skip_bad: SkipBad = False,
    retry_failed: RetryFailed = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Run every material that is not finished, on this machine, and report.

    After an interruption of any kind, give the same command: finished materials stay. Runs that
    failed by the fault of the machine run again, others only with --retry-failed.

    [bold]Example[/bold]

        mlcharge campaign run SPEC.yaml --dry-run

        mlcharge campaign run SPEC.yaml --workers 4 --out first
    """
    console = make_console(as_json=as_json)
    campaign = _read(console, spec, skip_bad)
    out = out or Path(campaign.spec.name)
    prepared = prepare(
        context,
        console,
        executable,
        lambda: campaign.maker,
        lambda: (campaign.materials, []),
        workers=campaign.spec.workers if workers is None else workers,
        skip_bad=campaign.spec.skip_bad,
        remedy=f"{spec}: correct this, or leave it out with 'skip_bad: true' or --skip-bad",
    )
    if dry_run:
        _show_plan(console, campaign, prepared.materials, out, retry_failed=retry_failed)
        return
    results = run_materials(console, prepared, out, retry_failed=retry_failed)
    _show(console, campaign, _finished(campaign, out), out, as_json=as_json)
    if not any(c.arms[campaign.reference].exclusion_reason is None for c in results):
        exit_with_error(f"no material has a result; see {out}/*/flow.log", status=NOTHING_DONE)


@app.command()
def submit(
    spec: Spec,
    launchpad: LaunchPadFile = None,
    skip_bad: SkipBad = False,
    retry_failed: RetryFailed = False,
    dry_run: DryRun = False,
) -> None:
    """Add one workflow per material to the FireWorks LaunchPad, each only once.

    Workers take them with rlaunch or qlaunch; results go into each worker's own job store. The
    executable is that of the workers: configure it here as there (VASP_CMD, or
    MLCHARGE_VASP_CMD=gpaw-vasp). Given again, it lets jobs run
    again whose worker has died, and runs that failed by the fault of the machine.

    [bold]Example[/bold]

        mlcharge campaign submit SPEC.yaml
    """
    from rich.progress import Progress

    from mlcharge_flows.campaign.launchpad import open_launchpad
    from mlcharge_flows.campaign.launchpad import submit as submit_materials
    from mlcharge_flows.campaign.recovery import recover
    from mlcharge_flows.settings import Settings

    console = make_console()
    settings = Settings.for_command(of_workers=True)
    campaign = _read(console, spec, skip_bad)
    name, total, n_rerun = campaign.spec.name, len(campaign.materials), 0
    console.print(f"Executable of the workers: {settings.program}", markup=False)
    if dry_run:
        _show_plan(console, campaign, campaign.materials)
        return
    pad = open_launchpad(launchpad)
    with closing(pad.connection), Progress(console=console, transient=True) as progress:
        task = progress.add_task("workflows", total=total)
        added = submit_materials(
            pad,
            name,
            campaign.materials,
            campaign.maker,
            campaign.spec.fireworks,
            lambda count: progress.update(task, advance=count),
        )
        if added < total:
            n_rerun = recover(pad, name) + _retry(console, campaign, pad, retry_failed)
    submitted = f", {total - added} were there already" if added < total else ""
    submitted += f", {n_rerun} jobs run again" if n_rerun else ""
    console.print(f"{name}: {added} workflows added{submitted}", markup=False)


def _show_plan(
    console: Console,
    campaign: Campaign,
    materials: list[Material],
    out: Path | None = None,
    *,
    retry_failed: bool = False,
) -> None:
    """Print what would run, or be submitted; refuse a folder that holds something else."""
    from mlcharge_flows.campaign.local import finished_materials, folder_conflicts

    maker, name, finished = campaign.maker, campaign.spec.name, 0
    if out is not None and out.is_dir():
        for conflict in folder_conflicts(materials, maker, out).values():
            exit_with_error(f"{conflict}; choose another --out, or remove it")
        finished = len(finished_materials(materials, maker, out, retry_failed=retry_failed))
    ions = [len(material.structure) for material in materials]
    console.print(
        f"{name}: {len(materials)} materials of {min(ions)} to {max(ions)} ions, {finished} of "
        f"them finished; arms {', '.join(maker.arms)}; protocol {maker.protocol}",
        markup=False,
        soft_wrap=True,
    )
    done = f"run in {out}" if out is not None else "submitted"
    console.print(
        f"Dry run: {len(materials) - finished} materials would be {done}",
        markup=False,
        soft_wrap=True,
    )


def _retry(console: Console, campaign: Campaign, pad: LaunchPad, retry_failed: bool) -> int:
    """Run failed arms of finished workflows again; needs the job store with their results."""
    from mlcharge_flows.campaign.documents import StoreError, find_results, open_store
    from mlcharge_flows.campaign.recovery import retry

    try:
        results = find_results(open_store(), campaign.spec.name)
    except StoreError as error:
        console.print(f"failed runs are not run again: {error}", markup=False, soft_wrap=True)
        return 0
    return retry(pad, campaign.spec.name, results, campaign.maker, retry_failed=retry_failed)


@app.command()
def status(
    spec: Spec,
    out: Out = None,
    launchpad: LaunchPadFile = None,
    skip_bad: SkipBad = False,
    as_json: AsJson = False,
) -> None:
    """Print the progress of a campaign: of its folder if it runs there, else of the LaunchPad.

    [bold]Example[/bold]

        mlcharge campaign status SPEC.yaml
    """
    from mlcharge_flows.campaign.local import is_campaign_folder

    console = make_console(as_json=as_json)
    campaign = _read(console, spec, skip_bad)
    out = out or Path(campaign.spec.name)
    if not is_campaign_folder(out):
        name, total = campaign.spec.name, len(campaign.materials)
        show_launchpad(console, name, total, launchpad, as_json=as_json)
        return
    found = _finished(campaign, out)
    failed = sum(
        c.arms[campaign.reference].exclusion_reason is not None
        for c in found.results
        if campaign.reference in c.arms
    )
    if as_json:
        counts = {"materials": len(campaign.materials), "finished": found.n_complete}
        typer.echo(json.dumps({"name": campaign.spec.name, **counts, "without_result": failed}))
        return
    console.print(
        f"{campaign.spec.name}: {found.n_complete} of {len(campaign.materials)} materials are "
        f"finished in {out}" + (f", {failed} of them without a result" if failed else ""),
        markup=False,
    )
    print_left_out(console, found.others, f"also in {out}")


@app.command()
def report(spec: Spec, out: Out = None, skip_bad: SkipBad = False, as_json: AsJson = False) -> None:
    """Report what is finished so far, from the campaign's folder or else from the job store.

    Results of other materials, changed structures, other settings or checkpoints are not shown.

    [bold]Example[/bold]

        mlcharge campaign report SPEC.yaml --out first
    """
    console = make_console(as_json=as_json)
    campaign = _read(console, spec, skip_bad)
    out = out or Path(campaign.spec.name)
    _show(console, campaign, _finished(campaign, out), out, as_json=as_json)


def _read(console: Console, path: Path, skip_bad: bool) -> Campaign:
    """Read a SPEC.yaml and its structures; exit with a line per problem if they are unusable."""
    from mlcharge_flows.campaign.spec import SpecError, campaign_maker, read_spec
    from mlcharge_flows.cli.runs import select_structures

    try:
        spec = read_spec(path)
        maker = campaign_maker(spec)
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


def _finished(campaign: Campaign, out: Path) -> Selection:
    """Results so far: of the folder if the campaign runs there, else of the job store."""
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
    selection = select_results(found, campaign.materials, campaign.maker)
    selection.others += unreadable
    return selection


def _show(
    console: Console, campaign: Campaign, found: Selection, out: Path, *, as_json: bool = False
) -> None:
    """Write the report, print its summary, what is missing, and where the page is."""
    from mlcharge_flows.atomate2.jobs.comparison import Outcome
    from mlcharge_flows.campaign.documents import outcomes_csv, summarize_outcomes
    from mlcharge_flows.io import atomic_write
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
    page = written(lambda: write_report(comparisons, out, campaign.reference, found.others), out)
    if outcomes := [c for c in comparisons if isinstance(c, Outcome)]:
        written(lambda: atomic_write(out / OUTCOMES, outcomes_csv(outcomes)), out)
    if as_json:
        typer.echo(summarize(comparisons, campaign.reference).model_dump_json(indent=2))
    elif outcomes:
        console.print(summarize_outcomes(outcomes), markup=False)
    else:
        console.print(terminal_table(summarize(comparisons, campaign.reference)))
    missing = len(campaign.materials) - found.n_complete
    if missing > 0:
        console.print(f"{missing} of {len(campaign.materials)} materials are not finished")
    if outcomes:
        console.print(f"Outcomes: {(out / OUTCOMES).absolute()}", soft_wrap=True, markup=False)
    console.print(f"Report: {page.absolute()}", soft_wrap=True, markup=False)
