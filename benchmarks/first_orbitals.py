"""The first orbitals of a run by plane waves, and GPAW's own way over the grid, in one run.

Give it folders of finished runs; their inputs are taken::

    python benchmarks/first_orbitals.py data/all57/mp-*/default-run

Prints a Markdown table: median processor time of either way, in turns, the diagonalization between
atomic orbitals included, and the ratio with its range over the repeats.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
import tempfile
from pathlib import Path
from statistics import median
from time import process_time
from typing import TYPE_CHECKING

from steps_by_error import copy_inputs

from mlcharge_flows.gpaw_vasp.command import use_mkl_transforms
from mlcharge_flows.gpaw_vasp.inputs import read_inputs
from mlcharge_flows.gpaw_vasp.kohn_sham import KohnSham
from mlcharge_flows.gpaw_vasp.lcao import lcao_guess

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpaw.new.hamiltonian import Hamiltonian
    from gpaw.new.potential import Potential

REPEATS = 5


def seconds(work: Callable[..., object], *given: object) -> float:
    """Processor time of one call."""
    begin = process_time()
    work(*given)
    return process_time() - begin


def first_potential(run: Path) -> tuple[KohnSham, Hamiltonian, Potential]:
    """The equations of a finished run, and the potential of its superposition of atoms."""
    use_mkl_transforms()
    with tempfile.TemporaryDirectory() as inputs:
        copy_inputs(run, Path(inputs))
        equations = KohnSham(read_inputs(Path(inputs)))
    calculator = equations.builder.create_potential_calculator()
    equations.density.normalize(calculator.charge)
    potential, *_ = calculator.calculate(equations.density)
    return equations, equations.builder.create_scf_loop().hamiltonian, potential


def main() -> None:
    """Print the table."""
    print("| run | k-points | bands | over the grid, s | plane waves, s | ratio (range) |")
    print("|---|---:|---:|---:|---:|---:|")
    for run in map(Path, sys.argv[1:]):
        equations, hamiltonian, potential = first_potential(run)
        builder, basis = equations.builder, equations.basis
        times = [
            (
                seconds(builder.create_ibz_wave_functions, basis, potential),
                seconds(lcao_guess, builder, hamiltonian, potential),
            )
            for _ in range(REPEATS)
        ]
        ratios = sorted(slow / fast for slow, fast in times)
        slow, fast = map(median, zip(*times, strict=True))
        print(
            f"| {run.parent.name} | {len(builder.ibz)} | {builder.nbands} | {slow:.2f} "
            f"| {fast:.2f} | {median(ratios):.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f}) |"
        )


if __name__ == "__main__":
    main()
