"""What a model leaves of the error, by how often it has seen the rarest pair of elements.

    mlcharge evaluate data/test57.h5 --csv data/test57.csv
    python benchmarks/errors_by_pair.py data/test57.csv CONFIG.yaml

CONFIG is that of the training. Prints a Markdown table: for each crystal of the CSV the pair of its
elements that the fewest training materials contain, and the medians and means over the crystals
whose rarest pair was seen so often; then the rank correlation.
"""

from __future__ import annotations

import csv
import sys
from collections import Counter
from itertools import combinations, pairwise
from math import inf
from pathlib import Path
from statistics import fmean, median

from scipy.stats import spearmanr

from mlcharge_flows.training.config import read_config
from mlcharge_flows.training.hold_out import hold_out
from mlcharge_flows.training.store import open_store

EDGES = (0, 1, 3, 6, 12, inf)


def main() -> None:
    """Count pairs and print the table."""
    config = read_config(sys.argv[2])
    store = open_store(config.data)
    training, _ = hold_out(store.splits(), config.validation_share, config.train_share)
    seen: Counter[tuple[str, str]] = Counter()
    for name in training:
        seen.update(combinations(sorted(set(store[name].crystal.symbols)), 2))
    with Path(sys.argv[1]).open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = []
    for row in rows:
        pairs = list(combinations(sorted(set(row["symbols"].split())), 2))
        if pairs:
            left = [1 - float(row[f"{part}_removed"]) for part in ("density", "occupancies")]
            found.append((min(seen[pair] for pair in pairs), *left))
    print(f"{len(training)} training materials, {len(seen)} pairs of elements")
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


if __name__ == "__main__":
    main()
