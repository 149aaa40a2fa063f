"""``mlcharge campaign``: many materials, on this machine or on a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlcharge_flows.cli.campaign_launchpad import show_state, submit_campaign
from mlcharge_flows.cli.exit import NOTHING_DONE, exit_with_error

if TYPE_CHECKING:
    from rich.console import Console

    from mlcharge_flows.cli.campaign_spec import Campaign

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
) -> None:
    """Run every material that is not finished, on this machine, and report.

    After an interruption of any kind, give the same command: what is finished stays.

    [bold]Example[/bold]

        mlcharge campaign run SPEC.yaml --workers 4 --out first
    """
    from rich.console import Console

    from mlcharge_flows.campaign.local import usable_cpus
    from mlcharge_flows.cli.campaign_report import finished_materials, show_campaign
    from mlcharge_flows.cli.campaign_spec import read_campaign
    from mlcharge_flows.cli.run_watched import run_watched
    from mlcharge_flows.settings import Settings

    console = Console(highlight=False)
    campaign = read_campaign(console, spec)
    out = out or Path(campaign.spec.name)
    _make_ready(context, console, campaign, spec)
    if workers is None:
        workers = campaign.spec.workers
    if workers == 0:
        workers = usable_cpus() if Settings.for_command().embedded else 1
    done = run_watched(console, campaign.materials, campaign.maker, out, workers)
    show_campaign(console, campaign, finished_materials(campaign, out), out)
    if not any(result.arms[campaign.reference].exclusion_reason is None for result in done):
        exit_with_error(f"no material has a result; see {out}/*/flow.log", status=NOTHING_DONE)


@app.command()
def submit(spec: Spec, launchpad: LaunchPadFile = None) -> None:
    """Add one workflow per material to the FireWorks LaunchPad, each only once.

    Workers take them with rlaunch or qlaunch; results go into each worker's own job store.

    [bold]Example[/bold]

        mlcharge campaign submit SPEC.yaml
    """
    from rich.console import Console

    from mlcharge_flows.cli.campaign_spec import read_campaign

    console = Console(highlight=False)
    submit_campaign(console, read_campaign(console, spec), launchpad)


@app.command()
def status(spec: Spec, out: Out = None, launchpad: LaunchPadFile = None) -> None:
    """Say how far a campaign is: in its folder if it runs there, else on the LaunchPad.

    [bold]Example[/bold]

        mlcharge campaign status SPEC.yaml
    """
    from rich.console import Console

    from mlcharge_flows.cli.campaign_report import finished_materials, is_local
    from mlcharge_flows.cli.campaign_spec import read_campaign

    console = Console(highlight=False)
    campaign = read_campaign(console, spec)
    out = out or Path(campaign.spec.name)
    if not is_local(out):
        show_state(console, campaign, launchpad)
        return
    results = finished_materials(campaign, out)
    failed = sum(result.arms[campaign.reference].exclusion_reason is not None for result in results)
    console.print(
        f"{campaign.spec.name}: {len(results)} of {len(campaign.materials)} materials are finished"
        f" in {out}" + (f", {failed} of them without a result" if failed else ""),
        markup=False,
    )


@app.command()
def report(spec: Spec, out: Out = None) -> None:
    """Report what is finished so far, from the campaign's folder or else from the job store.

    [bold]Example[/bold]

        mlcharge campaign report SPEC.yaml --out first
    """
    from rich.console import Console

    from mlcharge_flows.cli.campaign_report import finished_materials, show_campaign
    from mlcharge_flows.cli.campaign_spec import read_campaign

    console = Console(highlight=False)
    campaign = read_campaign(console, spec)
    out = out or Path(campaign.spec.name)
    show_campaign(console, campaign, finished_materials(campaign, out), out)


def _make_ready(context: typer.Context, console: Console, campaign: Campaign, path: Path) -> None:
    """Find the executable and the PAW data, or leave with a line that says what is missing."""
    from mlcharge_flows.cli.compare import with_data
    from mlcharge_flows.settings import Settings, SetupError

    try:
        settings = Settings.for_command()
        settings.check()
        if settings.potcar_library and not settings.potcar_library.exists():
            console.print("Exporting the PAW data sets, once...")
        context.with_resource(settings.activated())
    except SetupError as error:
        exit_with_error(error)
    campaign.materials, without = with_data(campaign.materials, campaign.maker)
    if without and not campaign.spec.skip_bad:
        exit_with_error(*without, f"{path}: correct this, or leave it out with 'skip_bad: true'")
    for problem in without:
        console.print(f"left out: {problem}", style="yellow", markup=False)
    if not campaign.materials:
        exit_with_error(f"{path}: no structure is left")
