"""Notes about materials that ended in another state than the reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlcharge_flows.reports.table import count_of, number
from mlcharge_flows.scf.comparison import CONTROL

if TYPE_CHECKING:
    from mlcharge_flows.scf.final_state import OtherState
    from mlcharge_flows.scf.statistics import ArmSummary, Summary

MOST_NAMED = 3
"""Materials that a note names; the others are counted."""


def states_notes(summary: Summary) -> list[str]:
    """Name materials that ended in another state, arm by arm.

    The number of an arm means nothing by itself: of a material with several states some runs end
    in another one whatever they begin from. So each line has the number of the control arm, too.

    Parameters
    ----------
    summary
        Statistics of a campaign.

    Returns
    -------
    list of str
        One line for each arm with such materials.
    """
    return [
        f"{_count(name, arm)} ended in another state than in {summary.reference!r}"
        f"{_control(name, summary)}: {_materials(arm.other_states)}."
        for name, arm in summary.arms.items()
        if arm.other_states
    ]


def _count(name: str, arm: ArmSummary) -> str:
    materials = count_of(arm.n_materials, "material")
    return f"{len(arm.other_states)} of {materials} in {name!r}"


def _control(name: str, summary: Summary) -> str:
    """What the control arm shows of the same campaign."""
    control = summary.arms.get(CONTROL)
    if name == CONTROL:
        return ", whose density it reads"
    if control is None or not control.n_materials:
        return f" (how many do so by chance is not known without the control arm {CONTROL!r})"
    return f" (control arm {CONTROL!r}: {len(control.other_states)} of {control.n_materials})"


def _materials(states: list[OtherState]) -> str:
    named = "; ".join(map(_material, states[:MOST_NAMED]))
    more = len(states) - MOST_NAMED
    return f"{named}; and {more} more" if more > 0 else named


def _material(state: OtherState) -> str:
    facts = []
    if state.dE_meV_per_atom is not None:
        facts.append(f"dE {number(state.dE_meV_per_atom, 1)} meV/atom")
    if state.max_moment_difference is not None:
        facts.append(f"moments differ by {state.max_moment_difference:.2f}")
    totals = state.total_moment, state.total_moment_reference
    if None not in totals:
        own, other = (number(moment, 2) for moment in totals)
        facts.append(f"moment of the cell {own}, not {other} Bohr magnetons")
    return f"{state.formula} ({state.material_id}: {', '.join(facts)})"
