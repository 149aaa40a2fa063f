"""How many steps a start takes when it has less of its error: what a better model would save.

Give it the folder of a comparison with the arms learned and converged, whose CHGCARs are still
there, and a folder for the runs::

    python benchmarks/steps_by_error.py data/learned data/steps_by_error

Every crystal is started from its converged density and occupancies plus a share of the error of
the learned start (1, 0.7, 0.5, 0.25), or of the superposition of atoms (0.1, 0.05). Prints a
Markdown table: what is left of the superposition's error (L1 norms, medians), and the steps.
Finished runs are not run again.
"""

from __future__ import annotations

import os
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

from mlcharge_flows.campaign.local import results
from mlcharge_flows.density.metrics import error_removed
from mlcharge_flows.scf.count import count_run
from mlcharge_flows.settings import Settings
from mlcharge_flows.sources import RunInputs, Superposition
from mlcharge_flows.vasp.chgcar import ChgcarDensity, read_chgcar, write_chgcar

if TYPE_CHECKING:
    import numpy as np

    from mlcharge_flows.density.density import Density
    from mlcharge_flows.scf.run import ScfRun

STARTS = (
    ("learned", 1.0),
    ("learned", 0.7),
    ("learned", 0.5),
    ("learned", 0.25),
    ("superposition", 0.1),
    ("superposition", 0.05),
)
INPUTS = ("INCAR", "KPOINTS", "POSCAR", "POTCAR")


def executable() -> str:
    """Command line of the executable that is configured, else of gpaw-vasp; one thread per run."""
    settings = Settings.for_command()
    settings.check()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    return settings.run_vasp_kwargs.get("vasp_cmd", settings.vasp_cmd)


def main() -> None:
    """Run what is missing and print the table."""
    compared, out = Path(sys.argv[1]), Path(sys.argv[2])
    command = executable()
    # GPAW's data sets are none of VASP's.
    warnings.simplefilter("ignore", UnknownPotcarWarning)
    rows: dict[tuple[str, float], list[tuple[float, float, int, int]]] = {}
    for comparison in track(results(compared), "crystals"):
        folder = compared / comparison.material_id
        converged, learned = (
            read_chgcar(folder / f"{arm}-density" / "CHGCAR") for arm in ("converged", "learned")
        )
        inputs = out / comparison.material_id / "inputs"
        copy_inputs(folder / "converged-run", inputs)
        run_inputs = RunInputs.from_input_set(VaspInput.from_directory(inputs))
        superposition = Superposition().evaluate(run_inputs).density
        from_atoms = comparison.arms["default"].n_total
        for kind, share in STARTS:
            far = learned if kind == "learned" else superposition
            start = between(converged, far, share)
            run = out / comparison.material_id / f"{kind}-{share}"
            counted = run_from(start, run, folder / "converged-run", command)
            if counted.failure or counted.n_total is None or from_atoms is None:
                print(f"{run}: left out ({counted.failure})", file=sys.stderr)
                continue
            removed = error_removed(start, superposition, converged)
            left = (1 - removed[0], 1 - removed[1])
            rows.setdefault((kind, share), []).append((*left, counted.n_total, from_atoms))
    print(
        "| error of | share of it | density left | occupancies left | crystals | median steps "
        "| ratio of medians | mean reduction |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for (kind, share), found in rows.items():
        density, occupancies, steps, atoms = (list(column) for column in zip(*found, strict=True))
        saved = mean(1 - mine / theirs for mine, theirs in zip(steps, atoms, strict=True))
        print(
            f"| {kind} | {share:g} | {median(density):.1%} | {median(occupancies):.1%} "
            f"| {len(found)} | {median(atoms):g} → {median(steps):g} "
            f"| {1 - median(steps) / median(atoms):.1%} | {saved:.1%} |"
        )


def between(near: ChgcarDensity, far: Density, share: float) -> ChgcarDensity:
    """Go a share of the way from one start to another, density and occupancies alike."""

    def mixed(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return one + share * (other - one)

    pairs = zip(near.augmentation or (), far.augmentation or (), strict=True)
    return replace(
        near,
        total=mixed(near.total, far.total),
        augmentation=tuple(mixed(one, other) for one, other in pairs),
    )


def run_from(start: ChgcarDensity, run: Path, model: Path, command: str) -> ScfRun:
    """Run the inputs of a finished run from a start, if that has not been done, and count."""
    if count_run(run).failure:
        prepare(run, model, start)
        with (run / "vasp.out").open("w") as said:
            subprocess.run(shlex.split(command), cwd=run, stdout=said, check=True)
    return count_run(run)


def prepare(run: Path, model: Path, start: ChgcarDensity) -> None:
    """Make a run folder with the inputs of a finished run and the start."""
    copy_inputs(model, run)
    write_chgcar(run / "CHGCAR", start)


def copy_inputs(model: Path, run: Path) -> None:
    """Make a run folder with the inputs of a finished run."""
    run.mkdir(parents=True, exist_ok=True)
    for name in INPUTS:
        with zopen(zpath(str(model / name)), "rb") as file:
            (run / name).write_bytes(file.read())


if __name__ == "__main__":
    main()
