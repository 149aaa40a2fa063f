"""The ``mlcharge`` command; each subcommand has its own file."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from inspect import cleandoc
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from mlcharge_flows import __version__
from mlcharge_flows.cli.bands import bands
from mlcharge_flows.cli.calibrate import calibrate
from mlcharge_flows.cli.campaign import app as campaign
from mlcharge_flows.cli.compare import compare
from mlcharge_flows.cli.dataset import app as dataset
from mlcharge_flows.cli.evaluate import evaluate
from mlcharge_flows.cli.inspect import inspect
from mlcharge_flows.cli.models import app as models
from mlcharge_flows.cli.predict import predict
from mlcharge_flows.cli.report import report
from mlcharge_flows.cli.terminal import VERBOSITY, exit_with_error
from mlcharge_flows.cli.train import train
from mlcharge_flows.errors import MlchargeError, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator


_EVERYWHERE = ("-q", "--quiet", "-v", "--verbose")


class Commands(TyperGroup):
    """The subcommands; what a user can mend ends each of them with its lines and status 2."""

    def invoke(self, ctx: Any) -> Any:
        """Run the subcommand.

        Parameters
        ----------
        ctx
            Click's context of the command line, or that of typer's copy of click.

        Returns
        -------
        Any
            What the subcommand returns.
        """
        with _one_line_errors():
            return super().invoke(ctx)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take the options of all commands from wherever they stand.

        Parameters
        ----------
        ctx
            Click's context.
        args
            Words after ``mlcharge``.

        Returns
        -------
        list of str
            What is left for the subcommand.
        """
        end = args.index("--") if "--" in args else len(args)
        everywhere = [word for word in args[:end] if word in _EVERYWHERE]
        others = [word for word in args[:end] if word not in _EVERYWHERE]
        left: list[str] = super().parse_args(ctx, [*everywhere, *others, *args[end:]])
        return left

    def make_context(self, *given: Any, **options: Any) -> Any:
        """Read the options before the name of the subcommand.

        Parameters
        ----------
        *given
            As click gives them.
        **options
            As click gives them.

        Returns
        -------
        Any
            Click's context.
        """
        with _one_line_errors():
            return super().make_context(*given, **options)


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Print what a user can mend as one line for each problem, and exit with status 2."""
    try:
        yield
    except MlchargeError as error:
        exit_with_error(*(error.problems or (error,)))
    except Exception as error:
        # Usage errors are of click's class, or of that of typer's copy of click.
        if type(error).__module__.startswith("ruamel."):  # atomate2 reads it when it is imported
            exit_with_error(f"~/.atomate2.yaml: is no YAML ({one_line(error)})")
        message, context = getattr(error, "format_message", None), getattr(error, "ctx", None)
        if message is None or type(error).__name__ == "NoArgsIsHelpError":
            raise
        path = context.command_path if context else "mlcharge"
        what = f"{' '.join(path.split()[1:])}: {message()}".lstrip(": ").rstrip(". ")
        exit_with_error(f"{what}; see '{path} --help'")


app = typer.Typer(
    name="mlcharge",
    cls=Commands,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
app.command()(compare)
app.command()(bands)
app.command()(report)
app.command()(inspect)
app.command()(predict)
app.command()(calibrate)
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
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet",
            "-q",
            help="Print only errors, JSON, and what inspect, models and dataset show. Also "
            "accepted after the name of a command.",
        ),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            "-v",
            help="Also print log messages, warnings of libraries and the origin of errors. Also "
            "accepted after the name of a command.",
        ),
    ] = False,
) -> None:
    """Begin VASP runs from given charge densities, and count the electronic steps saved.

    [bold]A first comparison[/bold], in the folder [cyan]comparison[/cyan]:

        mlcharge compare Si.cif MgO.cif --executable gpaw-vasp

    Every crystal runs from free atoms, from a superposition of atoms read from a CHGCAR, from the
    density that the shipped model predicts, and from its own converged density; the report lists
    the electronic steps of each run. Runs use the VASP that atomate2 is configured for, or the one
    of

        export VASP_CMD="mpirun -n 16 vasp_std"  PMG_VASP_PSP_DIR=/path/to/potcars

    The embedded [cyan]gpaw-vasp[/cyan] must be selected, by
    [cyan]--executable gpaw-vasp[/cyan] for one command, or for all commands and jobs by

        export MLCHARGE_VASP_CMD=gpaw-vasp
    """
    VERBOSITY.set(quiet=quiet, verbose=verbose)


def _unwrapped(text: str) -> str:
    """Join the lines of each paragraph: a terminal breaks them at its width."""
    paragraphs = cleandoc(text).split("\n\n")
    return "\n\n".join(p if p.startswith(" ") else p.replace("\n", " ") for p in paragraphs)


for _group in (app, campaign, dataset, models):
    for _command in _group.registered_commands:
        if _command.callback is not None:
            _command.help = _unwrapped(_command.callback.__doc__ or "")
if app.registered_callback is not None:
    app.registered_callback.help = _unwrapped(_mlcharge.__doc__ or "")


def main() -> None:
    """Run the command."""
    # Warnings of libraries are not for the user of a command; runs log them.
    warnings.simplefilter("ignore")
    app()
