"""``mlcharge report``: write the report of a campaign folder again."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer needs it at run time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlcharge_flows.cli.exit import exit_with_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from mlcharge_flows.scf.comparison import Comparison


def report(
    folder: Annotated[
        Path, typer.Argument(help="Folder that compare or bands wrote, finished or not.")
    ],
) -> None:
    """Write the report of what is finished in a folder; nothing is run.

    [bold]Example[/bold]

        mlcharge report comparison
    """
    from rich.console import Console

    from mlcharge_flows.campaign.local import results
    from mlcharge_flows.cli.nonscf_report import of_bands, show_nonscf_report

    if not folder.is_dir():
        exit_with_error(f"{folder}: there is no such folder")
    comparisons = results(folder)
    if not comparisons:
        exit_with_error(
            f"{folder}: no material is finished in it; is it the --out of mlcharge compare or "
            "bands?"
        )
    protocols = {comparison.protocol for comparison in comparisons}
    if len(protocols) > 1:
        exit_with_error(
            f"{folder}: its materials were run with {len(protocols)} different settings, "
            "which cannot be compared; keep them in separate folders"
        )
    console = Console(highlight=False)
    if of_bands(folder, comparisons):
        show_nonscf_report(console, comparisons, folder)
    else:
        show_report(console, comparisons, folder)


def show_report(console: Console, comparisons: list[Comparison], folder: Path) -> None:
    """Write the report files, print the summary and where the page is.

    Parameters
    ----------
    console
        Where to print.
    comparisons
        What to report.
    folder
        Where to write.
    """
    from mlcharge_flows.reports.scf_report import terminal_table, write_report
    from mlcharge_flows.scf.statistics import summarize

    page = written(write_report, comparisons, folder)
    console.print(terminal_table(summarize(comparisons)))
    console.print(f"Report: {page.absolute()}", soft_wrap=True, markup=False)


def written(write: Callable[[list[Any], Path], Path], found: list[Any], folder: Path) -> Path:
    """Write report files; what the file system refuses is one line.

    Parameters
    ----------
    write
        Writes into a folder and gives the page.
    found
        What to report.
    folder
        Where to write.
    """
    try:
        return write(found, folder)
    except OSError as error:
        exit_with_error(f"{error.filename or folder}: cannot be written ({error.strerror})")
