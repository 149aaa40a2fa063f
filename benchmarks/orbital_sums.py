"""Sums of orbitals over plane waves: by shells of waves, beside all waves at once.

    python benchmarks/orbital_sums.py

Random ions and coefficients at the shipped model's basis and largest wave. Prints a Markdown table:
median times, and the ratio with its range over the repeats, which alternate.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import torch

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.models.orbital import g_vectors
from mlcharge_flows.models.orbital.basis import GaussianBasis

if TYPE_CHECKING:
    from collections.abc import Callable

CELLS = ((2, 4.0), (5, 4.2), (8, 5.6), (12, 6.5))
"""Ions, and edge of a cube in angstrom."""
REPEATS = 15
SHELLS = g_vectors.N_SHELLS


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    basis = GaussianBasis(smallest_exponent=0.28, ratio=1.6, n_exponents=14, lmax=4)
    print("| ions, waves | task | at once, ms | by shells, ms | ratio (range) |")
    print("|---|---|---:|---:|---:|")
    for ions, edge in CELLS:
        random = np.random.default_rng(0)
        crystal = Crystal(edge * np.eye(3), ("Si",) * ions, random.random((ions, 3)))
        n = 2 * int(6.5 * edge)
        waves = g_vectors.GVectors.of(crystal, (n, n, n), 24.0, basis.lmax)
        phases = waves.phases(torch.from_numpy(crystal.positions))
        coefficients = torch.randn(ions, (basis.lmax + 1) ** 2, 14, requires_grad=True)
        known = waves.density(coefficients, phases, basis).detach()

        def sums(c=coefficients, w=waves, p=phases) -> None:
            with torch.inference_mode():
                w.density(c, p, basis)

        def gradients(c=coefficients, w=waves, p=phases) -> None:
            (w.density(c, p, basis).abs() ** 2).sum().backward()

        def projections(d=known, w=waves, p=phases) -> None:
            w.projections(d, p, basis)

        for task in (sums, gradients, projections):
            pairs = [(seconds(task, 1), seconds(task, SHELLS)) for _ in range(REPEATS)]
            ratios = sorted(whole / parts for whole, parts in pairs)
            whole, parts = (1e3 * median(times) for times in zip(*pairs, strict=True))
            print(
                f"| {ions}, {len(waves.q)} | {task.__name__} | {whole:.1f} | {parts:.1f} "
                f"| {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) |"
            )


def seconds(task: Callable[[], None], shells: int) -> float:
    """Time of a task with so many shells."""
    g_vectors.N_SHELLS = shells
    begin = perf_counter()
    task()
    return perf_counter() - begin


if __name__ == "__main__":
    main()
