"""Saving by round, from the records of the rounds and the results so far."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlcharge_flows.campaign.measured_saving import paired_saving
from mlcharge_flows.campaign.round_calibration import read_calibration_runs
from mlcharge_flows.reports.rounds import RoundSummary, SourceSaving
from mlcharge_flows.scf.averages import mean, mean_interval
from mlcharge_flows.scf.comparison import REFERENCE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mlcharge_flows.campaign.round_record import Assignment, RoundRecord
    from mlcharge_flows.campaign.rounds import Rounds
    from mlcharge_flows.scf.comparison import Comparison


def summarize_rounds(rounds: Rounds) -> list[RoundSummary]:
    """Summarize the rounds of a campaign that have begun.

    Parameters
    ----------
    rounds
        Of the campaign.

    Returns
    -------
    list of RoundSummary
        From the first on.
    """
    results = rounds.results()
    assigned = rounds.assigned(results)
    return [_summarize(rounds.folder, record, results, assigned) for record in rounds.records]


def finished_of(
    record: RoundRecord,
    results: Mapping[str, Comparison],
    assigned: Mapping[str, tuple[str, ...]],
) -> dict[str, Comparison]:
    """Results of the finished materials of a round.

    Parameters
    ----------
    record
        Of the round.
    results
        Of the campaign, by identifier.
    assigned
        Arms of each material.

    Returns
    -------
    dict of str to Comparison
        Of materials that have all their arms.
    """
    return {
        name: results[name]
        for name in record.materials
        if name in results and results[name].arms.keys() >= set(assigned[name])
    }


def _summarize(
    folder: Path,
    record: RoundRecord,
    results: Mapping[str, Comparison],
    assigned: Mapping[str, tuple[str, ...]],
) -> RoundSummary:
    number = record.calibration_number
    made = read_calibration_runs(folder, number) if number is not None else None
    finished = finished_of(record, results, assigned)
    chosen, by_source = list[float](), {arm: list[float]() for arm in record.sources}
    steps = control_steps = 0
    for name, result in finished.items():
        assignment = record.materials[name]
        for arm in assigned[name]:
            n = result.arms[arm].n_total or 0
            if assignment.control and arm != assignment.arm:
                control_steps += n
            else:
                steps += n
        if not assignment.control:
            continue
        for arm in by_source.keys() & set(assignment.runs):
            if (saving := paired_saving(result, arm)) is not None:
                by_source[arm].append(saving)
        if (saving := _saving_of_choice(result, assignment)) is not None:
            chosen.append(saving)
    used = dict.fromkeys([*record.sources, REFERENCE], 0)
    for assignment in record.materials.values():
        used[assignment.arm] += 1
    return RoundSummary(
        round=record.number,
        n_materials=len(record.materials),
        n_finished=len(finished),
        calibration=record.calibration,
        calibration_runs=list(made.runs) if made else [],
        calibration_elements=made.elements if made else {},
        used={arm: n for arm, n in used.items() if n},
        n_control=len(chosen),
        saving=mean(np.array(chosen)),
        saving_ci95=mean_interval(np.array(chosen)),
        sources={
            arm: SourceSaving(
                n_pairs=len(savings),
                saving=mean(np.array(savings)),
                saving_ci95=mean_interval(np.array(savings)),
            )
            for arm, savings in by_source.items()
            if savings
        },
        steps=steps,
        control_steps=control_steps,
    )


def _saving_of_choice(result: Comparison, assignment: Assignment) -> float | None:
    """Saving of what a control material would have run without control."""
    base = result.arms.get(REFERENCE)
    if base is None or base.exclusion_reason is not None:
        return None
    if assignment.arm == REFERENCE or result.arms[assignment.arm].lacks_initial_density:
        return 0.0  # a source that refuses costs no step
    return paired_saving(result, assignment.arm)
