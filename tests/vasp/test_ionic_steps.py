"""Ionic steps of OUTCAR, compared with those of vasprun.xml and with CHGCAR."""

import numpy as np
import pytest
from pymatgen.io.vasp import Vasprun

from mlcharge_flows.vasp.chgcar import read_chgcar
from mlcharge_flows.vasp.outcar import read_outcar

RELAXATIONS = ["mg2_relax", "no_spin_relax", "graphene_relax"]


@pytest.mark.parametrize("name", RELAXATIONS)
def test_the_last_ionic_step_is_that_of_vasprun(vasp_samples, name):
    outcar = read_outcar(vasp_samples / name / "OUTCAR.gz")
    vasprun = Vasprun(
        vasp_samples / name / "vasprun.xml.gz", parse_potcar_file=False, parse_dos=False
    )
    assert outcar.last.number == len(vasprun.ionic_steps)
    last = vasprun.ionic_steps[-1]
    assert len(outcar.last.energies) == len(last["electronic_steps"])
    assert outcar.last_converged
    structure = last["structure"]
    # OUTCAR prints 9 decimals of the lattice and 5 of the positions.
    np.testing.assert_allclose(outcar.last.lattice, structure.lattice.matrix, atol=1e-7)
    apart = outcar.last.positions @ structure.lattice.inv_matrix - structure.frac_coords
    apart = (apart - np.rint(apart)) @ structure.lattice.matrix
    np.testing.assert_allclose(apart, 0.0, atol=2e-5)


@pytest.mark.parametrize("name", [*RELAXATIONS, "si2_aiida", "ga4_spin", "lih"])
def test_chgcar_holds_the_geometry_and_the_grid_of_the_last_ionic_step(vasp_samples, name):
    outcar = read_outcar(vasp_samples / name / "OUTCAR.gz")
    density = read_chgcar(vasp_samples / name / "CHGCAR.gz")
    assert outcar.grid == density.shape
    np.testing.assert_allclose(density.crystal.lattice, outcar.last.lattice, atol=1e-5)
    assert density.n_electrons == pytest.approx(outcar.n_electrons, abs=1e-4)


def test_linear_response_is_no_ionic_step(vasp_samples):
    """LEPSILON goes on counting as if ions moved."""
    outcar = read_outcar(vasp_samples / "kpoints_born_effective_charge" / "OUTCAR.gz")
    assert outcar.last.number == 1
    assert outcar.last.energy == outcar.first.energy == -115.01774737


def test_settings_of_the_header(vasp_samples):
    outcar = read_outcar(vasp_samples / "no_spin_relax" / "OUTCAR.gz")
    assert (outcar.icharg, outcar.ispin, outcar.gga, outcar.lexch) == (2, 2, "PE", "PE")
    assert (outcar.zvals, outcar.ions_per_type) == ((5.0, 6.0), (1, 1))
    assert (outcar.lhfcalc, outcar.metagga) == (False, "")
    assert read_outcar(vasp_samples / "lih" / "OUTCAR.gz").metagga is None
