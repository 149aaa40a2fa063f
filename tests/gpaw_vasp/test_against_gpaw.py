"""Energies, gaps and forces agree with GPAW called directly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("gpaw", reason="needs the gpaw extra")

from ase import Atoms
from gpaw.new.ase_interface import GPAW
from pymatgen.io.vasp.inputs import Kpoints, Poscar

from mlcharge_flows.gpaw_vasp.execute import execute

CRYSTALS = Path(__file__).parents[2] / "test_files" / "crystals"

pytestmark = pytest.mark.gpaw


@pytest.mark.parametrize(("name", "shift"), [("Si", 0.01), ("MgO", 0.0)])
def test_energy_gap_and_forces(name, shift, run_folder):
    structure = Poscar.from_file(CRYSTALS / f"{name}.vasp").structure
    structure.translate_sites([1], [shift, 0, 0])
    # GPAW's gradient has not the crystal's symmetry on the grid: at other representatives of the
    # irreducible points, VASP's, energies are up to 0.5 meV per atom off. So all points are used.
    mesh = Kpoints.gamma_automatic((3, 3, 3))
    run = execute(run_folder(name, structure=structure, kpoints=mesh, EDIFF=1e-7, ISYM=0))
    atoms = Atoms(
        [site.specie.symbol for site in structure],
        cell=structure.lattice.matrix,
        scaled_positions=structure.frac_coords,
        pbc=True,
    )
    atoms.calc = GPAW(
        mode={"name": "pw", "ecut": 350},
        xc="PBE",
        gpts=[run.parameters[tag] for tag in ("NGX", "NGY", "NGZ")],
        kpts={"size": (3, 3, 3), "gamma": True},
        symmetry={"point_group": False},
        nbands=run.parameters["NBANDS"],
        occupations={"name": "methfessel-paxton", "order": 0, "width": 0.1},
        convergence={"energy": 1e-7, "density": 1e-7},
        txt=None,
    )
    assert run.steps[-1].energy_zero == pytest.approx(atoms.get_potential_energy(), abs=1e-5)
    np.testing.assert_allclose(run.forces, atoms.get_forces(), atol=2e-3)
    homo, lumo = atoms.calc.get_homo_lumo()
    occupied = run.occupations > 0.5
    gap = run.eigenvalues[~occupied].min() - run.eigenvalues[occupied].max()
    assert gap == pytest.approx(lumo - homo, abs=2e-3)
