"""The summary table: the same columns in the terminal, in Markdown and in the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.table import Table

from mlcharge_flows.reports.quantity import NOTHING, interval, number, percent, small, steps

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlcharge_flows.scf.statistics import ArmSummary, Summary


class Column(NamedTuple):
    """One column: its short head, what it means, and the text of its cells."""

    head: str
    meaning: str
    cell: Callable[[ArmSummary], str]


COLUMNS = (
    Column(
        "counted",
        "materials where this arm and the reference both count, of those attempted",
        lambda arm: f"{arm.n_materials} of {arm.n_attempted}",
    ),
    Column(
        "occupancies",
        "where the on-site occupancies of the starts came from",
        lambda arm: ", ".join(arm.augmentation_sources) or NOTHING,
    ),
    Column(
        "median steps",
        "median n_total of the reference and of this arm, over the same materials",
        lambda arm: (
            f"{steps(arm.median_n_total_reference)} → {steps(arm.median_n_total)}"
            if arm.n_materials
            else NOTHING
        ),
    ),
    Column(
        "ratio of medians",
        "reduction of the median, 1 − median(arm) / median(reference): the published definition",
        lambda arm: percent(arm.ratio_of_medians),
    ),
    Column(
        "mean reduction",
        "mean over materials of 1 − n_total(arm) / n_total(reference)",
        lambda arm: percent(arm.mean_reduction),
    ),
    Column(
        "95 % interval",
        "paired bootstrap interval of the mean reduction",
        lambda arm: interval(arm.mean_reduction_ci95),
    ),
    Column(
        "faster / equal / slower",
        "shares of materials with fewer, equally many and more steps",
        lambda arm: (
            " / ".join(
                percent(share, 0).removesuffix(" %")
                for share in (arm.share_faster, arm.share_equal, arm.share_slower)
            )
            + " %"
            if arm.n_materials
            else NOTHING
        ),
    ),
    Column(
        "of ceiling",
        "mean reduction over that of the converged start, on the materials that have both",
        lambda arm: percent(arm.share_of_ceiling, 0),
    ),
    Column(
        "first rms(c)",
        "median residual of the starting density, as the first line of OSZICAR with rms(c) has it",
        lambda arm: small(arm.median_first_residual),
    ),
    Column(
        "wall time saved",
        "median over materials, the time to make the start included",
        lambda arm: percent(arm.median_wall_saving),
    ),
    Column(
        "max |dE|",
        "largest energy difference to the reference, meV/atom",
        lambda arm: number(arm.max_abs_dE_meV_per_atom, 3),
    ),
)
"""Columns of the summary, after the name of the arm."""


def summary_table(summary: Summary) -> str:
    """Write the summary as a Markdown table.

    Parameters
    ----------
    summary
        Statistics of a campaign; without arms, only the head is written.

    Examples
    --------
    >>> from mlcharge_flows.scf.statistics import summarize
    >>> print(summary_table(summarize([])).splitlines()[0][:40])
    | arm | counted | occupancies | median s
    """
    lines = [
        _markdown(["arm", *(column.head.replace("|", "\\|") for column in COLUMNS)]),
        "|---|" + "---:|" * len(COLUMNS),
    ]
    for name, arm in summary.arms.items():
        lines.append(_markdown([name, *(column.cell(arm) for column in COLUMNS)]))
    return "\n".join(lines) + "\n"


def rich_table(summary: Summary) -> Table:
    """Lay the summary out for a terminal: one column per arm, which fits 80 characters.

    Parameters
    ----------
    summary
        Statistics of a campaign.
    """
    table = Table(
        title=f"Electronic steps against {summary.reference!r}, {summary.n_materials} materials",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("")
    for name in summary.arms:
        table.add_column(name, justify="right")
    for column in COLUMNS:
        table.add_row(column.head, *(column.cell(arm) for arm in summary.arms.values()))
    return table


def _markdown(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
