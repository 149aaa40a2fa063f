"""What an arm saves by class of material, with the final states of the control arm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from mlcharge_flows.reports.scf_columns import COLUMNS, ENERGIES, MOMENTS, shown_columns
from mlcharge_flows.reports.table import NOTHING
from mlcharge_flows.scf.comparison import CONTROL, REFERENCE, ceiling_of
from mlcharge_flows.scf.statistics import summarize

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlcharge_flows.scf.comparison import Comparison

SHOWN = (
    *("median steps", "ratio of medians", "mean reduction", "faster / equal / slower"),
    *("of ceiling", ENERGIES, MOMENTS),
)
"""Of the columns of every report, those of the table."""

OF_CONTROL = (ENERGIES, MOMENTS)
"""Columns of which the table shows those of the control arm, too: they mean nothing without."""


def class_table(
    classes: Mapping[str, Sequence[Comparison]], arm: str, reference: str = REFERENCE
) -> pd.DataFrame:
    """Tabulate the statistics of an arm for each class.

    Parameters
    ----------
    classes
        Materials by name of the class; a material may be in several.
    arm
        Whose statistics are shown.
    reference
        Arm that it is compared with.

    Returns
    -------
    pandas.DataFrame
        Index: classes with a material that counts in both arms; columns: number of these
        materials, :data:`SHOWN`, and :data:`OF_CONTROL` of the control arm if there is one and it
        is not `arm`.
    """
    compared = {reference, arm, CONTROL, ceiling_of(arm)}
    summaries = {
        name: summarize([_only(comparison, compared) for comparison in members], reference)
        for name, members in classes.items()
    }
    heads = {column.head for found in summaries.values() for column in shown_columns(found)}
    columns = [column for column in COLUMNS if column.head in heads.intersection(SHOWN)]
    has_control = arm != CONTROL and any(CONTROL in found.arms for found in summaries.values())
    rows = {}
    for name, found in summaries.items():
        own, control = found.arms.get(arm), found.arms.get(CONTROL)
        if own is None or not own.n_materials:
            continue
        rows[name] = {"materials": str(own.n_materials)}
        for column in columns:
            rows[name][column.head] = column.cell(own)
            if has_control and column.head in OF_CONTROL:
                cell = column.cell(control) if control else NOTHING
                rows[name][f"{column.head}, {CONTROL}"] = cell
    return pd.DataFrame.from_dict(rows, orient="index", dtype=object)


def _only(comparison: Comparison, arms: set[str]) -> Comparison:
    """Leave the arms that a row needs: each costs a bootstrap."""
    kept = {name: run for name, run in comparison.arms.items() if name in arms}
    return comparison.model_copy(update={"arms": kept})
