"""The ``mlcharge`` command; each subcommand has a file of its own in ``commands``."""

from __future__ import annotations

import warnings
from typing import Annotated

import typer

from mlcharge_flows import __version__
from mlcharge_flows.cli.bands import bands
from mlcharge_flows.cli.campaign_app import app as campaign
from mlcharge_flows.cli.compare import compare
from mlcharge_flows.cli.dataset import app as dataset
from mlcharge_flows.cli.evaluate import evaluate
from mlcharge_flows.cli.inspect import inspect
from mlcharge_flows.cli.models import app as models
from mlcharge_flows.cli.predict import predict
from mlcharge_flows.cli.report import report
from mlcharge_flows.cli.train import train

app = typer.Typer(
    name="mlcharge",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
app.command()(compare)
app.command()(bands)
app.command()(report)
app.command()(inspect)
app.command()(predict)
app.command()(train)
app.command()(evaluate)
app.add_typer(campaign)
app.add_typer(dataset)
app.add_typer(models)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"mlcharge {__version__}")
        raise typer.Exit


@app.callback()
def _mlcharge(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it and exit.")
    ] = False,
) -> None:
    """Start VASP runs from charge densities, and prove what it saved.

    [bold]A first comparison[/bold], in the folder [cyan]comparison[/cyan]:

        mlcharge compare Si.cif MgO.cif

    Every crystal runs from atoms, from a superposition of atoms sent through a CHGCAR, and from
    its own converged density; the report says how many electronic steps each start took.
    Without any setting the embedded [cyan]gpaw-vasp[/cyan] runs. To use VASP, set

        export VASP_CMD="mpirun -n 16 vasp_std"  PMG_VASP_PSP_DIR=/path/to/potcars
    """


def main() -> None:
    """Run the command."""
    # What libraries warn of on the way is not for the user of a command; runs log it.
    warnings.simplefilter("ignore")
    app()
