"""Spin-polarized runs of gpaw-vasp beside GPAW called directly, and restarts: docs/gpaw_vasp.md.

    python benchmarks/gpaw_vasp_spin.py [Fe NiO ..]
    python benchmarks/gpaw_vasp_spin.py --speed [Fe NiO ..]
    python benchmarks/gpaw_vasp_spin.py --unpolarized Si MgO

Each crystal runs from atoms, from its own CHGCAR, from the total density of it with MAGMOM, with a
fixed density (ICHARG = 11), and in GPAW itself. ``--speed`` compares the processor time of steps,
``--unpolarized`` the energies of ISPIN = 2 and 1.
"""

from __future__ import annotations

from harness import parser, print_table

# isort: split

import contextlib
import io
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from gpaw.new.ase_interface import GPAW
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp.inputs import Incar, Kpoints, Poscar

from mlcharge_flows.gpaw_vasp.execute import execute
from mlcharge_flows.gpaw_vasp.initial_density import initial_density
from mlcharge_flows.gpaw_vasp.inputs import read_inputs
from mlcharge_flows.gpaw_vasp.kohn_sham import KohnSham
from mlcharge_flows.gpaw_vasp.potcar import potcar_text
from mlcharge_flows.vasp.chgcar import read_chgcar
from mlcharge_flows.vasp.chgcar_writer import write_chgcar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlcharge_flows.density.density import Density

HEADS = [
    "",
    "moments (muB), U",
    "k-points",
    "steps from atoms",
    "own CHGCAR",
    "total density, MAGMOM",
    "energy minus GPAW's (meV/atom)",
    "total moment (GPAW's), muB",
    "largest site moment (GPAW's), muB",
    "own CHGCAR: energy (meV/atom)",
    "ICHARG=11, occupied eigenvalues (meV)",
]
SPEED_HEADS = ["", "step, CPU time (s)", "ISPIN = 1 (s)", "ratio"]
UNPOLARIZED_HEADS = ["", "steps", "ISPIN = 1", "energy minus ISPIN = 1 (meV/atom)"]


@dataclass(frozen=True)
class Crystal:
    """A crystal, its initial moments, its mesh and the U of its first element."""

    structure: Structure
    moments: list[float]
    mesh: tuple[int, int, int]
    hubbard: float = 0.0
    tags: dict[str, Any] = field(default_factory=dict)


def _rock_salt(metal: str, a: float) -> Structure:
    """Rhombohedral cell of antiferromagnetic planes along (111)."""
    lattice = Lattice(a * np.array([[1, 0.5, 0.5], [0.5, 1, 0.5], [0.5, 0.5, 1]]))
    sites = [[0, 0, 0], [0.5] * 3, [0.25] * 3, [0.75] * 3]
    return Structure(lattice, [metal, metal, "O", "O"], sites)


def _binary(a: float, symbols: Sequence[str], second: float) -> Structure:
    lattice = Lattice(a / 2 * (1 - np.eye(3)))
    return Structure(lattice, symbols, [[0, 0, 0], [second] * 3])


def _rutile(metal: str, a: float, c: float, x: float) -> Structure:
    sites = [
        [0, 0, 0], [0.5, 0.5, 0.5],
        [x, x, 0], [1 - x, 1 - x, 0], [0.5 + x, 0.5 - x, 0.5], [0.5 - x, 0.5 + x, 0.5],
    ]  # fmt: skip
    return Structure(Lattice.tetragonal(a, c), [metal] * 2 + ["O"] * 4, sites)


