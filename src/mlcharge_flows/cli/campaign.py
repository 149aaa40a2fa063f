"""``mlcharge campaign``: many materials, on this machine or on a cluster."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlcharge_flows.cli.campaign_report import (
    Campaign,
    finished_results,
    read_campaign,
    show_campaign,
)
from mlcharge_flows.cli.launchpad_status import show_launchpad
from mlcharge_flows.cli.options import (  # noqa: TC001 - typer needs them at run time
    AsJson,
    DryRun,
    Executable,
    RetryFailed,
    SkipBad,
)
from mlcharge_flows.cli.rounds import (
    rounds_progress,
    run_rounds,
    show_planned_rounds,
)
from mlcharge_flows.cli.runs import prepare, run_materials
from mlcharge_flows.cli.terminal import (
    NOTHING_DONE,
    exit_with_error,
    make_console,
    print_left_out,
)
from mlcharge_flows.progress_lines import ProgressLines

if TYPE_CHECKING:
    from fireworks import LaunchPad
    from rich.console import Console

    from mlcharge_flows.structures import Material

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
    failed by the fault of the machine run again, others only with --retry-failed. With rounds in
    the SPEC, the finished runs of each round calibrate the model for the next.

    [bold]Example[/bold]

        mlcharge campaign run SPEC.yaml --dry-run

        mlcharge campaign run SPEC.yaml --workers 4 --out first
    """
    console = make_console(as_json=as_json)
    campaign = read_campaign(console, spec, skip_bad, to_run=True)
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
    rounds = campaign.rounds(out, prepared.materials)
    if dry_run:
        _show_plan(
            console, campaign, prepared.materials, out, retry_failed=retry_failed, as_json=as_json
        )
        return
    if rounds is not None:
        results = run_rounds(console, prepared, rounds, retry_failed=retry_failed)
    else:
        results = run_materials(console, prepared, out, retry_failed=retry_failed)
    show_campaign(console, campaign, finished_results(campaign, out), out, as_json=as_json)
    if not any(campaign.has_result(comparison) for comparison in results):
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
    campaign = read_campaign(console, spec, skip_bad, to_run=True)
    if campaign.spec.rounds is not None:
        exit_with_error(
            f"{spec}: rounds: a round needs the results of the one before, and a LaunchPad takes "
            "all materials at once; give 'mlcharge campaign run' in one job, or leave rounds out, "
            "submit some structures, 'mlcharge calibrate' their runs, and submit the others with "
            "'calibration: FILE'"
        )
    name, total, n_rerun = campaign.spec.name, len(campaign.materials), 0
    console.print(f"Executable of the workers: {settings.program}", markup=False)
    if dry_run:
        _show_plan(console, campaign, campaign.materials)
        return
    pad = open_launchpad(launchpad)
    with closing(pad.connection), Progress(console=console, transient=True) as progress:
        task, lines = progress.add_task("workflows", total=total), ProgressLines("workflows", total)

        def advance(count: int) -> None:
            progress.update(task, advance=count)
            if not console.is_terminal and (line := lines.line(int(progress.tasks[0].completed))):
                console.print(line, markup=False)

        added = submit_materials(
            pad,
            name,
            campaign.materials,
            campaign.maker,
            campaign.spec.fireworks,
            advance,
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
    as_json: bool = False,
) -> None:
    """Print what would run, or be submitted; refuse a folder that holds something else."""
    from mlcharge_flows.campaign.local import finished_materials, folder_conflicts
    from mlcharge_flows.reports.table import count_of

    rounds = campaign.rounds(out, materials) if out is not None else None
    maker = campaign.maker if rounds is None else rounds.maker()
    name, finished = campaign.spec.name, 0
    if out is not None and out.is_dir():
        for conflict in folder_conflicts(materials, maker, out).values():
            exit_with_error(f"{conflict}; choose another --out, or remove it")
        finished = len(finished_materials(materials, maker, out, retry_failed=retry_failed))
    ions = sorted({len(material.structure) for material in materials})
    size = str(ions[0]) if len(ions) == 1 else f"{ions[0]} to {ions[-1]}"
    console.print(
        f"{name}: {count_of(len(materials), 'material')} of {size} "
        f"{'ion' if ions == [1] else 'ions'}, {finished} of them finished; "
        f"arms {', '.join(maker.arms)}; protocol {maker.protocol}",
        markup=False,
        soft_wrap=True,
    )
    if rounds is not None:
        show_planned_rounds(console, rounds)
    done = f"run in {out}" if out is not None else "submitted"
    console.print(
        f"Dry run: {count_of(len(materials) - finished, 'material')} would be {done}",
        markup=False,
        soft_wrap=True,
    )
    if as_json:
        plan = {"name": name, "materials": len(materials), "finished": finished}
        plan |= {"arms": list(maker.arms), "protocol": maker.protocol, "out": str(out)}
        typer.echo(json.dumps(plan))


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
    campaign = read_campaign(console, spec, skip_bad)
    out = out or Path(campaign.spec.name)
    if not is_campaign_folder(out):
        from mlcharge_flows.campaign.launchpad import LaunchPadError

        name, total = campaign.spec.name, len(campaign.materials)
        try:
            show_launchpad(console, name, total, launchpad, as_json=as_json)
        except LaunchPadError as error:
            exit_with_error(f"{out}: no campaign has run in it, and {error}")
        return
    found = finished_results(campaign, out)
    failed = sum(
        not campaign.has_result(c)
        for c in found.results
        if campaign.spec.rounds is not None or campaign.reference in c.arms
    )
    rounds = campaign.rounds(out)
    progress = [] if rounds is None else rounds_progress(rounds)
    if as_json:
        counts = {"materials": len(campaign.materials), "finished": found.n_complete}
        listed = {} if rounds is None else {"rounds": progress}
        typer.echo(
            json.dumps({"name": campaign.spec.name, **counts, "without_result": failed, **listed})
        )
        return
    console.print(
        f"{campaign.spec.name}: {found.n_complete} of {len(campaign.materials)} materials are "
        f"finished in {out}" + (f", {failed} of them without a result" if failed else ""),
        markup=False,
    )
    for one in progress[-1:]:
        n_rounds = len(progress) + len(rounds.planned_rounds() if rounds else [])
        console.print(
            f"Round {one['round']} of {n_rounds}: {one['finished']} of {one['materials']} "
            "materials are finished"
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
    campaign = read_campaign(console, spec, skip_bad)
    out = out or Path(campaign.spec.name)
    show_campaign(console, campaign, finished_results(campaign, out), out, as_json=as_json)
