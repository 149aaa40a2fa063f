"""Report of a comparison: materials.csv, summary.json and report.html."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup
from plotly.offline import get_plotlyjs

from mlcharge_flows.io import atomic_write
from mlcharge_flows.reports import figures
from mlcharge_flows.reports.class_table import class_table
from mlcharge_flows.reports.final_states import states_notes
from mlcharge_flows.reports.page import render
from mlcharge_flows.reports.palette import colors
from mlcharge_flows.reports.rounds import ROUND_COLUMNS, rounds_table, summary_json
from mlcharge_flows.reports.scf_columns import WALL_TIME, shown_columns
from mlcharge_flows.reports.table import (
    NOTHING,
    FittedTable,
    count_of,
    record_table,
    text_table,
    to_csv,
    to_rich,
)
from mlcharge_flows.scf.comparison import CONTROL, REFERENCE, ordered_arms
from mlcharge_flows.scf.final_state import (
    ENERGY_TOLERANCE,
    MOMENT_TOLERANCE,
    moment_difference,
)
from mlcharge_flows.scf.material_class import by_class
from mlcharge_flows.scf.statistics import summarize

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd

    from mlcharge_flows.reports.rounds import RoundSummary
    from mlcharge_flows.scf.comparison import Comparison
    from mlcharge_flows.scf.run import ScfRun
    from mlcharge_flows.scf.statistics import Summary

_RUN = (
    *("n_total", "n_scf", "first_residual", "wall_time", "cpu_time", "preparation_time"),
    *("preparation_cpu_time", "loading_time", "energy", "converged", "started_from", "verified"),
    *("orbitals_source", "n_delay", "total_moment", "hubbard", "band_gap"),
    *("corrections", "failure", "provenance_issue", "folder"),
)
_RUN_COLUMNS = (
    *("material_id", "formula", "n_atoms", "arm", "n_total", "n_scf", "reduction"),
    *("first_residual", "wall_time", "cpu_time", "preparation_time", "preparation_cpu_time"),
    *("loading_time", "energy", "dE_meV_per_atom", "total_moment", "max_moment_difference"),
    *("band_gap", "hubbard"),
    *("converged", "started_from", "verified", "corrections", "failure", "provenance_issue"),
    *("orbitals_source", "n_delay", "protocol", "folder"),
)


def summary_table(summary: Summary) -> pd.DataFrame:
    """Write the statistics of a campaign as text, one row per arm.

    Parameters
    ----------
    summary
        Statistics of a campaign.

    Returns
    -------
    pandas.DataFrame
        Index: arms; columns: heads of :func:`~mlcharge_flows.reports.scf_columns.shown_columns`.
        Wall times are left out where the summary has a ``wall_time_issue``.

    Examples
    --------
    >>> summary_table(summarize([])).columns[0]
    'counted'
    """
    table = text_table(shown_columns(summary), summary.arms)
    if summary.wall_time_issue:
        table[WALL_TIME] = NOTHING
    return table


def summary_note(summary: Summary) -> str | None:
    """Note below the table of statistics.

    Parameters
    ----------
    summary
        Statistics of a campaign.

    Returns
    -------
    str or None
        Why wall times are not shown; None if they are, or if there is nothing to show.
    """
    if not summary.arms or not summary.wall_time_issue:
        return None
    return f"Wall times are not shown: {summary.wall_time_issue}."


def terminal_table(summary: Summary) -> FittedTable:
    """Lay the statistics of a campaign out for a terminal, one column per arm.

    Parameters
    ----------
    summary
        Statistics of a campaign.

    Returns
    -------
    FittedTable
        To be printed by a rich console; as many arms beside each other as fit its width.
    """
    materials = count_of(summary.n_materials, "material")
    title = f"Electronic steps against {summary.reference!r}, {materials}"
    notes = [note for note in (summary_note(summary), *states_notes(summary)) if note]
    return to_rich(summary_table(summary).T, title, "\n".join(notes) or None)


def run_table(comparisons: Iterable[Comparison], reference: str = REFERENCE) -> pd.DataFrame:
    """Tabulate every run, whatever became of it.

    Parameters
    ----------
    comparisons
        One per material.
    reference
        Arm that reductions and energy differences refer to.

    Returns
    -------
    pandas.DataFrame
        One row per material and arm, by material, the reference first and the ceiling last. Times
        in s, energies in eV, energy differences in meV/atom; ``reduction`` is 1 - n_total /
        n_total(reference), None unless both runs count.
    """
    rows = (
        _row(comparison, arm, reference)
        for comparison in sorted(comparisons, key=lambda comparison: comparison.material_id)
        for arm in ordered_arms(comparison.arms, reference)
    )
    return record_table(_RUN_COLUMNS, rows)


def write_report(
    comparisons: Iterable[Comparison],
    folder: str | Path,
    reference: str = REFERENCE,
    left_out: Sequence[str] = (),
    rounds: Sequence[RoundSummary] = (),
) -> Path:
    """Write the report of a campaign, finished or not, with any number of materials.

    Each file is replaced as a whole: neither a reader nor a kill meets a half-written one.

    Parameters
    ----------
    comparisons
        One per material.
    folder
        Where to write; made if it is not there.
    reference
        Arm to compare with.
    left_out
        What else was found and is not shown: lines of the page.
    rounds
        Of a campaign in rounds.

    Returns
    -------
    Path
        Of ``report.html``.

    Raises
    ------
    OSError
        The folder cannot be written to.
    MixedResultsError
        The materials were run with different settings, checkpoints, executables or PAW data sets.
    ValueError
        A material appears twice.
    """
    campaign, folder = list(comparisons), Path(folder)
    summary, runs = summarize(campaign, reference), run_table(campaign, reference)
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write(folder / "materials.csv", to_csv(runs))
    atomic_write(folder / "summary.json", summary_json(summary, rounds) + "\n")
    page = render(
        "scf.html.jinja",
        left_out=left_out,
        summary=summary,
        note=summary_note(summary),
        table=summary_table(summary),
        classes=_classes(campaign, summary),
        rounds=rounds_table(rounds) if rounds else None,
        round_columns=ROUND_COLUMNS,
        columns=shown_columns(summary),
        states_notes=states_notes(summary),
        colors=colors(summary.arms),
        computed_with=computed_with(campaign),
        runs=runs,
        excluded=[
            (comparison, arm, run)
            for comparison in sorted(campaign, key=lambda comparison: comparison.material_id)
            for arm, run in comparison.arms.items()
            if run.exclusion_reason
        ],
        provenance={arm: _provenance(campaign, arm) for arm in summary.arms},
        tolerance=ENERGY_TOLERANCE,
        moment_tolerance=MOMENT_TOLERANCE,
        control=CONTROL,
        figures=_figures(campaign, summary),
        max_curves=figures.MAX_LABELLED,
        plotly_js=Markup(get_plotlyjs()),
    )
    atomic_write(folder / "report.html", page)
    return folder / "report.html"


def computed_with(comparisons: Iterable[Comparison]) -> dict[str, str]:
    """Program, settings and models of the runs that count.

    Parameters
    ----------
    comparisons
        One per material.

    Returns
    -------
    dict of str to str
        By what it is: program, ENCUT, functional, spin, protocol, and the model of each arm. What
        results of earlier versions do not hold is left out.
    """
    found: dict[str, dict[str, None]] = {}
    for comparison in comparisons:
        found.setdefault("protocol", {})[comparison.protocol] = None
        for arm, run in comparison.arms.items():
            if run.exclusion_reason is not None:
                continue
            facts = {
                "program": run.execution.get("version") or run.execution.get("executable"),
                "ENCUT": None if run.encut is None else f"{run.encut:g} eV",
                "functional": run.functional,
                "spin": None if run.spin_polarized is None else f"ISPIN = {1 + run.spin_polarized}",
                f"model of {arm}": run.model,
            }
            if run.model is None and arm in comparison.models:
                facts[f"model of {arm}"] = f"checkpoint {comparison.models[arm][:8]}"
            for name, fact in facts.items():
                if fact is not None:
                    found.setdefault(name, {})[fact] = None
    first = ("program", "ENCUT", "functional", "spin", "protocol")
    order = [*(name for name in first if name in found), *(n for n in found if n not in first)]
    return {name: ", ".join(found[name]) for name in order}


def _row(comparison: Comparison, arm: str, reference: str) -> dict[str, object]:
    run = comparison.arms[arm]
    return {
        "material_id": comparison.material_id,
        "formula": comparison.formula,
        "n_atoms": comparison.n_atoms,
        "arm": arm,
        **{name: getattr(run, name) for name in _RUN},
        "reduction": _reduction(run, comparison.arms.get(reference)),
        "dE_meV_per_atom": comparison.energy_difference(arm, reference),
        "max_moment_difference": _moment_difference(run, comparison.arms.get(reference)),
        "protocol": comparison.protocol,
    }


def _reduction(run: ScfRun, base: ScfRun | None) -> float | None:
    if base is None or run.exclusion_reason or base.exclusion_reason:
        return None
    return 1 - run.n_total / base.n_total if run.n_total and base.n_total else None


def _classes(
    comparisons: Sequence[Comparison], summary: Summary
) -> tuple[str, pd.DataFrame] | None:
    """Arm of the learned density, and its statistics by class; None if there is nothing to tell."""
    learned = [name for name in summary.arms if name.startswith("learned")]
    members = by_class(comparisons, summary.reference)
    if not learned or len(members) < 2:
        return None
    arm = min(learned, key=len)
    table = class_table(members, arm, summary.reference)
    return None if table.empty else (arm, table)


def _moment_difference(run: ScfRun, base: ScfRun | None) -> float | None:
    return None if base is None else moment_difference(run, base)


def _figures(comparisons: Sequence[Comparison], summary: Summary) -> dict[str, Markup]:
    if not any(arm.n_materials for arm in summary.arms.values()):
        return {}
    return {
        "reductions": figures.to_html(figures.reduction_bars(summary)),
        "pairs": figures.to_html(figures.paired_dots(comparisons, summary)),
        "boxes": figures.to_html(figures.step_boxes(comparisons, summary)),
        "curves": figures.to_html(figures.convergence_curves(comparisons, summary)),
    }


def _provenance(comparisons: Iterable[Comparison], arm: str) -> dict[str, int]:
    runs = [comparison.arms[arm] for comparison in comparisons if arm in comparison.arms]
    return {
        "runs": len(runs),
        "given a CHGCAR": sum(run.expected_comment is not None for run in runs),
        "given orbitals": sum(run.orbitals_source is not None for run in runs),
        "read a WAVECAR": sum(bool(run.orbitals_read_by_vasp) for run in runs),
        "started from a CHGCAR": sum(run.started_from == "chgcar" for run in runs),
        "started from atoms": sum(run.started_from == "atoms" for run in runs),
        "unknown": sum(run.started_from == "unknown" for run in runs),
        "fell back": sum(run.fell_back for run in runs),
        "corrected by custodian": sum(run.corrections > 0 for run in runs),
        "verified": sum(run.verified for run in runs),
    }
