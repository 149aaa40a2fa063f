"""Tables and figure of a finished comparison: docs/results.md, README.

    python benchmarks/results.py FOLDER [--figure steps.png [--draw learned,converged]]
    python benchmarks/results.py FOLDER --classes learned [--model orbital]
    python benchmarks/results.py FOLDER --having learned+orbitals+delay=1

FOLDER is that of ``mlcharge compare``. Printed are the summary, the steps of every material and
what an initial density costs; with ``--classes``, what an arm saves by class of material instead.
Classes by elements are those of ``mlcharge evaluate``; which elements are rare follows from the
card of the arm's model. Classes by magnetic order, DFT+U, gap and size are those of reports.
"""

from __future__ import annotations

from harness import parser, print_table

# isort: split

from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from pymatgen.core import Composition

from mlcharge_flows.campaign.local import read_results
from mlcharge_flows.reports.class_table import class_table
from mlcharge_flows.reports.final_states import states_notes
from mlcharge_flows.reports.image_files import steps_figure
from mlcharge_flows.reports.scf_report import summary_note, summary_table
from mlcharge_flows.reports.table import to_markdown
from mlcharge_flows.scf.comparison import REFERENCE
from mlcharge_flows.scf.material_class import by_class
from mlcharge_flows.scf.statistics import summarize
from mlcharge_flows.sources import known_models
from mlcharge_flows.training.evaluation import classes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mlcharge_flows.scf.comparison import Comparison


@dataclass(frozen=True)
class Classified:
    """A comparison and the elements of its material."""

    symbols: tuple[str, ...]
    comparison: Comparison


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables, save the figure."""
    options = parser(__doc__)
    options.add_argument("folder", type=Path)
    options.add_argument("--figure", type=Path, help="file for the figure of steps")
    options.add_argument("--draw", default="", metavar="ARM,ARM", help="arms in it; default: all")
    options.add_argument("--classes", metavar="ARM", help="what this arm saves, by class")
    options.add_argument("--model", default="orbital", help="name or file of its model")
    options.add_argument("--having", metavar="ARM", help="only materials where this arm counts")
    given = options.parse_args(arguments)
    comparisons = read_results(given.folder)
    if given.having:
        comparisons = [c for c in comparisons if counts(c, given.having)]
    if given.classes:
        table = class_table(all_classes(comparisons, given.model), given.classes)
        print_table(["class", *table.columns], map(list, table.itertuples(name=None)))
        return
    summary = summarize(comparisons)
    print(to_markdown(summary_table(summary)))
    for note in (summary_note(summary), *states_notes(summary)):
        if note:
            print(f"\n{note}")
    arms = list(summary.arms)
    print()
    heads = ["material", "atoms", *arms, "largest \\|dE\\| (meV/atom)"]
    print_table(heads, material_rows(comparisons, arms))
    print()
    heads = ["initial density", "median cost, s", "median cost, steps of the same material"]
    print_table(heads, cost_rows(comparisons, arms))
    if given.figure:
        chosen = {REFERENCE, *given.draw.split(",")} if given.draw else set(arms)
        drawn = [only(comparison, chosen) for comparison in comparisons]
        given.figure.parent.mkdir(parents=True, exist_ok=True)
        figure = steps_figure(drawn, summarize(drawn))
        figure.savefig(given.figure, dpi=150, bbox_inches="tight")


def counts(comparison: Comparison, arm: str) -> bool:
    """Whether a material has a run of an arm that counts."""
    return arm in comparison.arms and comparison.arms[arm].exclusion_reason is None


def all_classes(comparisons: list[Comparison], model: str) -> dict[str, list[Comparison]]:
    """Materials by their elements and by the final state of the reference."""
    examples = known_models().load(model).card.data.per_element
    rows = [
        Classified(tuple(element.symbol for element in Composition(found.formula)), found)
        for found in comparisons
    ]
    of_elements = {
        name: [row.comparison for row in members]
        for name, members in classes(rows, examples).items()
    }
    return of_elements | by_class(comparisons)


def material_rows(comparisons: list[Comparison], arms: list[str]) -> Iterator[list[str]]:
    """Steps of each arm and the largest difference of energies, by formula."""
    for comparison in sorted(comparisons, key=lambda c: c.formula):
        runs = (comparison.arms.get(arm) for arm in arms)
        change = max(abs(comparison.energy_difference(arm, REFERENCE) or 0.0) for arm in arms)
        name = f"{comparison.formula} ({comparison.material_id})"
        steps = [str(run.n_total) if run else "" for run in runs]
        yield [name, str(comparison.n_atoms), *steps, f"{change:.3f}"]


def cost_rows(comparisons: list[Comparison], arms: list[str]) -> Iterator[list[str]]:
    """Medians of what the initial density of an arm costs."""
    for arm in arms:
        costs = [cost(comparison, arm) for comparison in comparisons]
        known = [both for both in costs if both is not None]
        if arm != REFERENCE and known:
            seconds, steps = (median(values) for values in zip(*known, strict=True))
            yield [arm, f"{seconds:.3f}", f"{steps:.3f}"]


def cost(comparison: Comparison, arm: str) -> tuple[float, float] | None:
    """Seconds to make and write an initial density, and in steps of the run from atoms."""
    reference, run = comparison.arms.get(REFERENCE), comparison.arms.get(arm)
    if not (reference and run and reference.n_total and reference.wall_time) or run.failure:
        return None
    return run.preparation_time, run.preparation_time * reference.n_total / reference.wall_time


def only(comparison: Comparison, arms: set[str]) -> Comparison:
    """Leave some of the arms."""
    kept = {name: run for name, run in comparison.arms.items() if name in arms}
    return comparison.model_copy(update={"arms": kept})


if __name__ == "__main__":
    main()
