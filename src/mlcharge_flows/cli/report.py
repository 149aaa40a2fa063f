"""``mlcharge report``: write the report of a campaign folder again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path  # noqa: TC003 - typer needs it at run time
from typing import TYPE_CHECKING, Annotated

import typer

from mlcharge_flows.cli.options import AsJson  # noqa: TC001 - typer needs it at run time
from mlcharge_flows.cli.terminal import exit_with_error, make_console, print_left_out, written

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from mlcharge_flows.atomate2.flows.material import MaterialFlowMaker
    from mlcharge_flows.scf.comparison import Comparison
    from mlcharge_flows.structures import Material


def report(
    folder: Annotated[
        Path, typer.Argument(help="Folder that compare or bands wrote, finished or not.")
    ],
    as_json: AsJson = False,
) -> None:
    """Write the report of the finished materials in a folder; nothing is run.

    [bold]Example[/bold]

        mlcharge report comparison
    """
    from mlcharge_flows.campaign.documents import has_nonscf_documents
    from mlcharge_flows.campaign.local import read_results, unchanged_results, unreadable_results
    from mlcharge_flows.scf.comparison import mixed

    if not folder.is_dir():
        exists = folder.exists()
        reason = "is a file; give the folder of --out" if exists else "there is no such folder"
        exit_with_error(f"{folder}: {reason}")
    comparisons = read_results(folder)
    if not comparisons and (unreadable := unreadable_results(folder)):
        exit_with_error(*unreadable)
    if not comparisons:
        exit_with_error(
            f"{folder}: no material is finished in it; is it the --out of mlcharge compare or "
            "bands?"
        )
    if differences := mixed(comparisons):
        exit_with_error(
            f"{folder}: its materials were run with {', '.join(differences)}, "
            "which cannot be compared; keep them in separate folders"
        )
    console = make_console(as_json=as_json)
    comparisons, changed = unchanged_results(folder, comparisons)
    left_out = [*changed, *unreadable_results(folder)]
    print_left_out(console, left_out, "not shown")
    if has_nonscf_documents(folder, comparisons):
        show_nonscf_report(console, comparisons, folder, left_out, as_json=as_json)
    else:
        show_report(console, comparisons, folder, left_out, as_json=as_json)


def results_to_show(
    console: Console, folder: Path, materials: Sequence[Material], maker: MaterialFlowMaker
) -> tuple[list[Comparison], list[str]]:
    """Choose the results of a folder that belong in the report of a command that has run there.

    Results of earlier commands with the same settings are in it, too; what is not is told.

    Parameters
    ----------
    console
        Where to print.
    folder
        Campaign folder.
    materials
        What the command has run.
    maker
        Flow of one material.

    Returns
    -------
    results : list of Comparison
        Of one protocol, and of checkpoints that are those of the command where both have an arm.
    left_out : list of str
        One line about each kind of other results, which are printed as well.
    """
    from mlcharge_flows.campaign.local import read_results, unchanged_results, unreadable_results
    from mlcharge_flows.campaign.request import CampaignRequest
    from mlcharge_flows.scf.comparison import mixed

    request, found, others = CampaignRequest.from_maker(maker), [], Counter[str]()
    for result in read_results(folder):
        if reason := request.conflicts_with(result):
            others[reason] += 1
        else:
            found.append(result)
    found, changed = unchanged_results(folder, found)
    left_out = [f"{number} results {reason}" for reason, number in others.items()]
    left_out += [*changed, *unreadable_results(folder)]
    print_left_out(console, left_out, "not shown")
    if differences := mixed(found):
        exit_with_error(
            f"{folder}: holds results of {', '.join(differences)}, which cannot be compared; "
            "choose another --out"
        )
    requested = {material.id for material in materials}
    if earlier := sum(result.material_id not in requested for result in found):
        console.print(f"The report also shows {earlier} materials of earlier commands")
    return found, left_out


def show_report(
    console: Console,
    comparisons: Sequence[Comparison],
    folder: Path,
    left_out: Sequence[str] = (),
    *,
    as_json: bool = False,
) -> None:
    """Write the report of compared runs, and print its summary and where the page is.

    Parameters
    ----------
    console
        Where to print.
    comparisons
        What to report.
    folder
        Where to write.
    left_out
        What else was found and is not shown.
    as_json
        Whether the summary is printed as JSON on standard output.
    """
    from mlcharge_flows.reports.scf_report import terminal_table, write_report
    from mlcharge_flows.scf.statistics import summarize

    page = written(lambda: write_report(comparisons, folder, left_out=left_out), folder)
    summary = summarize(comparisons)
    if as_json:
        typer.echo(summary.model_dump_json(indent=2))
    else:
        console.print(terminal_table(summary))
    console.print(f"Report: {page.absolute()}", soft_wrap=True, markup=False)


def show_nonscf_report(
    console: Console,
    comparisons: Sequence[Comparison],
    folder: Path,
    left_out: Sequence[str] = (),
    *,
    as_json: bool = False,
) -> bool:
    """Write the report of runs at fixed density, and print its summary and where the page is.

    Parameters
    ----------
    console
        Where to print.
    comparisons
        What to report.
    folder
        Campaign folder, and where to write.
    left_out
        What else was found and is not shown.
    as_json
        Whether the summary is printed as JSON on standard output.

    Returns
    -------
    bool
        Whether any material could be compared.
    """
    from mlcharge_flows.campaign.documents import read_nonscf
    from mlcharge_flows.reports.nonscf_report import nonscf_terminal_table, write_nonscf_report
    from mlcharge_flows.scf.nonscf import summarize_nonscf

    found = [read_nonscf(folder, comparison) for comparison in comparisons]
    page = written(lambda: write_nonscf_report(found, folder, left_out), folder)
    summary = summarize_nonscf(found)
    if as_json:
        typer.echo(summary.model_dump_json(indent=2))
    else:
        console.print(nonscf_terminal_table(summary))
    console.print(f"Report: {page.absolute()}", soft_wrap=True, markup=False)
    return any(comparison.errors for comparison in found)
