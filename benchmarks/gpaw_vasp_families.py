"""Lattice constants with PAW data sets of several families: docs/gpaw_vasp.md.

    gpaw-vasp generate-family /tmp/generated
    python benchmarks/gpaw_vasp_families.py --family /tmp/generated [Si MgO ..]

Five volumes of each cubic crystal with GPAW's own data sets and with those of each family, and a
polynomial of third order in V^(-1/3). Crystals of elements that a family lacks are left out.
"""

from __future__ import annotations

from harness import parser, print_table

# isort: split

import contextlib
import io
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ase.eos import EquationOfState
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp.inputs import Incar, Kpoints, Poscar

from mlcharge_flows.gpaw_vasp.execute import execute
from mlcharge_flows.gpaw_vasp.paw_family import find_family
from mlcharge_flows.gpaw_vasp.potcar import potcar_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlcharge_flows.gpaw_vasp.paw_family import PawXml

GPA = 160.21766  # of an eV per cubic angstrom
SCALES = (0.98, 0.99, 1.0, 1.01, 1.02)

#: Space group, middle of the scan in angstrom, ENCUT in eV, density of k-points, species and
#: positions in the cubic cell.
CUBIC = {
    "Si": ("Fd-3m", 5.47, 400, 32, ("Si",), ((0, 0, 0),)),
    "MgO": ("Fm-3m", 4.25, 600, 12, ("Mg", "O"), ((0, 0, 0), (0.5, 0.5, 0.5))),
    "NaCl": ("Fm-3m", 5.70, 400, 32, ("Na", "Cl"), ((0, 0, 0), (0.5, 0.5, 0.5))),
    "GaAs": ("F-43m", 5.75, 400, 32, ("Ga", "As"), ((0, 0, 0), (0.25, 0.25, 0.25))),
    "Al": ("Fm-3m", 4.04, 400, 32, ("Al",), ((0, 0, 0),)),
    "CaF2": ("Fm-3m", 5.51, 600, 12, ("Ca", "F"), ((0, 0, 0), (0.25, 0.25, 0.25))),
    "Cu": ("Fm-3m", 3.64, 500, 32, ("Cu",), ((0, 0, 0),)),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    options = parser(__doc__)
    options.add_argument("names", nargs="*", metavar="CRYSTAL", help="default: all")
    options.add_argument("--family", action="append", default=[], help="jth, or a folder")
    options.add_argument("--encut", type=float, help="eV, default: 400, 500 or 600, by crystal")
    options.add_argument("--density", type=float, help="of k-points, default: 12 or 32, by crystal")
    given = options.parse_args(arguments)
    families = {Path(name).name: find_family(name) for name in given.family}
    heads = ["", "ENCUT (eV)", "gpaw: a (angstrom)", "bulk modulus (GPa)"]
    for name in families:
        heads += [f"{name}: a (angstrom)", "bulk modulus (GPa)", "change of a (%)"]
        heads += ["valence electrons of gpaw and this"]
    names = given.names or CUBIC
    print_table(heads, (row(name, families, given.encut, given.density) for name in names))


def row(
    name: str,
    families: Mapping[str, Mapping[str, PawXml] | None],
    encut: float | None,
    density: float | None,
) -> list[str]:
    """Lattice constants of one crystal."""
    first, modulus, electrons = equation_of_state(name, {}, encut, density)
    cells = [name, f"{encut or CUBIC[name][2]:g}", f"{first:.3f}", f"{modulus:.0f}"]
    for family in families.values():
        if family is None or not set(CUBIC[name][4]) <= set(family):
            cells += ["", "", "", ""]
            continue
        own, modulus, others = equation_of_state(name, family, encut, density)
        change = 100 * (own / first - 1)
        valence = f"{electrons:g}, {others:g}"
        cells += [f"{own:.3f}", f"{modulus:.0f}", f"{change:+.2f}", valence]
    return cells


def equation_of_state(
    name: str, family: Mapping[str, PawXml], encut: float | None, density: float | None
) -> tuple[float, float, float]:
    """Lattice constant in angstrom, bulk modulus in GPa, and electrons of the cell."""
    group, middle, own_encut, own_density, species, positions = CUBIC[name]
    places = [list(site) for site in positions]
    cubic = Structure.from_spacegroup(group, Lattice.cubic(middle), species, places)
    cell = cubic.get_primitive_structure().get_sorted_structure()
    mesh = Kpoints.automatic_density_by_vol(cell, density or own_density, force_gamma=True)
    symbols = Poscar(cell).site_symbols
    potcar = "".join(potcar_text(symbol, family.get(symbol)) for symbol in symbols)
    volumes, energies = [], []
    for scale in SCALES:
        structure = cell.copy()
        structure.scale_lattice(cell.volume * scale**3)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder)
            Poscar(structure).write_file(path / "POSCAR", significant_figures=16)
            tags = {
                "ENCUT": encut or own_encut,
                "PREC": "Normal",
                "EDIFF": 1e-5 * len(structure),
                "ISMEAR": 0,
                "SIGMA": 0.1,
                "LWAVE": False,
                "LCHARG": False,
            }
            Incar(tags).write_file(path / "INCAR")
            mesh.write_file(path / "KPOINTS")
            (path / "POTCAR").write_text(potcar)
            with contextlib.redirect_stdout(io.StringIO()):
                run = execute(path)
        volumes.append(structure.volume)
        energies.append(run.steps[-1].energy_zero)
    volume, _, modulus = EquationOfState(volumes, energies, eos="sj").fit(warn=False)
    constant = middle * (volume / cell.volume) ** (1 / 3)
    return float(constant), float(modulus * GPA), float(run.parameters["NELECT"])


if __name__ == "__main__":
    main()
