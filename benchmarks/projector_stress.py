"""The projectors' part of the stress in one pass over the waves, and GPAW's own way, in one run.

Give it folders of finished runs; their inputs are taken::

    python benchmarks/projector_stress.py data/all57/mp-*/default-run

Prints a Markdown table: median processor time of either way, in turns, all k-points together, and
the ratio with its range over the repeats.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from first_orbitals import REPEATS, first_potential, seconds
from gpaw.core.pwacf import PWAtomCenteredFunctions

from mlcharge_flows.gpaw_vasp.lcao import lcao_guess

if TYPE_CHECKING:
    from collections.abc import Callable


def main() -> None:
    """Print the table."""
    print("| run | k-points | projectors | GPAW, s | one pass, s | ratio (range) |")
    print("|---|---:|---:|---:|---:|---:|")
    for run in map(Path, sys.argv[1:]):
        equations, hamiltonian, potential = first_potential(run)
        builder = equations.builder
        waves = list(lcao_guess(builder, hamiltonian, potential))
        weights = [{ion: p.conj() for ion, p in wave.P_ani.items()} for wave in waves]

        def stress(way: Callable[..., object], waves=waves, weights=weights) -> None:
            for wave, weight in zip(waves, weights, strict=True):
                way(wave.pt_aiX, wave.psit_nX, weight)

        slow_way = PWAtomCenteredFunctions.stress_contribution
        fast_way = type(waves[0].pt_aiX).stress_contribution
        times = [(seconds(stress, slow_way), seconds(stress, fast_way)) for _ in range(REPEATS)]
        ratios = sorted(slow / fast for slow, fast in times)
        slow, fast = map(median, zip(*times, strict=True))
        n_projectors = sum(setup.ni for setup in builder.setups)
        print(
            f"| {run.parent.name} | {len(builder.ibz)} | {n_projectors} | {slow:.2f} "
            f"| {fast:.2f} | {median(ratios):.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f}) |"
        )


if __name__ == "__main__":
    main()
