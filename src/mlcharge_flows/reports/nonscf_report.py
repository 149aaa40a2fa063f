"""Report of runs at fixed density: bands.csv, bands.json, bands.html and a figure per material."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mlcharge_flows.io import atomic_path, atomic_write
from mlcharge_flows.reports.image_files import bands_figure
from mlcharge_flows.reports.page import render
from mlcharge_flows.reports.palette import colors
from mlcharge_flows.reports.scf_report import computed_with
from mlcharge_flows.reports.table import (
    NOTHING,
    Column,
    FittedTable,
    count_of,
    number,
    percent,
    record_table,
    steps,
    text_table,
    to_csv,
    to_rich,
)
from mlcharge_flows.scf.comparison import REFERENCE
from mlcharge_flows.scf.electronic_structure import ElectronicStructureError
from mlcharge_flows.scf.nonscf import FixedDensityErrors, summarize_nonscf

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import pandas as pd

    from mlcharge_flows.scf.nonscf import FixedDensitySummary, NonSCFComparison, NonSCFSummary

FIGURE = "bands.png"
"""The figure of one material, in its folder."""

COLUMNS: tuple[Column[FixedDensitySummary], ...] = (
    Column(
        "counted",
        "materials where the run at this density and the self-consistent one both count",
        lambda arm: f"{arm.n_materials} of {arm.n_attempted}",
    ),
    Column(
        "median |dE|, meV/atom",
        "error of the energy (E0) at fixed density, which is the Harris functional",
        lambda arm: number(arm.median_abs_dE, 3),
    ),
    Column("|dE| < 1 meV/atom", "materials", lambda arm: percent(arm.fraction_energy_within, 0)),
    Column(
        "direct gaps within 43 meV",
        "materials; a metal has no gap, and is right if both runs say so",
        lambda arm: (
            f"{percent(arm.fraction_direct_gaps_within, 0)} ({arm.n_metals} metals)"
            if arm.n_gaps
            else NOTHING
        ),
    ),
    Column(
        "band energies within 43 meV",
        "fraction on the mesh, occupied bands and two above, mean over materials; in brackets "
        "after subtracting each material's mean error",
        lambda arm: (
            f"{percent(arm.fraction_bands_within, 0)} "
            f"({percent(arm.fraction_bands_within_shifted, 0)})"
        ),
    ),
    Column(
        "the same along the band path",
        "fraction of the band energies along the band path within 43 meV",
        lambda arm: percent(arm.fraction_band_path_within, 0),
    ),
    Column(
        "forces within 0.03 eV/Å",
        "fraction of ions, mean over materials; in brackets the materials whose forces vanish by "
        "symmetry, which are always right",
        lambda arm: (
            f"{percent(arm.fraction_forces_within, 0)} "
            f"({arm.n_forces_vanish} of {arm.n_forces} vanish)"
        ),
    ),
    Column(
        "median steps",
        "of the self-consistent run and of that at fixed density",
        lambda arm: f"{steps(arm.median_n_total_reference)} → {steps(arm.median_n_total)}",
    ),
    Column(
        "wall time, s",
        "of all self-consistent runs, and of all at fixed density with the time to prepare the "
        "initial densities; in brackets the ratio",
        lambda arm: (
            f"{number(arm.wall_time_reference, 1)} → {number(arm.wall_time, 1)}"
            f" ({number(arm.wall_ratio, 2)})"
        ),
    ),
    Column(
        "wall time of bands, ratio",
        "preparation and run along the band path, over self-consistent run and run along "
        "the band path",
        lambda arm: number(arm.band_path_wall_ratio, 2),
    ),
    Column(
        "failures",
        "runs that do not count, by cause",
        lambda arm: "; ".join(f"{cause}: {n}" for cause, n in arm.failures.items()) or "none",
    ),
)
"""Columns of the statistics, in the order of the published ones."""

_RUN = (
    *("n_total", "wall_time", "preparation_time", "energy", "started_from", "verified", "folder"),
)
_RUN_COLUMNS = (
    *("material_id", "formula", "n_atoms", "arm"),
    *FixedDensityErrors.model_fields,
    "band_path_fraction_bands_within",
    *_RUN,
    *("n_total_reference", "wall_time_reference", "failure", "protocol"),
)


def nonscf_summary_table(summary: NonSCFSummary) -> pd.DataFrame:
    """Write the statistics of runs at fixed density as text, one row per arm.

    Parameters
    ----------
    summary
        Statistics.

    Returns
    -------
    pandas.DataFrame
        Index: arms; columns: heads of :data:`COLUMNS`.

    Examples
    --------
    >>> nonscf_summary_table(summarize_nonscf([])).columns[0]
    'counted'
    """
    return text_table(COLUMNS, summary.arms)


def nonscf_terminal_table(summary: NonSCFSummary) -> FittedTable:
    """Lay the statistics of runs at fixed density out for a terminal, one column per arm.

    Parameters
    ----------
    summary
        Statistics.

    Returns
    -------
    FittedTable
        To be printed by a rich console.
    """
    title = f"Without self-consistency, {count_of(summary.n_materials, 'material')}"
    return to_rich(nonscf_summary_table(summary).T, title)


def nonscf_run_table(comparisons: Iterable[NonSCFComparison]) -> pd.DataFrame:
    """Tabulate every run at fixed density, whatever became of it.

    Parameters
    ----------
    comparisons
        One per material.

    Returns
    -------
    pandas.DataFrame
        One row per material and arm, by material: the fields of
        :class:`~mlcharge_flows.scf.nonscf.FixedDensityErrors`, times in s, energies in eV.
    """
    campaign = sorted(comparisons, key=lambda comparison: comparison.material_id)
    return record_table(_RUN_COLUMNS, (row for one in campaign for row in _rows(one)))


def write_nonscf_report(
    comparisons: Iterable[NonSCFComparison], folder: str | Path, left_out: Sequence[str] = ()
) -> Path:
    """Write the report of what is finished; figures that are there already are kept.

    Parameters
    ----------
    comparisons
        One per material; each has a folder of its name.
    folder
        Where to write; made if it is not there.
    left_out
        What else was found and is not shown: lines of the page.

    Returns
    -------
    Path
        Of ``bands.html``.

    Raises
    ------
    OSError
        The folder cannot be written to.
    MixedResultsError
        The materials were run with different settings, checkpoints, executables or PAW data sets.
    """
    campaign = sorted(comparisons, key=lambda comparison: comparison.material_id)
    folder = Path(folder)
    summary, runs = summarize_nonscf(campaign), nonscf_run_table(campaign)
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write(folder / "bands.csv", to_csv(runs))
    atomic_write(folder / "bands.json", summary.model_dump_json(indent=2) + "\n")
    page = render(
        "nonscf.html.jinja",
        left_out=left_out,
        summary=summary,
        table=nonscf_summary_table(summary),
        columns=COLUMNS,
        computed_with=computed_with(campaign),
        colors=colors(summary.arms),
        runs=runs,
        excluded=[
            (comparison, arm, reason)
            for comparison in campaign
            for arm in comparison.arms
            if (reason := comparison.exclusion_reason(arm))
        ],
        figures={comparison.material_id: _draw(comparison, folder) for comparison in campaign},
    )
    atomic_write(folder / "bands.html", page)
    return folder / "bands.html"


def _rows(comparison: NonSCFComparison) -> Iterator[Mapping[str, object]]:
    reference = comparison.arms[REFERENCE]
    for arm, run in comparison.arms.items():
        if arm == REFERENCE:
            continue
        errors = comparison.errors.get(arm) or FixedDensityErrors()
        along_path = comparison.band_path_errors.get(arm) or FixedDensityErrors()
        reasons = (comparison.exclusion_reason(name) for name in (arm, REFERENCE))
        yield {
            "material_id": comparison.material_id,
            "formula": comparison.formula,
            "n_atoms": comparison.n_atoms,
            "arm": arm,
            **errors.model_dump(),
            "band_path_fraction_bands_within": along_path.fraction_bands_within,
            **{name: getattr(run, name) for name in _RUN},
            "n_total_reference": reference.n_total,
            "wall_time_reference": reference.wall_time,
            "failure": next(filter(None, reasons), None),
            "protocol": comparison.protocol,
        }


def _draw(comparison: NonSCFComparison, folder: Path) -> tuple[str | None, str | None]:
    """Path of the figure of a material relative to the folder, or why there is none."""
    path = folder / comparison.material_id / FIGURE
    if not path.is_file():
        try:
            figure = bands_figure(comparison)
        except ElectronicStructureError as error:
            return None, str(error)
        path.parent.mkdir(exist_ok=True)
        with atomic_path(path) as partial:
            figure.savefig(partial, dpi=110, format="png")
    return f"{comparison.material_id}/{FIGURE}", None
