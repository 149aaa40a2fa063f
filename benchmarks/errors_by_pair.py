"""What a model leaves of the error, by how often it has seen the rarest pair of elements.

    mlcharge evaluate data/test57.h5 --csv data/test57.csv
    python benchmarks/errors_by_pair.py data/test57.csv CONFIG.yaml [BEFORE.csv BEFORE.yaml]

CONFIG is that of the training. Prints a Markdown table: for each crystal of the CSV the pair of its
elements that the fewest training materials contain, and the medians and means over the crystals
whose rarest pair was seen so often; then the rank correlation. With the CSV and the training of an
earlier model, prints its errors' ratio, too, crystal by crystal: the geometric mean and its error.
"""

from __future__ import annotations

import csv
import sys
from collections import Counter
from itertools import combinations, pairwise
from math import exp, inf, log
from pathlib import Path
from statistics import fmean, median, pstdev
from typing import TYPE_CHECKING

from scipy.stats import spearmanr

from mlcharge_flows.training.config import read_config
from mlcharge_flows.training.dataset import DensityDataset
from mlcharge_flows.training.split import split_materials

if TYPE_CHECKING:
    from collections.abc import Iterable

EDGES = (0, 1, 3, 6, 12, inf)
ENOUGH = 3
"""Examples of a pair that looked like enough."""


Left = dict[str, tuple[int, float, float]]
"""By identifier: materials with the rarest pair (-1: no pair), density and occupancies left."""


def main() -> None:
    """Count pairs and print the table."""
    left = errors(Path(sys.argv[1]), sys.argv[2])
    found = [row for row in left.values() if row[0] >= 0]
    print("| rarest pair seen in | crystals | density left, median | mean | occupancies left |")
    print("|---|---:|---:|---:|---:|")
    for low, high in pairwise(EDGES):
        some = [row for row in found if low <= row[0] < high]
        if some:
            _, density, occupancies = zip(*some, strict=True)
            upper = f" to {high - 1}" if high < inf else " and more"
            label = f"{low}" if high == low + 1 else f"{low}{upper}"
            print(
                f"| {label} | {len(some)} | {median(density):.1%} | {fmean(density):.1%} "
                f"| {median(occupancies):.1%} |"
            )
    counts, density, _ = zip(*found, strict=True)
    rank = spearmanr(counts, density)
    print(f"rank correlation {rank.statistic:.2f} (p = {rank.pvalue:.4f})")
    if len(sys.argv) > 3:
        compare(errors(Path(sys.argv[3]), sys.argv[4]), left)


def errors(table: Path, training: str) -> Left:
    """Read what is left of the errors, and count the rarest pairs of the training."""
    config = read_config(training)
    store = DensityDataset(config.data)
    names, _ = split_materials(store.splits(), config.validation_fraction, config.train_fraction)
    seen: Counter[tuple[str, ...]] = Counter()
    for name in names:
        seen.update(pairs(store[name].crystal.symbols))
    print(f"{training}: {len(names)} training materials, {len(seen)} pairs of elements")
    with table.open(newline="") as file:
        return {
            row["id"]: (
                min((seen[pair] for pair in pairs(row["symbols"].split())), default=-1),
                1 - float(row["density_removed"]),
                1 - float(row["occupancies_removed"]),
            )
            for row in csv.DictReader(file)
        }


def pairs(symbols: Iterable[str]) -> list[tuple[str, ...]]:
    """Pairs of different elements."""
    return list(combinations(sorted(set(symbols)), 2))


def compare(before: Left, after: Left) -> None:
    """Print the ratio of the errors of two models over the same crystals."""
    rows = [(before[name], after[name]) for name in before]
    several = [(old, new) for old, new in rows if old[0] >= 0]
    groups = {
        "all": rows,
        f"rarest pair seen {ENOUGH} times now": [r for r in several if r[0][0] < ENOUGH <= r[1][0]],
        "before, too": [r for r in several if r[0][0] >= ENOUGH],
        "not yet": [r for r in several if r[1][0] < ENOUGH],
    }
    for part, name in ((1, "density"), (2, "occupancies")):
        for label, group in groups.items():
            logs = [log(new[part] / old[part]) for old, new in group]
            error = pstdev(logs) / len(logs) ** 0.5
            print(f"{name}, {label} ({len(logs)}): {exp(fmean(logs)):.3f} +- {error:.3f}")


if __name__ == "__main__":
    main()
