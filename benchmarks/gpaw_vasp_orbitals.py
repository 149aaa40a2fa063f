"""How fast orbitals converge at fixed density, in gpaw-vasp and in VASP: docs/gpaw_vasp.md.

    python benchmarks/gpaw_vasp_orbitals.py [Si MgO ..] [--vasp FOLDER]

|dE| of the first five electronic steps from random orbitals, which keep the density: those of each
crystal of test_files/crystals, or of those that are named, beside those of the OSZICARs of real
VASP runs in FOLDER. What is left of the error after a step is about the |dE| of the next one.
"""

from __future__ import annotations

from harness import parser, print_table

# isort: split

import tempfile
from pathlib import Path
from statistics import geometric_mean, median
from typing import TYPE_CHECKING

from gpaw_vasp_restart import CRYSTALS, compute
from mlcharge_flows.vasp.oszicar import read_oszicar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SAMPLES = Path(__file__).parents[2] / "shared" / "vasp_samples"
DELAY = 5
HEADS = ["", *(f"{step}" for step in range(2, DELAY + 1)), "error left by a step"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print both tables, the medians last."""
    options = parser(__doc__)
    options.add_argument("names", nargs="*", metavar="CRYSTAL", help="default: all")
    options.add_argument(
        "--vasp", type=Path, default=SAMPLES, help="default ../shared/vasp_samples"
    )
    options.add_argument("--encut", type=float, default=350.0, help="eV, default 350")
    options.add_argument("--density", type=float, default=32.0, help="of k-points, default 32")
    given = options.parse_args(arguments)
    chosen = sorted(
        path for path in CRYSTALS.glob("*.vasp") if not given.names or path.stem in given.names
    )
    print_table(HEADS, with_median("VASP, median", real_runs(given.vasp)))
    print()
    print_table(
        HEADS,
        with_median(
            "gpaw-vasp, median",
            ((path.stem, embedded_run(path, given.encut, given.density)) for path in chosen),
        ),
    )


def with_median(
    title: str, runs: Iterator[tuple[str, list[float]]] | list[tuple[str, list[float]]]
) -> Iterator[list[str]]:
    """Rows of the runs, then one of the medians of their columns."""
    seen = []
    for name, changes in runs:
        # Each of these steps reduces the error by about the same factor.
        factor = (changes[-1] / changes[0]) ** (1 / (len(changes) - 1))
        seen.append([*changes, factor])
        yield [name, *(f"{change:.1e}" for change in changes), f"1/{1 / factor:.0f}"]
    if seen:
        middle = [median(column) for column in zip(*seen, strict=True)]
        leaves = geometric_mean(row[-1] for row in seen)
        yield [title, *(f"{change:.1e}" for change in middle[:-1]), f"1/{1 / middle[-1]:.0f}"]
        yield ["geometric mean", *[""] * (DELAY - 1), f"1/{1 / leaves:.0f}"]


def real_runs(folder: Path) -> list[tuple[str, list[float]]]:
    """|dE| of the fixed-density steps of each OSZICAR, without runs that repeat another."""
    runs: dict[tuple[float, ...], str] = {}
    for path in sorted(folder.glob("*/OSZICAR*")):
        steps = read_oszicar(path).ionic_steps[0].steps
        changes = tuple(abs(step.change) for step in steps[1:DELAY])
        # Steps without rms(c) keep the density; a shorter run has no such five.
        if len(changes) == DELAY - 1 and all(step.rms_c is None for step in steps[: DELAY - 1]):
            runs.setdefault(changes, path.parent.name)
    return [(name, [*changes]) for changes, name in runs.items()]


def embedded_run(crystal: Path, encut: float, density: float) -> list[float]:
    """The same of a run of gpaw-vasp with the density of atoms."""
    with tempfile.TemporaryDirectory() as parent:
        _, run = compute(Path(parent), crystal, encut, density, 2, NELM=DELAY)
    return [abs(step.change) for step in run.steps[1:]]


if __name__ == "__main__":
    main()
