"""Campaigns in rounds on the terminal: run, plan and progress of each round."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mlcharge_flows.cli.runs import run_materials
from mlcharge_flows.cli.terminal import (
    INTERRUPTED,
    NOTHING_DONE,
    exit_with_error,
    print_left_out,
    require,
    tracked,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from mlcharge_flows.atomate2.flows.material import MaterialFlowMaker
    from mlcharge_flows.campaign.round_calibration import CalibrationRuns
    from mlcharge_flows.campaign.rounds import Round, Rounds
    from mlcharge_flows.cli.runs import Prepared
    from mlcharge_flows.scf.comparison import Comparison


def run_rounds(
    console: Console,
    prepared: Prepared[Any],
    rounds: Rounds,
    *,
    retry_failed: bool = False,
) -> list[Comparison]:
    """Run one round after the other, and calibrate the model in between.

    Parameters
    ----------
    console
        Where to print.
    prepared
        What is run, and how many materials at a time.
    rounds
        Of the campaign.
    retry_failed
        Whether arms that failed for physical reasons run again, too.

    Returns
    -------
    list of Comparison
        Of all materials, finished now or before. If all runs of a round fail by the fault of the
        machine, the command ends.
    """
    require("rounds need", "train", "h5py")
    require("rounds need", "models", "torch", "e3nn", "safetensors")
    from mlcharge_flows.campaign.local import locked
    from mlcharge_flows.campaign.round_record import ROUNDS

    def shown(names: Iterable[str]) -> Iterable[str]:
        names = list(names)
        return tracked(names, console, len(names), "calibration")

    def fitted(made: CalibrationRuns) -> None:
        text = f"{len(made.runs)} runs, {len(made.elements)} elements"
        console.print(f"Calibration after round {made.number}: {text}")
        print_left_out(console, made.left_out)
        print_left_out(console, made.notes, "note")

    found: dict[str, Comparison] = {}
    with locked(rounds.folder / ROUNDS):
        try:
            for this in rounds.run(shown, fitted):
                console.print(round_title(this), markup=False, soft_wrap=True)
                found |= _run_round(console, prepared, rounds, this, retry_failed=retry_failed)
        except KeyboardInterrupt:  # runs end the command themselves
            exit_with_error("interrupted between rounds: give the same command", status=INTERRUPTED)
    return list(found.values())


def _run_round(
    console: Console,
    prepared: Prepared[Any],
    rounds: Rounds,
    this: Round,
    *,
    retry_failed: bool,
) -> dict[str, Comparison]:
    """Results of a round; materials whose source fails also run from free atoms."""
    maker: MaterialFlowMaker = rounds.maker()
    if not this.materials:
        return {}
    own = replace(prepared, maker=maker, materials=this.materials)
    results = run_materials(console, own, rounds.folder, retry_failed=retry_failed)
    if failed := rounds.without_result(this):
        n = len(failed)
        console.print(f"{n} of them have no result from their source: from free atoms instead")
        own = replace(prepared, maker=rounds.maker(), materials=failed)
        results += run_materials(console, own, rounds.folder)
    if all(_failed_by_machine(comparison) for comparison in results):
        exit_with_error(
            f"round {this.record.number}: all runs failed by the fault of the machine, and the "
            f"next round needs results; see {rounds.folder}/*/flow.log, then give the same command",
            status=NOTHING_DONE,
        )
    return {comparison.material_id: comparison for comparison in results}


def _failed_by_machine(comparison: Comparison) -> bool:
    """Whether a material has no result, but may have one the next time."""
    runs = comparison.arms.values()
    return not has_result(comparison) and any(run.failed_by_machine for run in runs)


def has_result(comparison: Comparison) -> bool:
    """Whether any run of a material counts.

    Parameters
    ----------
    comparison
        Counted runs of the material.

    Returns
    -------
    bool
        From whatever initial density.
    """
    return any(run.exclusion_reason is None for run in comparison.arms.values())


def round_title(this: Round) -> str:
    """Describe a round in one line.

    Parameters
    ----------
    this
        The round.

    Returns
    -------
    str
        Number, materials, control share, and how many materials use each source.
    """
    given = this.record.materials.values()
    used = dict.fromkeys([*this.record.sources, "default"], 0)
    for assignment in given:
        used[assignment.arm] += 1
    sources = ", ".join(f"{arm} for {n}" for arm, n in used.items() if n)
    return (
        f"Round {this.record.number} of {this.n_rounds}: {len(given)} materials, "
        f"{sum(a.control for a in given)} of them control; {sources}"
    )


def show_planned_rounds(console: Console, rounds: Rounds) -> None:
    """Print the rounds that have begun, and the materials of those that have not.

    Parameters
    ----------
    console
        Where to print.
    rounds
        Of the campaign.
    """
    from mlcharge_flows.campaign.round_order import elements_of

    begun, planned = rounds.begun_rounds(), rounds.planned_rounds()
    for this in begun:
        console.print(round_title(this), markup=False, soft_wrap=True)
    known = {e for this in begun for a in this.record.materials.values() for e in a.elements}
    for number, materials in enumerate(planned, len(begun) + 1):
        new = {e for material in materials for e in elements_of(material)} - known
        known |= new
        console.print(
            f"Round {number} of {len(begun) + len(planned)}: {len(materials)} materials, "
            f"{rounds.spec.n_control(len(materials))} of them control; new elements: "
            f"{', '.join(sorted(new)) or 'none'}",
            markup=False,
            soft_wrap=True,
        )


def rounds_progress(rounds: Rounds) -> list[dict[str, int]]:
    """Count the finished materials of each round that has begun.

    Parameters
    ----------
    rounds
        Of the campaign.

    Returns
    -------
    list of dict
        ``round``, ``materials`` and ``finished``.
    """
    from mlcharge_flows.campaign.round_summary import finished_of

    results = rounds.results()
    assigned = rounds.assigned(results)
    return [
        {
            "round": record.number,
            "materials": len(record.materials),
            "finished": len(finished_of(record, results, assigned)),
        }
        for record in rounds.records
    ]
