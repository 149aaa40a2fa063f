"""What the basis of SCDP leaves of real densities, however good the network: least squares alone.

    python benchmarks/scdp_basis.py molecules.h5 [--only HF N2 H2O] [--scaling 10]
    python benchmarks/scdp_basis.py dataset.h5 --periodic --every 40

For each ratio of the exponents, without and with virtual orbitals on bonds, without and with
scaling factors (0.5 to 2) of all exponents, the best coefficients for the converged density are
found by least squares over the plane waves. The error is the NMAE on the grid, as in the paper's
ablation. With --change, what is fitted is the difference from the superposition of atoms, which
the network learns; the error is the share of it that is left. Medians over the materials.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import torch

from mlcharge_flows.density.metrics import nmae
from mlcharge_flows.models.orbital.g_vectors import GVectors
from mlcharge_flows.models.scdp.config import ScdpConfig
from mlcharge_flows.models.scdp.least_squares import least_squares
from mlcharge_flows.models.scdp.network import ScdpNetwork
from mlcharge_flows.training.dataset import DensityDataset

if TYPE_CHECKING:
    from mlcharge_flows.training.sample import DensitySample

RATIOS = (2.0, 1.5, 1.3)


def network(sample: DensitySample, **options: object) -> ScdpNetwork:
    """Smallest network with the basis that the options ask for; its weights are not used."""
    elements = sorted(sample.paw)
    channels = {symbol: list(sample.paw[symbol].channels) for symbol in elements}
    small = {"n_channels": 1, "n_hidden": 1, "n_embedding": 1, "rank": 1, "n_interactions": 1}
    config = {"elements": elements, "channels": channels, "lmax": 1, **small, **options}
    return ScdpNetwork(ScdpConfig.model_validate(config))


def error(
    sample: DensitySample, change: bool, scaling_steps: int, **options: object
) -> tuple[float, int]:
    """Error of the best fit in percent (L1 norms on the grid), and the number of orbitals."""
    made = network(sample, **options)
    graph = made.graph(sample.crystal)
    waves = GVectors.of(sample.crystal, sample.shape, made.config.g_max, made.basis.lmax)
    values = (sample.difference() if change else sample.density()).total
    spectrum = np.fft.rfftn(values, norm="forward").ravel() * sample.crystal.volume
    fit = least_squares(made, graph, waves, torch.from_numpy(spectrum)[waves.index], scaling_steps)
    fitted = waves.to_grid(fit.density).numpy() + values.mean()
    return nmae(fitted, values), fit.n_orbitals


def main() -> None:
    """Print one line per basis."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="data set")
    parser.add_argument("--periodic", action="store_true", help="crystals, no molecules in boxes")
    parser.add_argument("--only", nargs="*", help="these materials alone")
    parser.add_argument("--every", type=int, default=1, help="look at every n-th material")
    parser.add_argument("--ratios", nargs="*", type=float, default=RATIOS)
    parser.add_argument("--change", action="store_true", help="fit the difference from atoms")
    parser.add_argument("--scaling", type=int, default=0, help="steps for scaling factors")
    arguments = parser.parse_args()
    torch.set_default_dtype(torch.float64)
    store = DensityDataset(arguments.data)
    names = arguments.only or store.ids[:: arguments.every]
    fitted = "difference from atoms" if arguments.change else "density"
    print(f"{len(names)} materials, {fitted}: {', '.join(names)}")
    print(f"{'basis':<32}{'orbitals':>9}{'error':>11}{'seconds':>9}")
    for virtual, ratio in product(("none", "bonds"), arguments.ratios):
        options = {"ratio": ratio, "virtual": virtual, "periodic": arguments.periodic}
        for steps in dict.fromkeys((0, arguments.scaling)):
            began = perf_counter()
            rows = [error(store[name], arguments.change, steps, **options) for name in names]
            seconds = (perf_counter() - began) / len(names)
            left, n_orbitals = np.median(np.array(rows), axis=0)
            label = (
                f"ratio {ratio:g}" + ", virtual" * (virtual != "none") + ", scaled" * (steps > 0)
            )
            print(f"{label:<32}{n_orbitals:9.0f}{left:9.3f} %{seconds:9.1f}", flush=True)


if __name__ == "__main__":
    main()