CRYSTALS = {
    "Fe": Crystal(
        Structure(Lattice(1.415 * (1 - 2 * np.eye(3))), ["Fe"], [[0, 0, 0]]), [2.3], (4, 4, 4)
    ),
    "Co": Crystal(
        Structure(
            Lattice.hexagonal(2.507, 4.07), ["Co"] * 2, [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]]
        ),
        [1.7, 1.7],
        (6, 6, 4),
    ),
    "NiO": Crystal(_rock_salt("Ni", 4.17), [2, -2, 0, 0], (2, 2, 2), 6.2),
    "MnO": Crystal(_rock_salt("Mn", 4.44), [5, -5, 0, 0], (2, 2, 2)),
    "CrO2": Crystal(_rutile("Cr", 4.42, 2.92, 0.305), [2, 2, 0, 0, 0, 0], (2, 2, 3)),
    "O2": Crystal(
        Structure(Lattice.orthorhombic(5.5, 6.0, 6.5), ["O"] * 2, [[0, 0, 0], [0, 0, 1.23 / 6.5]]),
        [1, 1],
        (1, 1, 1),
        tags={"SIGMA": 0.02},
    ),
    "Si": Crystal(_binary(5.43, ["Si", "Si"], 0.25), [0.6] * 2, (4, 4, 4), tags={"NBANDS": 8}),
    "MgO": Crystal(_binary(4.21, ["Mg", "O"], 0.5), [0.6] * 2, (4, 4, 4), tags={"NBANDS": 9}),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    options = parser(__doc__)
    options.add_argument("names", nargs="*", metavar="CRYSTAL", help="default: all")
    options.add_argument("--encut", type=float, default=350.0, help="eV, default 350")
    options.add_argument("--speed", action="store_true", help="compare the time of steps")
    options.add_argument("--unpolarized", action="store_true", help="compare with ISPIN = 1")
    options.add_argument("--nbands", type=int, help="default: that of each run")
    options.add_argument("--mesh", type=int, help="k-points along each axis; default: of the table")
    given = options.parse_args(arguments)
    chosen = {name: CRYSTALS[name] for name in given.names or CRYSTALS}
    if given.mesh:
        chosen = {name: replace(c, mesh=(given.mesh,) * 3) for name, c in chosen.items()}
    if given.nbands:
        tags = {"NBANDS": given.nbands}
        chosen = {name: replace(c, tags=c.tags | tags) for name, c in chosen.items()}
    compare, heads = (
        (speed, SPEED_HEADS)
        if given.speed
        else (unpolarized, UNPOLARIZED_HEADS)
        if given.unpolarized
        else (row, HEADS)
    )
    print_table(heads, (compare(name, crystal, given.encut) for name, crystal in chosen.items()))


def row(name: str, crystal: Crystal, encut: float) -> list[str]:
    """Run one crystal from every initial density, and in GPAW."""
    with tempfile.TemporaryDirectory() as parent:
        folder, atoms = compute(Path(parent), crystal, encut, 2)
        own = read_chgcar(folder / "CHGCAR")
        _, again = compute(Path(parent), crystal, encut, 1, own)
        _, total = compute(Path(parent), crystal, encut, 1, replace(own, magnetization=None))
        _, bands = compute(Path(parent), crystal, encut, 11, own)
        energy, moment, sites = in_gpaw(folder, crystal)
    n_ions = len(crystal.structure)
    last = atoms.steps[-1]
    filled = atoms.occupations > 1e-3
    shift = np.abs(bands.eigenvalues - atoms.eigenvalues)[filled].max()
    of_sites = np.abs(atoms.site_moments.sum(axis=1)).max()
    shown = " ".join(f"{m:g}" for m in crystal.moments)
    return [
        name,
        f"{shown}; {crystal.hubbard:g} eV" if crystal.hubbard else shown,
        "x".join(map(str, crystal.mesh)),
        str(len(atoms.steps)),
        str(len(again.steps)),
        str(len(total.steps)),
        f"{1e3 * (last.energy_zero - energy) / n_ions:+.3f}",
        f"{last.magnetization:.4f} ({moment:.4f})",
        f"{of_sites:.4f} ({np.abs(sites).max():.4f})",
        f"{1e3 * (again.steps[-1].energy_zero - last.energy_zero) / n_ions:+.4f}",
        f"{1e3 * shift:.3f}",
    ]


def speed(name: str, crystal: Crystal, encut: float) -> list[str]:
    """Processor time of a step with and without spin, the better of two runs of eight steps."""

    def step(**tags: Any) -> float:
        with tempfile.TemporaryDirectory() as parent:
            folder = write_inputs(Path(parent), crystal, encut, 2, EDIFF=1e-12, NELM=8, **tags)
            inputs = read_inputs(folder)
            solver = KohnSham(inputs)
            solver.set_initial_state(initial_density(folder, inputs)[0])
            begin = time.process_time()
            steps = list(solver.iterate())
            return (time.process_time() - begin) / len(steps)

    bands = read_bands(crystal, encut)
    polarized, plain = (
        min(step(NBANDS=bands), step(NBANDS=bands)),
        min(step(ISPIN=1, NBANDS=bands), step(ISPIN=1, NBANDS=bands)),
    )
    return [name, f"{polarized:.3f}", f"{plain:.3f}", f"{polarized / plain:.2f}"]


