"""Print the published statistics beside those of a report.

    python table.py charge3net-mp/summary.json

Published: T. Koker, K. Quigley, E. Taw, K. Tibbetts, L. Li, npj Comput. Mater. 10, 161 (2024):
non-magnetic MP test materials, VASP, occupancies of the converged runs.
"""

import argparse
import json
from pathlib import Path

PUBLISHED = {"median": "15 → 11", "reduction of the median": "26.7 %", "faster": "96 %"}
"""Learned density; no numbers are given for the other rows and arms."""

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("summary", type=Path, help="summary.json of a report")
summary = json.loads(parser.parse_args().summary.read_text(encoding="utf-8"))
arms = {name: arm for name, arm in summary["arms"].items() if name != summary["reference"]}


def percent(value: float | None) -> str:
    """Write a fraction in percent."""
    return "–" if value is None else f"{100 * value:.1f} %"


def median(arm: dict) -> str:
    """Write the medians of reference and arm."""
    if arm["median_n_total"] is None:
        return "–"
    return f"{arm['median_n_total_reference']:g} → {arm['median_n_total']:g}"


ROWS = {
    "materials": lambda arm: f"{arm['n_materials']} of {arm['n_attempted']}",
    "median": median,
    "reduction of the median": lambda arm: percent(arm["ratio_of_medians"]),
    "mean reduction": lambda arm: percent(arm["mean_reduction"]),
    "faster": lambda arm: percent(arm["fraction_faster"]),
    "slower": lambda arm: percent(arm["fraction_slower"]),
    "of the ceiling": lambda arm: percent(arm["fraction_of_ceiling"]),
    "same energy": lambda arm: percent(arm["fraction_energy_agrees"]),
    "wall time saved (median)": lambda arm: percent(arm["median_wall_saving"]),
}

print(f"| steps | published | {' | '.join(arms)} |")
print("|---" * (2 + len(arms)) + "|")
for row, cell in ROWS.items():
    cells = [row, PUBLISHED.get(row, "–"), *(cell(arm) for arm in arms.values())]
    print(f"| {' | '.join(cells)} |")
