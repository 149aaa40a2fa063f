"""Figure and tables of a finished comparison, for README and docs/results.md.

Give it the folder of ``mlcharge compare`` and the figure to write::

    python benchmarks/results_figure.py FOLDER docs/figures/steps.png

"""

from __future__ import annotations

import sys
from pathlib import Path

from mlcharge_flows.flows.local import results
from mlcharge_flows.reports.figure import steps_figure
from mlcharge_flows.reports.rows import tidy_rows
from mlcharge_flows.reports.table import summary_table
from mlcharge_flows.scf.statistics import summarize


def main() -> None:
    """Print the Markdown tables and save the figure."""
    folder, target = Path(sys.argv[1]), Path(sys.argv[2])
    comparisons = results(folder)
    summary = summarize(comparisons)
    print(summary_table(summary))
    arms = list(summary.arms)
    print("\n| material | atoms | " + " | ".join(arms) + " | largest \\|dE\\| (meV/atom) |")
    print("|---|---|" + "---|" * (len(arms) + 1))
    rows = tidy_rows(comparisons)
    for comparison in sorted(comparisons, key=lambda c: c.formula):
        mine = [row for row in rows if row.material == comparison.material]
        steps = " | ".join(str(comparison.arms[arm].n_total) for arm in arms)
        change = max(abs(row.dE_meV_per_atom or 0.0) for row in mine)
        name = f"{comparison.formula} ({comparison.material})"
        print(f"| {name} | {comparison.n_atoms} | {steps} | {change:.3f} |")
    target.parent.mkdir(parents=True, exist_ok=True)
    steps_figure(comparisons, summary).savefig(target, dpi=150, bbox_inches="tight")


if __name__ == "__main__":
    main()
