"""The report of runs that kept the density of a start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlcharge_flows.cli.report import written

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from rich.console import Console

    from mlcharge_flows.scf.comparison import Comparison
    from mlcharge_flows.scf.nonscf import NonSCFComparison


def complete(folder: Path, comparison: Comparison) -> NonSCFComparison:
    """Add the errors of a finished material, from the folder of the job that found them.

    Parameters
    ----------
    folder
        Campaign folder.
    comparison
        Counted runs of the material; it is all there is where the flow was lost.
    """
    from mlcharge_flows.atomate2.jobs.nonscf import DOCUMENT
    from mlcharge_flows.scf.nonscf import NonSCFComparison

    try:
        text = (folder / comparison.material_id / "nonscf" / DOCUMENT).read_text()
        return NonSCFComparison.model_validate_json(text)
    except (OSError, ValueError):
        return NonSCFComparison.model_validate(comparison.model_dump())


def of_bands(folder: Path, comparisons: Iterable[Comparison]) -> bool:
    """Whether the folder is one of ``mlcharge bands``."""
    from mlcharge_flows.atomate2.jobs.nonscf import DOCUMENT

    return any((folder / c.material_id / "nonscf" / DOCUMENT).is_file() for c in comparisons)


def show_nonscf_report(console: Console, comparisons: Iterable[Comparison], folder: Path) -> bool:
    """Write the report files, print the summary and where the page is.

    Parameters
    ----------
    console
        Where to print.
    comparisons
        What to report.
    folder
        Where to write.

    Returns
    -------
    bool
        Whether any material could be compared.
    """
    from mlcharge_flows.reports.nonscf_report import nonscf_terminal_table, write_nonscf_report
    from mlcharge_flows.scf.nonscf import summarize_nonscf

    found = [complete(folder, comparison) for comparison in comparisons]
    page = written(write_nonscf_report, found, folder)
    console.print(nonscf_terminal_table(summarize_nonscf(found)))
    console.print(f"Report: {page.absolute()}", soft_wrap=True, markup=False)
    return any(comparison.errors for comparison in found)
