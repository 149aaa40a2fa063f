"""Time reading and writing CHGCARs, this project beside pymatgen, in one run.

    python benchmarks/chgcar_io.py [--sizes 120 200] [--repeats 3]

One silicon-like file per size. Each repeat times the two programs in turn, so that a change of the
machine's load meets both; the table gives medians, the spread (smallest to largest repeat) and the
ratio pymatgen / this project.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from pymatgen.io.vasp.outputs import Chgcar

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.density import Density
from mlcharge_flows.vasp.chgcar import read_chgcar, write_chgcar

Action = Callable[[], object]


def density_of(size: int) -> Density:
    """Give a rough density with noise in the last digits, as a converged run has."""
    rng = np.random.default_rng(size)
    lattice = 5.43 * np.eye(3)
    crystal = Crystal(lattice, ("Si", "Si"), np.array([[0, 0, 0], [0.25, 0.25, 0.25]]))
    x = np.cos(2 * np.pi * np.arange(size) / size)
    wave = x[:, None, None] + x[None, :, None] + x[None, None, :]
    total = 8 / crystal.volume + 0.02 * wave + 1e-5 * rng.standard_normal((size, size, size))
    records = tuple(rng.standard_normal(33) for _ in crystal.symbols)
    return Density(crystal, total, records, comment="benchmark")


def seconds(action: Action) -> float:
    """Time one call; what it returns is freed outside the measurement."""
    start = perf_counter()
    result = action()
    elapsed = perf_counter() - start
    del result
    return elapsed


def spread(times: list[float]) -> str:
    """Format median and range."""
    return f"{median(times):8.3f} ({min(times):.3f} to {max(times):.3f})"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[120, 200])
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    print(f"{'grid':>6} {'':>5}  {'this project, s':^26}  {'pymatgen, s':^26}  ratio (range)")
    with tempfile.TemporaryDirectory() as folder:
        for size in arguments.sizes:
            ours, theirs = Path(folder) / f"CHGCAR.{size}", Path(folder) / f"CHGCAR.pmg.{size}"
            density = density_of(size)
            write_chgcar(ours, density)
            other = Chgcar.from_file(str(ours))
            actions: dict[str, tuple[Action, Action]] = {
                "read": (partial(read_chgcar, ours), partial(Chgcar.from_file, str(ours))),
                "write": (
                    partial(write_chgcar, ours, density),
                    partial(other.write_file, theirs),
                ),
            }
            for name, (mine, pymatgens) in actions.items():
                pairs = [(seconds(mine), seconds(pymatgens)) for _ in range(arguments.repeats)]
                ratios = [b / a for a, b in pairs]
                print(
                    f"{size:>4}^3 {name:>5}  {spread([a for a, _ in pairs]):>26}  "
                    f"{spread([b for _, b in pairs]):>26}  "
                    f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
                    flush=True,
                )


if __name__ == "__main__":
    main()
