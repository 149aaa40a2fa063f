"""Time reading and writing CHGCARs beside pymatgen.

    python benchmarks/chgcar_io.py [--sizes 120 200] [--repeats 3]

One silicon-like file per size of the grid. The table has medians in seconds with their range, and
pymatgen's time over ours.
"""

from __future__ import annotations

from harness import alternate, parser, print_table, ratio, spread

# isort: split

import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pymatgen.io.vasp.outputs import Chgcar

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.density import Density
from mlcharge_flows.vasp.chgcar import read_chgcar
from mlcharge_flows.vasp.chgcar_writer import write_chgcar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    options = parser(__doc__, repeats=3)
    options.add_argument("--sizes", type=int, nargs="+", default=[120, 200], help="points per axis")
    given = options.parse_args(arguments)
    print_table(
        ["grid", "", "this project, s", "pymatgen, s", "ratio (range)"],
        (row for size in given.sizes for row in rows(size, given.repeats)),
        texts=2,
    )


def rows(size: int, repeats: int) -> Iterator[list[str]]:
    """Rows of one size: reading and writing."""
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = Path(folder) / "CHGCAR", Path(folder) / "CHGCAR.pymatgen"
        density = density_of(size)
        write_chgcar(ours, density)
        other = Chgcar.from_file(str(ours))
        tasks = {
            "read": (partial(read_chgcar, ours), partial(Chgcar.from_file, str(ours))),
            "write": (partial(write_chgcar, ours, density), partial(other.write_file, theirs)),
        }
        for name, (mine, pymatgens) in tasks.items():
            times = alternate({"mine": mine, "theirs": pymatgens}, repeats)
            faster = ratio(times["theirs"], times["mine"])
            yield [f"{size}^3", name, spread(times["mine"]), spread(times["theirs"]), faster]


def density_of(size: int) -> Density:
    """Give a rough density with noise in the last digits, as a converged run has."""
    rng = np.random.default_rng(size)
    lattice = 5.43 * np.eye(3)
    crystal = Crystal(lattice, ("Si", "Si"), np.array([[0, 0, 0], [0.25, 0.25, 0.25]]))
    x = np.cos(2 * np.pi * np.arange(size) / size)
    wave = x[:, None, None] + x[None, :, None] + x[None, None, :]
    total = 8 / crystal.volume + 0.02 * wave + 1e-5 * rng.standard_normal((size, size, size))
    occupancies = tuple(rng.standard_normal(33) for _ in crystal.symbols)
    return Density(crystal, total, occupancies, comment="benchmark")


if __name__ == "__main__":
    main()
