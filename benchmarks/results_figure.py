"""Figure and tables of a finished comparison, for README and docs/results.md.

Give it the folder of ``mlcharge compare`` and the figure to write::

    python benchmarks/results_figure.py FOLDER docs/figures/steps.png [ARM,ARM,..]

With arms, only these are drawn; the tables hold all.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from mlcharge_flows.campaign.local import results
from mlcharge_flows.reports.image_files import steps_figure
from mlcharge_flows.reports.scf_report import summary_note, summary_table
from mlcharge_flows.reports.table import to_markdown
from mlcharge_flows.scf.comparison import REFERENCE
from mlcharge_flows.scf.statistics import summarize

if TYPE_CHECKING:
    from mlcharge_flows.scf.comparison import Comparison


def main() -> None:
    """Print the Markdown tables and save the figure."""
    folder, target = Path(sys.argv[1]), Path(sys.argv[2])
    comparisons = results(folder)
    summary = summarize(comparisons)
    print(to_markdown(summary_table(summary)))
    if note := summary_note(summary):
        print(f"\n{note}")
    arms = list(summary.arms)
    print("\n| material | atoms | " + " | ".join(arms) + " | largest \\|dE\\| (meV/atom) |")
    print("|---|---|" + "---|" * (len(arms) + 1))
    for comparison in sorted(comparisons, key=lambda c: c.formula):
        runs = (comparison.arms.get(arm) for arm in arms)
        steps = " | ".join(str(run.n_total) if run else "" for run in runs)
        change = max(abs(comparison.energy_difference(arm, REFERENCE) or 0.0) for arm in arms)
        name = f"{comparison.formula} ({comparison.material_id})"
        print(f"| {name} | {comparison.n_atoms} | {steps} | {change:.3f} |")
    print("\n| start | median cost, s | median cost, steps of the same material |\n|---|---:|---:|")
    for arm in arms:
        costs = [_cost(comparison, arm) for comparison in comparisons]
        known = [cost for cost in costs if cost is not None]
        if arm != summary.reference and known:
            seconds, steps_ = (median(values) for values in zip(*known, strict=True))
            print(f"| {arm} | {seconds:.3f} | {steps_:.3f} |")
    target.parent.mkdir(parents=True, exist_ok=True)
    drawn = [_only(comparison, sys.argv[3:]) for comparison in comparisons]
    steps_figure(drawn, summarize(drawn)).savefig(target, dpi=150, bbox_inches="tight")


def _only(comparison: Comparison, wanted: list[str]) -> Comparison:
    """Leave the arms to be drawn."""
    chosen = {"default", *wanted[0].split(",")} if wanted else set(comparison.arms)
    arms = {name: run for name, run in comparison.arms.items() if name in chosen}
    return comparison.model_copy(update={"arms": arms})


def _cost(comparison: Comparison, arm: str) -> tuple[float, float] | None:
    """Seconds to make and write a start, and the same in electronic steps of the run from atoms."""
    reference, run = comparison.arms.get("default"), comparison.arms.get(arm)
    if not (reference and run and reference.n_total and reference.wall_time) or run.failure:
        return None
    return run.preparation_time, run.preparation_time / (reference.wall_time / reference.n_total)


if __name__ == "__main__":
    main()
