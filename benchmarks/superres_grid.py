"""What the grid of the image network leaves of the superposition's error, however good it is.

    python benchmarks/superres_grid.py dataset.h5 [--every 4]

For each spacing: share of the difference between converged and superposed density (L1 norms) that
is lost when it is restricted to the network's grid and carried back to the fine grid; and how many
points the grid has, relative to the fine grid.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from mlcharge_flows.density.grid import regrid
from mlcharge_flows.models.superres.config import SuperResConfig
from mlcharge_flows.models.superres.image import input_shape
from mlcharge_flows.training.dataset import DensityDataset

SPACINGS = (0.12, 0.15, 0.2, 0.25, 0.3, 0.4)


def main() -> None:
    """Print one line per spacing."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="data set")
    parser.add_argument("--every", type=int, default=1, help="look at every n-th material")
    arguments = parser.parse_args()
    store = DensityDataset(arguments.data)
    left: dict[float, list[float]] = {spacing: [] for spacing in SPACINGS}
    size: dict[float, list[float]] = {spacing: [] for spacing in SPACINGS}
    fine = []
    for name in store.ids[:: arguments.every]:
        sample = store[name]
        fine.append(np.linalg.norm(sample.crystal.lattice, axis=1) / sample.shape)
        change = sample.difference().total
        for spacing in SPACINGS:
            shape = input_shape(sample.crystal, SuperResConfig(spacing=spacing))
            kept = regrid(regrid(change, shape), sample.shape)
            left[spacing].append(float(np.abs(kept - change).sum() / np.abs(change).sum()))
            size[spacing].append(np.prod(shape) / change.size)
    low, high = np.min(fine), np.max(fine)
    print(f"{len(fine)} materials, fine grids of {low:.3f} to {high:.3f} A")
    print(f"{'spacing (A)':>12}{'median left':>13}{'worst':>9}{'points':>9}")
    for spacing in SPACINGS:
        print(
            f"{spacing:12g}{100 * np.median(left[spacing]):11.2f} %"
            f"{100 * max(left[spacing]):7.1f} %{100 * np.median(size[spacing]):7.0f} %"
        )


if __name__ == "__main__":
    main()
