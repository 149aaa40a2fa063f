"""What the orbitals leave of real densities, however good the network, by length of the waves.

    python benchmarks/orbital_basis.py CONFIG.yaml [EXPONENTS ...]

CONFIG is that of a training; the crystals are the first eight of at most three atoms that it holds
out. The best coefficients for converged less superposed density are found by least squares over
the plane waves, every range of their length (1/angstrom) weighing the same. Prints a Markdown
table of the root mean square left in each range, medians over the crystals.
"""

from __future__ import annotations

import sys
from itertools import pairwise

import numpy as np
import torch
from errors_by_shell import EDGES

from mlcharge_flows.models.orbital.basis import GaussianBasis
from mlcharge_flows.models.orbital.config import OrbitalConfig
from mlcharge_flows.training.config import read_config
from mlcharge_flows.training.dataset import DensityDataset
from mlcharge_flows.training.orbital import OrbitalSample, OrbitalTask
from mlcharge_flows.training.split import split_materials

CRYSTALS, ATOMS = 8, 3
DEFAULTS = OrbitalConfig(elements=["H"], channels={"H": [0]})


def main() -> None:
    """Fit and print the table."""
    config = read_config(sys.argv[1])
    store = DensityDataset(config.data)
    _, held_out = split_materials(store.splits(), config.validation_fraction, config.train_fraction)
    small = [name for name in held_out if len(store[name].crystal) <= ATOMS][:CRYSTALS]
    task = OrbitalTask(config, store, torch.device("cpu"))
    samples = [task.prepare(store[name]) for name in small]
    ranges = [f"{low:g} to {high:g}" for low, high in pairwise(EDGES)]
    print("| exponents | the largest | " + " | ".join(ranges) + " |")
    print("|---|" + "---:|" * (len(ranges) + 1))
    for n in map(int, sys.argv[2:] or (12, 13, 14, 16)):
        basis = GaussianBasis(DEFAULTS.smallest_exponent, DEFAULTS.ratio, n, DEFAULTS.lmax)
        left = np.nanmedian([best_fit(sample, basis) for sample in samples], axis=0)
        largest = DEFAULTS.smallest_exponent * DEFAULTS.ratio ** (n - 1)
        print(f"| {n} | {largest:.0f} | " + " | ".join(f"{share:.1%}" for share in left) + " |")


def best_fit(sample: OrbitalSample, basis: GaussianBasis) -> list[float]:
    """Root mean square that the best coefficients leave in each range; nan where no waves are."""
    waves, q = sample.g_vectors, sample.g_vectors.q.numpy()
    ranges = [(q >= low) & (q < high) for low, high in pairwise(EDGES)]
    size = waves.multiplicity.numpy() * sample.target.abs().numpy() ** 2
    norms = [size[here].sum() for here in ranges]
    weight = np.zeros_like(q)
    for here, norm in zip(ranges, norms, strict=True):
        if norm:
            weight[here] = (waves.multiplicity.numpy()[here] / norm) ** 0.5
    radials = basis.radials(waves.q)
    columns = [
        (-1j) ** degree * waves.harmonics[component] * radials[degree] * phases
        for phases in sample.phases
        for degree in range(basis.lmax + 1)
        for component in range(degree**2, (degree + 1) ** 2)
    ]
    orbitals = torch.cat(columns).numpy().T * weight[:, None]
    target = sample.target.numpy() * weight
    matrix, wanted = (np.concatenate([x.real, x.imag]) for x in (orbitals, target))
    scale = np.linalg.norm(matrix, axis=0) + 1e-30
    found, *_ = np.linalg.lstsq(matrix / scale, wanted, rcond=1e-5)
    squares = (matrix / scale @ found - wanted) ** 2
    squares = squares[: len(q)] + squares[len(q) :]
    return [
        float(squares[here].sum()) ** 0.5 if norm else np.nan
        for here, norm in zip(ranges, norms, strict=True)
    ]


if __name__ == "__main__":
    main()
