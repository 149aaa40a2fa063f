"""Steps of gpaw-vasp from atoms, from its own CHGCAR, and from half of it: docs/gpaw_vasp.md.

    python benchmarks/gpaw_vasp_restart.py [Si MgO ..]

Five runs of each crystal of test_files/crystals, or of those that are named.
"""

from __future__ import annotations

from harness import parser, print_table

# isort: split

import contextlib
import io
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pymatgen.io.vasp.inputs import Incar, Kpoints, Poscar

from mlcharge_flows.density.density import nmae
from mlcharge_flows.gpaw_vasp.execute import execute
from mlcharge_flows.gpaw_vasp.initial_density import atomic_superposition
from mlcharge_flows.gpaw_vasp.inputs import read_inputs
from mlcharge_flows.gpaw_vasp.potcar import potcar_text
from mlcharge_flows.vasp.chgcar import read_chgcar
from mlcharge_flows.vasp.chgcar_writer import write_chgcar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlcharge_flows.density.density import Density

CRYSTALS = Path(__file__).parents[1] / "test_files" / "crystals"
HEADS = [
    "",
    "steps from atoms",
    "own CHGCAR",
    "own density, atomic occupancies",
    "atomic density, own occupancies",
    "energy difference (meV/atom)",
    "ICHARG=11, occupied eigenvalues (meV)",
    "superposition's NMAE (%)",
]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    options = parser(__doc__)
    options.add_argument("names", nargs="*", metavar="CRYSTAL", help="default: all")
    options.add_argument("--encut", type=float, default=350.0, help="eV, default 350")
    options.add_argument("--density", type=float, default=32.0, help="of k-points, default 32")
    given = options.parse_args(arguments)
    chosen = sorted(
        path for path in CRYSTALS.glob("*.vasp") if not given.names or path.stem in given.names
    )
    print_table(HEADS, (row(path, given.encut, given.density) for path in chosen))


def row(crystal: Path, encut: float, density: float) -> list[str]:
    """Run one crystal from every initial density."""
    with tempfile.TemporaryDirectory() as parent:
        folder, atoms = compute(Path(parent), crystal, encut, density, 2)
        own = read_chgcar(folder / "CHGCAR")
        free = atomic_superposition(read_inputs(folder))
        given = {
            "own": own,
            "atomic occupancies": replace(own, augmentation=free.augmentation),
            "atomic density": replace(own, total=free.total),
        }
        runs = {
            name: compute(Path(parent), crystal, encut, density, 1, start)[1]
            for name, start in given.items()
        }
        _, bands = compute(Path(parent), crystal, encut, density, 11, own)
    filled = atoms.occupations > 1e-3
    change = runs["own"].steps[-1].energy_zero - atoms.steps[-1].energy_zero
    shift = np.abs(bands.eigenvalues - atoms.eigenvalues)[filled].max()
    return [
        crystal.stem,
        str(len(atoms.steps)),
        *(str(len(run.steps)) for run in runs.values()),
        f"{1e3 * change / len(own.crystal):+.4f}",
        f"{1e3 * shift:.3f}",
        f"{nmae(free.total, own.total):.1f}",
    ]


def compute(
    parent: Path,
    crystal: Path,
    encut: float,
    kpoint_density: float,
    icharg: int,
    start: Density | None = None,
    **tags: Any,
) -> tuple[Path, Any]:
    """Make one run under the protocol of comparisons, or other tags; its stdout is dropped."""
    folder = Path(tempfile.mkdtemp(dir=parent))
    poscar = Poscar.from_file(crystal)
    tags = {
        "SYSTEM": crystal.stem,
        "ENCUT": encut,
        "PREC": "Normal",
        "EDIFF": 5e-5 * len(poscar.structure),
        "ISMEAR": 0,
        "SIGMA": 0.1,
        "LMAXMIX": 4,
        "ICHARG": icharg,
        "NELM": 100,
        **tags,
    }
    Incar(tags).write_file(folder / "INCAR")
    poscar.write_file(folder / "POSCAR", significant_figures=16)
    mesh = Kpoints.automatic_density_by_vol(poscar.structure, kpoint_density, force_gamma=True)
    mesh.write_file(folder / "KPOINTS")
    (folder / "POTCAR").write_text("".join(potcar_text(s) for s in poscar.site_symbols))
    if start is not None:
        write_chgcar(folder / "CHGCAR", start)
    with contextlib.redirect_stdout(io.StringIO()):
        return folder, execute(folder)


if __name__ == "__main__":
    main()
