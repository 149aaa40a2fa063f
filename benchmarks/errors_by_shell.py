"""What orbital models leave of the density's error, by length of the waves.

    python benchmarks/errors_by_shell.py CONFIG.yaml CHECKPOINT...

CONFIG is that of a training; the materials are those that it holds out. Prints a Markdown table:
for each checkpoint the root mean square error left in each range of waves (1/angstrom), of the
density on the grid (L1), and of the occupancies; medians over the materials.
"""

from __future__ import annotations

import sys
from itertools import pairwise

import numpy as np
import torch
from rich.progress import track

from mlcharge_flows.models.checkpoint import read_checkpoint
from mlcharge_flows.models.orbital import load
from mlcharge_flows.training.config import read_config
from mlcharge_flows.training.dataset import DensityDataset
from mlcharge_flows.training.orbital import OrbitalTask
from mlcharge_flows.training.split import split_materials

EDGES = (0.0, 2.5, 5.0, 8.0, 12.0, 18.0, 24.0)


def main() -> None:
    """Predict and print the table."""
    config = read_config(sys.argv[1])
    store = DensityDataset(config.data)
    _, held_out = split_materials(store.splits(), config.validation_fraction, config.train_fraction)
    task = OrbitalTask(config, store, torch.device("cpu"))
    networks = {path: load(read_checkpoint(path)).network for path in sys.argv[2:]}
    left: dict[str, list[list[float]]] = {path: [] for path in networks}
    for name in track(held_out, "materials"):
        sample = task.prepare(store[name])
        waves, size = sample.g_vectors, sample.target.abs() ** 2
        for path, network in networks.items():
            with torch.inference_mode():
                density = network.density(network(sample.graph)[0], waves, sample.phases)
                errors = task.errors(network, sample)
            square = (density - sample.target).abs() ** 2
            row = []
            for low, high in pairwise(EDGES):
                weight = waves.multiplicity * ((waves.q >= low) & (waves.q < high))
                # Small cells have no waves in the first range.
                whole = float((weight * size).sum())
                row.append(float((weight * square).sum()) / whole if whole else np.nan)
            row = [share**0.5 for share in row]
            left[path].append([*row, errors["density_left"], errors["occupancies_left"]])
    ranges = [f"{low:g} to {high:g}" for low, high in pairwise(EDGES)]
    print("| checkpoint | " + " | ".join([*ranges, "density left", "occupancies left"]) + " |")
    print("|---|" + "---:|" * (len(ranges) + 2))
    for path, rows in left.items():
        cells = " | ".join(f"{share:.1%}" for share in np.nanmedian(rows, axis=0))
        print(f"| {path} | {cells} |")


if __name__ == "__main__":
    main()
