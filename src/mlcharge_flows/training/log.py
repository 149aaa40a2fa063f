"""The log of a training: a table that any program reads, and its curves."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def write_log(path: Path, rows: Sequence[dict[str, float]]) -> None:
    """Write one line per epoch as CSV; a column is empty where an epoch was not validated."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, names)
        table.writeheader()
        table.writerows({k: f"{v:.6g}" for k, v in row.items()} for row in rows)


def draw_curves(path: Path, rows: Sequence[dict[str, float]]) -> None:
    """Draw what is left of the superposition's error, over epochs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    for name, label, style in (
        ("grid", "density, training", "C0--"),
        ("waves", "plane waves, training", "C2--"),
        ("density_left", "density, validation", "C0-"),
        ("occupancies_left", "occupancies, validation", "C1-"),
    ):
        points = [(row["epoch"], 100 * row[name]) for row in rows if name in row]
        if points:
            axes.plot(*zip(*points, strict=True), style, label=label)
    axes.set(xlabel="epoch", ylabel="superposition's error left (%)", yscale="log")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=130)
