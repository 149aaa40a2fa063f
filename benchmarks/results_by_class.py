"""Steps that a start saves, by class of material, for docs/results.md.

Give it the folder of ``mlcharge compare`` and, if it is not the shipped one, the model::

    python benchmarks/results_by_class.py FOLDER [--arm learned] [--model orbital]

Prints a Markdown table over the materials where the arm and the start from atoms both count. The
classes are those of ``mlcharge evaluate``; which elements are rare follows from the model's card.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pymatgen.core import Composition

from mlcharge_flows.campaign.local import results
from mlcharge_flows.reports.scf_report import COLUMNS
from mlcharge_flows.scf.statistics import summarize
from mlcharge_flows.sources import known_models
from mlcharge_flows.training.evaluation import classes

if TYPE_CHECKING:
    from mlcharge_flows.scf.comparison import Comparison

SHOWN = (
    "median steps",
    "ratio of medians",
    "mean reduction",
    "faster / equal / slower",
    "of ceiling",
)
"""Of the columns of every report."""


@dataclass(frozen=True)
class Compared:
    """A comparison and the elements of its material."""

    symbols: tuple[str, ...]
    comparison: Comparison


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="folder of mlcharge compare")
    parser.add_argument("--arm", default="learned", help="start that is compared with atoms")
    parser.add_argument("--model", default="orbital", help="name or file of its model")
    arguments = parser.parse_args()
    rows = [
        Compared(tuple(element.symbol for element in Composition(found.formula)), found)
        for found in results(arguments.folder)
    ]
    examples = known_models().load(arguments.model).card.data.per_element
    columns = [column for column in COLUMNS if column.head in SHOWN]
    print("| class | materials | " + " | ".join(column.head for column in columns) + " |")
    print("|---|---:|" + "---:|" * len(columns))
    for name, members in classes(rows, examples).items():
        arm = summarize(row.comparison for row in members).arms.get(arguments.arm)
        if arm is not None and arm.n_materials:
            cells = " | ".join(column.cell(arm) for column in columns)
            print(f"| {name} | {arm.n_materials} | {cells} |")


if __name__ == "__main__":
    main()
