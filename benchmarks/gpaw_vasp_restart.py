"""Steps of gpaw-vasp from atoms, from its own CHGCAR, and from half a start: docs/gpaw_vasp.md.

Runs crystals of test_files/crystals five times each and prints a Markdown table::

    python benchmarks/gpaw_vasp_restart.py            # all of them
    python benchmarks/gpaw_vasp_restart.py Si MgO     # these

"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy is imported

import contextlib
import dataclasses
import io
import sys
import tempfile
from pathlib import Path

import numpy as np
from pymatgen.io.vasp.inputs import Incar, Kpoints, Poscar

from mlcharge_flows.density.metrics import nmae
from mlcharge_flows.gpaw_vasp.execute import execute
from mlcharge_flows.gpaw_vasp.initial_density import atomic_superposition
from mlcharge_flows.gpaw_vasp.inputs import read_inputs
from mlcharge_flows.gpaw_vasp.potcar import potcar_text
from mlcharge_flows.vasp.chgcar import read_chgcar, write_chgcar

CRYSTALS = Path(__file__).parents[1] / "test_files" / "crystals"


def folder_with_inputs(parent: Path, crystal: Path, icharg: int) -> Path:
    """A run folder under the default protocol of comparisons."""
    folder = Path(tempfile.mkdtemp(dir=parent))
    poscar = Poscar.from_file(crystal)
    structure = poscar.structure
    tags = {
        "SYSTEM": crystal.stem,
        "ENCUT": 350,
        "PREC": "Normal",
        "EDIFF": 5e-5 * len(structure),
        "ISMEAR": 0,
        "SIGMA": 0.1,
        "LMAXMIX": 4,
        "ICHARG": icharg,
        "NELM": 100,
    }
    Incar(tags).write_file(folder / "INCAR")
    poscar.write_file(folder / "POSCAR", significant_figures=16)
    Kpoints.automatic_density_by_vol(structure, 32, force_gamma=True).write_file(folder / "KPOINTS")
    (folder / "POTCAR").write_text("".join(potcar_text(s) for s in poscar.site_symbols))
    return folder


def compute(parent: Path, crystal: Path, icharg: int, density=None):
    """One run; its stdout is dropped."""
    folder = folder_with_inputs(parent, crystal, icharg)
    if density is not None:
        write_chgcar(folder / "CHGCAR", density)
    with contextlib.redirect_stdout(io.StringIO()):
        return folder, execute(folder)


def main() -> None:
    """Print the table."""
    print("| | steps from atoms | own CHGCAR | own density, atomic occupancies |", end="")
    print(" atomic density, own occupancies | energy difference (meV/atom) |", end="")
    print(" ICHARG=11, occupied eigenvalues (meV) | superposition's NMAE (%) |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as parent_name:
        parent = Path(parent_name)
        for crystal in sorted(CRYSTALS.glob("*.vasp")):
            if sys.argv[1:] and crystal.stem not in sys.argv[1:]:
                continue
            folder, atoms = compute(parent, crystal, 2)
            own = read_chgcar(folder / "CHGCAR")
            start = atomic_superposition(read_inputs(folder))
            _, again = compute(parent, crystal, 1, own)
            half = dataclasses.replace(own, augmentation=start.augmentation)
            other = dataclasses.replace(own, total=start.total)
            _, without = compute(parent, crystal, 1, half)
            _, only = compute(parent, crystal, 1, other)
            _, bands = compute(parent, crystal, 11, own)
            filled = atoms.occupations > 1e-3
            change = again.steps[-1].energy_zero - atoms.steps[-1].energy_zero
            shift = np.abs(bands.eigenvalues - atoms.eigenvalues)[filled].max()
            print(
                f"| {crystal.stem} | {len(atoms.steps)} | {len(again.steps)} | "
                f"{len(without.steps)} | {len(only.steps)} | "
                f"{1e3 * change / len(own.crystal):+.4f} | {1e3 * shift:.3f} | "
                f"{nmae(start.total, own.total):.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
