"""Tables of runs at fixed density: statistics of each start, and one row per run."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.table import Table

from mlcharge_flows.reports.quantity import NOTHING, number, percent, steps
from mlcharge_flows.scf.comparison import REFERENCE
from mlcharge_flows.scf.nonscf import FixedDensityErrors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mlcharge_flows.scf.nonscf import FixedDensitySummary, NonSCFComparison, NonSCFSummary


class Line(NamedTuple):
    """One quantity: its short name, what it means, and its text for a start."""

    head: str
    meaning: str
    cell: Callable[[FixedDensitySummary], str]


LINES = (
    Line(
        "counted",
        "materials where the run at this density and the self-consistent one both count",
        lambda start: f"{start.n_materials} of {start.n_attempted}",
    ),
    Line(
        "median |dE|, meV/atom",
        "error of the energy (E0) at fixed density, which is the Harris functional",
        lambda start: number(start.median_abs_dE, 3),
    ),
    Line("|dE| < 1 meV/atom", "materials", lambda start: percent(start.share_energy_within, 0)),
    Line(
        "direct gaps within 43 meV",
        "materials; a metal has none, and is right if it is one",
        lambda start: (
            f"{percent(start.share_direct_gaps_within, 0)} ({start.n_metals} metals)"
            if start.n_gaps
            else NOTHING
        ),
    ),
    Line(
        "band energies within 43 meV",
        "share on the mesh, occupied bands and two above, mean over materials; in brackets after "
        "taking off each material's mean error",
        lambda start: (
            f"{percent(start.share_bands_within, 0)} "
            f"({percent(start.share_bands_within_shifted, 0)})"
        ),
    ),
    Line(
        "the same along lines",
        "share of the band energies along lines of symmetry within 43 meV",
        lambda start: percent(start.share_band_path_within, 0),
    ),
    Line(
        "forces within 0.03 eV/Å",
        "share of ions, mean over materials; in brackets the materials without forces at all, "
        "which symmetry makes right",
        lambda start: (
            f"{percent(start.share_forces_within, 0)} "
            f"({start.n_forces_vanish} of {start.n_forces} vanish)"
        ),
    ),
    Line(
        "median steps",
        "of the self-consistent run and of that at fixed density",
        lambda start: f"{steps(start.median_n_total_reference)} → {steps(start.median_n_total)}",
    ),
    Line(
        "wall time, s",
        "of all self-consistent runs, and of all at fixed density with the time to make the starts",
        lambda start: (
            f"{number(start.wall_time_reference, 1)} → {number(start.wall_time, 1)}"
            f" ({number(start.wall_ratio, 2)})"
        ),
    ),
    Line(
        "wall time of bands",
        "ratio: start and run along lines, over self-consistent run and run along lines",
        lambda start: number(start.band_path_wall_ratio, 2),
    ),
    Line(
        "failures",
        "runs that do not count, by cause",
        lambda start: "; ".join(f"{cause}: {n}" for cause, n in start.failures.items()) or "none",
    ),
)
"""Quantities of the statistics, in the order of the published ones."""


def nonscf_markdown(summary: NonSCFSummary) -> str:
    """Write the statistics as a Markdown table, one column per start.

    Examples
    --------
    >>> from mlcharge_flows.scf.nonscf import summarize_nonscf
    >>> print(nonscf_markdown(summarize_nonscf([])).splitlines()[2])
    | counted |
    """
    starts = summary.arms
    rows = [["", *starts], ["---", *(["---:"] * len(starts))]]
    rows += [[line.head, *map(line.cell, starts.values())] for line in LINES]
    return "".join(
        f"| {' | '.join(c.replace('|', chr(92) + '|') for c in row)} |\n" for row in rows
    )


def nonscf_rich_table(summary: NonSCFSummary) -> Table:
    """Lay the statistics out for a terminal, one column per start."""
    title = f"Without self-consistency, {summary.n_materials} materials"
    table = Table(title=title, box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for name in summary.arms:
        table.add_column(name, justify="right")
    for line in LINES:
        table.add_row(line.head, *map(line.cell, summary.arms.values()))
    return table


_RUN = ("n_total", "wall_time", "preparation_time", "energy", "started_from", "verified", "folder")


def nonscf_rows(comparisons: Iterable[NonSCFComparison]) -> list[dict[str, object]]:
    """Tabulate every run at fixed density, whatever became of it.

    Parameters
    ----------
    comparisons
        One per material.
    """
    rows = []
    for comparison in sorted(comparisons, key=lambda one: one.material_id):
        reference = comparison.arms[REFERENCE]
        for name, run in comparison.arms.items():
            if name == REFERENCE:
                continue
            errors = comparison.errors.get(name) or FixedDensityErrors()
            along = comparison.band_path_errors.get(name) or FixedDensityErrors()
            rows.append(
                {
                    "material_id": comparison.material_id,
                    "formula": comparison.formula,
                    "n_atoms": comparison.n_atoms,
                    "arm": name,
                    **errors.model_dump(),
                    "band_path_share_bands_within": along.share_bands_within,
                    **{key: getattr(run, key) for key in _RUN},
                    "n_total_reference": reference.n_total,
                    "wall_time_reference": reference.wall_time,
                    "failure": comparison.exclusion_reason(name)
                    or comparison.exclusion_reason(REFERENCE),
                    "protocol": comparison.protocol,
                }
            )
    return rows


def nonscf_csv(comparisons: Iterable[NonSCFComparison]) -> str:
    """Write :func:`nonscf_rows` as CSV with a header; None is an empty cell."""
    rows = nonscf_rows(comparisons)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else ["material_id"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
