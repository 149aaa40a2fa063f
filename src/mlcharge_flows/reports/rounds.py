"""Saving by round of a campaign whose finished runs calibrate its model, as numbers and a table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from mlcharge_flows.reports.table import (
    NOTHING,
    Column,
    FittedTable,
    interval,
    percent,
    text_table,
    to_rich,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from mlcharge_flows.scf.statistics import Summary


class SourceSaving(BaseModel):
    """Saving of one source in the control materials of a round."""

    n_pairs: int = Field(description="Control materials where source and default both ran.")
    saving: float | None = Field(description="Mean fraction of the default's steps that it saves.")
    saving_ci95: tuple[float, float] | None = Field(description="Its 95 % bootstrap interval.")


class RoundSummary(BaseModel):
    """What one round ran, what its model was calibrated with, and what it saved."""

    round: int = Field(description="Number of the round, from 1.")
    n_materials: int = Field(description="Materials of the round.")
    n_finished: int = Field(description="Of them, finished ones.")
    calibration: str | None = Field(
        description="File of the calibration that its materials could use; None: no earlier runs."
    )
    calibration_runs: list[str] = Field(
        description="Materials whose runs it was fitted to, all of earlier rounds."
    )
    calibration_elements: dict[str, int] = Field(description="Runs of each element in the fit.")
    used: dict[str, int] = Field(description="Materials by the source that was chosen for them.")
    n_control: int = Field(
        description="Control materials, chosen at random, that also count from free atoms."
    )
    saving: float | None = Field(
        description="Mean over them of the fraction of steps that the chosen source saves; 0 where "
        "free atoms were chosen, negative where a run failed. An estimate for the whole round."
    )
    saving_ci95: tuple[float, float] | None = Field(description="Its 95 % bootstrap interval.")
    sources: dict[str, SourceSaving] = Field(
        description="What each source saved in the control materials, chosen or not."
    )
    steps: int = Field(description="Electronic steps of the round without those of control alone.")
    control_steps: int = Field(description="Electronic steps of runs that only served as control.")


def _calibrated(one: RoundSummary) -> str:
    if one.calibration is None:
        return NOTHING
    return f"{len(one.calibration_runs)} runs, {len(one.calibration_elements)} elements"


def _sources(one: RoundSummary) -> str:
    return "\n".join(
        f"{arm} {percent(saving.saving)} ({saving.n_pairs})" for arm, saving in one.sources.items()
    )


ROUND_COLUMNS: tuple[Column[RoundSummary], ...] = (
    Column(
        "finished",
        "materials of the round that are finished",
        lambda one: f"{one.n_finished} of {one.n_materials}",
    ),
    Column(
        "calibrated with",
        "finished runs of earlier rounds that the model was calibrated with",
        _calibrated,
    ),
    Column(
        "sources used",
        "materials by the source that was chosen for them; default: free atoms",
        lambda one: "\n".join(f"{arm} {n}" for arm, n in one.used.items()),
    ),
    Column(
        "control",
        "materials, chosen at random, that count from free atoms and from a source",
        lambda one: str(one.n_control),
    ),
    Column(
        "steps saved",
        "mean over the control materials of the fraction of steps that the chosen source saves, 0 "
        "where free atoms were chosen: an estimate for the whole round",
        lambda one: percent(one.saving),
    ),
    Column(
        "95 % interval",
        "paired bootstrap interval of it",
        lambda one: interval(one.saving_ci95),
    ),
    Column(
        "each source",
        "mean saving of each source in the control materials (their number), chosen or not",
        lambda one: _sources(one) or NOTHING,
    ),
    Column(
        "cost of control",
        "steps of runs that only served as control, as a fraction of all others of the round",
        lambda one: percent(one.control_steps / one.steps if one.steps else None),
    ),
)
"""Columns of the table, after the number of the round."""


def rounds_table(rounds: Sequence[RoundSummary]) -> pd.DataFrame:
    """Write the rounds of a campaign as text, one row per round.

    Parameters
    ----------
    rounds
        In order.

    Returns
    -------
    pandas.DataFrame
        Index: rounds; columns: heads of :data:`ROUND_COLUMNS`.
    """
    return text_table(ROUND_COLUMNS, {f"round {one.round}": one for one in rounds})


def terminal_rounds(rounds: Sequence[RoundSummary]) -> FittedTable:
    """Lay the rounds of a campaign out for a terminal, one column per round.

    Parameters
    ----------
    rounds
        In order.

    Returns
    -------
    FittedTable
        To be printed by a rich console.
    """
    return to_rich(rounds_table(rounds).T, "Electronic steps saved by round")


def summary_json(summary: Summary, rounds: Sequence[RoundSummary] = ()) -> str:
    """Write the statistics of a campaign as JSON.

    Parameters
    ----------
    summary
        Statistics of a campaign.
    rounds
        Of a campaign in rounds.

    Returns
    -------
    str
        The fields of the summary, and ``rounds`` if there are any.
    """
    text = summary.model_dump_json(indent=2)
    if not rounds:
        return text
    listed = [one.model_dump(mode="json") for one in rounds]
    return json.dumps(json.loads(text) | {"rounds": listed}, indent=2)