def unpolarized(name: str, crystal: Crystal, encut: float) -> list[str]:
    """Steps and energy of a crystal without moments, with ISPIN = 2 and 1."""
    with tempfile.TemporaryDirectory() as parent:
        _, two = compute(Path(parent), crystal, encut, 2)
        _, one = compute(Path(parent), replace(crystal, tags=crystal.tags | {"ISPIN": 1}), encut, 2)
    change = two.steps[-1].energy_zero - one.steps[-1].energy_zero
    shown = f"{1e3 * change / len(crystal.structure):+.4f}"
    return [name, str(len(two.steps)), str(len(one.steps)), shown]


def read_bands(crystal: Crystal, encut: float) -> int:
    """Count the bands of the spin-polarized run."""
    with tempfile.TemporaryDirectory() as parent:
        return read_inputs(write_inputs(Path(parent), crystal, encut, 2)).settings.nbands


def write_inputs(parent: Path, crystal: Crystal, encut: float, icharg: int, **changes: Any) -> Path:
    """Write the input files of one run."""
    folder = Path(tempfile.mkdtemp(dir=parent))
    poscar = Poscar(crystal.structure)
    n_elements = len(poscar.site_symbols)
    tags = {
        "ISPIN": 2,
        "MAGMOM": crystal.moments,
        "ENCUT": encut,
        "PREC": "Normal",
        "EDIFF": 1e-5 * len(crystal.structure),
        "ISMEAR": 0,
        "SIGMA": 0.1,
        "LMAXMIX": 4,
        "LORBIT": 11,
        "ISIF": 0,
        "LWAVE": False,
        "ICHARG": icharg,
        "NELM": 100,
        **crystal.tags,
    }
    if crystal.hubbard:
        rest = [0] * (n_elements - 1)
        tags |= {"LDAU": True, "LDAUTYPE": 2, "LDAUL": [2, *(-1 for _ in rest)]}
        tags |= {"LDAUU": [crystal.hubbard, *rest], "LDAUJ": [0, *rest]}
    Incar(tags | changes).write_file(folder / "INCAR")
    poscar.write_file(folder / "POSCAR", significant_figures=16)
    Kpoints.gamma_automatic(crystal.mesh).write_file(folder / "KPOINTS")
    (folder / "POTCAR").write_text("".join(potcar_text(s) for s in poscar.site_symbols))
    return folder


def compute(
    parent: Path, crystal: Crystal, encut: float, icharg: int, start: Density | None = None
) -> tuple[Path, Any]:
    """Make one run; its stdout is dropped."""
    folder = write_inputs(parent, crystal, encut, icharg)
    if start is not None:
        write_chgcar(folder / "CHGCAR", start)
    with contextlib.redirect_stdout(io.StringIO()):
        return folder, execute(folder)


def in_gpaw(folder: Path, crystal: Crystal) -> tuple[float, float, np.ndarray]:
    """Energy (eV), total moment and moments of the ions from GPAW itself, on the same grids."""
    inputs = read_inputs(folder)
    atoms = Atoms(
        inputs.crystal.symbols,
        cell=inputs.crystal.lattice,
        scaled_positions=inputs.crystal.positions,
        pbc=True,
        magmoms=crystal.moments,
    )
    metal = inputs.crystal.symbols[0]
    atoms.calc = GPAW(
        mode={"name": "pw", "ecut": inputs.settings.encut},
        xc="PBE",
        setups={metal: f":d,{crystal.hubbard}"} if crystal.hubbard else {},
        gpts=inputs.grids.coarse,
        kpts={"size": crystal.mesh, "gamma": True},
        nbands=inputs.settings.nbands,
        occupations={"name": "methfessel-paxton", "order": 0, "width": inputs.settings.sigma},
        convergence={"energy": 1e-5, "density": 1e-5},
        txt=None,
    )
    energy = atoms.get_potential_energy()
    return energy, atoms.calc.get_magnetic_moment(), atoms.calc.get_magnetic_moments()


if __name__ == "__main__":
    main()
