"""Steps from an initial density with less of its error: what a better model would save.

    python benchmarks/steps_by_error.py FOLDER OUT

FOLDER is that of a comparison with the arms learned and converged, whose CHGCARs are still there;
OUT takes the runs. Every crystal is started from its converged density and occupancies plus a
fraction of the error of the learned ones (1, 0.7, 0.5, 0.25) or of the superposition of atoms (0.1,
0.05). The table has what is left of the superposition's error (L1 norms, medians), and the steps.
With ``--left 0.5,1`` the learned errors are scaled so that the larger of the parts that are left in
density and occupancies is 0.5, and 1. Finished runs are not run again.
"""

from __future__ import annotations

from harness import parser, print_table

# isort: split

import shlex
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING

from monty.io import zopen
from monty.os.path import zpath
from pymatgen.io.vasp import VaspInput
from pymatgen.io.vasp.inputs import UnknownPotcarWarning
from rich.progress import track

from mlcharge_flows.campaign.local import read_results
from mlcharge_flows.density.density import error_removed
from mlcharge_flows.scf.comparison import REFERENCE
from mlcharge_flows.scf.count import count_run
from mlcharge_flows.settings import Settings
from mlcharge_flows.sources import RunInputs, Superposition
from mlcharge_flows.vasp.chgcar import ChgcarDensity, read_chgcar
from mlcharge_flows.vasp.chgcar_writer import write_chgcar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy as np

    from mlcharge_flows.density.density import Density
    from mlcharge_flows.scf.comparison import Comparison
    from mlcharge_flows.scf.run import ScfRun

ERRORS = (
    ("learned", 1.0),
    ("learned", 0.7),
    ("learned", 0.5),
    ("learned", 0.25),
    ("superposition", 0.1),
    ("superposition", 0.05),
)
HEADS = [
    "error of",
    "fraction of it",
    "density left",
    "occupancies left",
    "crystals",
    "median steps",
    "ratio of medians",
    "mean reduction",
]
INPUTS = ("INCAR", "KPOINTS", "POSCAR", "POTCAR")


def executable(given: str | None) -> str:
    """Command line of the executable that is given or configured; one thread per run."""
    settings = Settings.for_command(given)
    settings.check()
    return settings.run_vasp_kwargs.get("vasp_cmd", settings.vasp_cmd)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing and print the table."""
    options = parser(__doc__)
    options.add_argument("compared", type=Path)
    options.add_argument("out", type=Path)
    options.add_argument("--executable", help="such as gpaw-vasp, instead of the configured one")
    options.add_argument("--left", default="", help="parts of the error, such as 0.5,1")
    given = options.parse_args(arguments)
    errors = [("left", float(part)) for part in given.left.split(",") if part] or ERRORS
    command = executable(given.executable)
    # GPAW's data sets are none of VASP's.
    warnings.simplefilter("ignore", UnknownPotcarWarning)
    found: dict[tuple[str, float], list[tuple[float, float, int, int]]] = {}
    for comparison in track(read_results(given.compared), "crystals"):
        folder = given.compared / comparison.material_id
        for key, row in crystal_rows(comparison, folder, given.out, command, errors):
            found.setdefault(key, []).append(row)
    print_table(HEADS, (summary_row(*key, rows) for key, rows in found.items()))


def crystal_rows(
    comparison: Comparison,
    folder: Path,
    out: Path,
    command: str,
    errors: Iterable[tuple[str, float]] = ERRORS,
) -> Iterator[tuple[tuple[str, float], tuple[float, float, int, int]]]:
    """Run one crystal from every initial density; errors left, steps, steps from atoms."""
    converged, learned = (
        read_chgcar(folder / f"{arm}-density" / "CHGCAR") for arm in ("converged", "learned")
    )
    inputs = out / comparison.material_id / "inputs"
    copy_inputs(folder / "converged-run", inputs)
    run_inputs = RunInputs.from_input_set(VaspInput.from_directory(inputs))
    superposition = Superposition().evaluate(run_inputs).density
    from_atoms = comparison.arms[REFERENCE].n_total
    largest_left = 1 - min(error_removed(learned, superposition, converged))
    for kind, fraction in errors:
        far = superposition if kind == "superposition" else learned
        scale = fraction / largest_left if kind == "left" else fraction
        initial = between(converged, far, scale)
        run = out / comparison.material_id / f"{kind}-{fraction}"
        counted = run_from(initial, run, folder / "converged-run", command)
        if counted.failure or counted.n_total is None or from_atoms is None:
            print(f"{run}: left out ({counted.failure})", file=sys.stderr)
            continue
        density, occupancies = error_removed(initial, superposition, converged)
        yield (kind, fraction), (1 - density, 1 - occupancies, counted.n_total, from_atoms)


def summary_row(kind: str, fraction: float, rows: list[tuple[float, float, int, int]]) -> list[str]:
    """Medians over the crystals."""
    density, occupancies, steps, atoms = (list(column) for column in zip(*rows, strict=True))
    saved = mean(1 - mine / theirs for mine, theirs in zip(steps, atoms, strict=True))
    return [
        kind,
        f"{fraction:g}",
        f"{median(density):.1%}",
        f"{median(occupancies):.1%}",
        str(len(rows)),
        f"{median(atoms):g} → {median(steps):g}",
        f"{1 - median(steps) / median(atoms):.1%}",
        f"{saved:.1%}",
    ]


def between(near: ChgcarDensity, far: Density, fraction: float) -> ChgcarDensity:
    """Go a fraction of the way from one density to another, density and occupancies alike."""

    def mixed(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return one + fraction * (other - one)

    pairs = zip(near.augmentation or (), far.augmentation or (), strict=True)
    return replace(
        near,
        total=mixed(near.total, far.total),
        augmentation=tuple(mixed(one, other) for one, other in pairs),
    )


def run_from(initial: ChgcarDensity, run: Path, model: Path, command: str) -> ScfRun:
    """Run the inputs of a finished run from an initial density, unless that is done, and count."""
    if count_run(run).failure:
        prepare(run, model, initial)
        with (run / "vasp.out").open("w") as said:
            subprocess.run(shlex.split(command), cwd=run, stdout=said, check=True)
    return count_run(run)


def prepare(run: Path, model: Path, initial: ChgcarDensity) -> None:
    """Make a run folder with the inputs of a finished run and the initial density."""
    copy_inputs(model, run)
    write_chgcar(run / "CHGCAR", initial)


def copy_inputs(model: Path, run: Path) -> None:
    """Make a run folder with the inputs of a finished run."""
    run.mkdir(parents=True, exist_ok=True)
    for name in INPUTS:
        with zopen(zpath(str(model / name)), "rb") as file:
            (run / name).write_bytes(file.read())


if __name__ == "__main__":
    main()
