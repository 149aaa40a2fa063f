"""Ionic steps of OUTCAR, compared with those of vasprun.xml and with CHGCAR."""

import numpy as np
import pytest
from pymatgen.io.vasp import Outcar, Vasprun

from mlcharge_flows.vasp.chgcar import read_chgcar
from mlcharge_flows.vasp.ionic_steps import Geometry, read_ionic_steps
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


TABLE = """\

 magnetization (x)

# of ion       s       p       d       tot
------------------------------------------
    1       -0.008  -0.016   {0:6.3f}   {0:6.3f}
    2       -0.008  -0.016  {1:6.3f}  {1:6.3f}
{tot}
 magnetization (y)

# of ion       s       p       d       tot
------------------------------------------
    1        0.000   0.000   9.000   9.000
"""
TOT = "-" * 50 + "\ntot            0.000   0.000   0.000   0.000\n"


def steps(*texts: str):
    return read_ionic_steps("".join(texts).splitlines(keepends=True), Geometry())


def iteration(number: int) -> str:
    return f"-------- Iteration    {number}(   1)  -------\n  free energy    TOTEN  =  -1.0 eV\n"


@pytest.mark.parametrize("tot", [TOT, ""])
def test_moments_are_those_of_the_last_table_of_an_ionic_step(tot):
    def table(up: float, down: float) -> str:
        return TABLE.format(up, down, tot=tot)

    closing = "  energy without entropy=  -1.0  energy(sigma->0) =  -1.0\n"
    found = steps(closing, table(1, 1), table(2.2, -2.2), iteration(2), closing, table(3, 3))
    assert found.first.moments == (2.2, -2.2)
    assert found.last.moments == (3.0, 3.0)
    # A table that was cut while being written is none.
    cut = table(2.5, -2.5).partition("    2 ")[0]
    assert steps(closing, table(2.2, -2.2), cut).first.moments == (2.2, -2.2)
    assert steps(closing).first.moments == ()


@pytest.mark.parametrize("name", ["al_pbesol_spin", "ga4_spin", "lih", "si_spin_vasp6"])
def test_moments_agree_with_pymatgen(vasp_samples, name):
    path = vasp_samples / name / "OUTCAR.gz"
    theirs = [ion["tot"] for ion in Outcar(path).magnetization]
    assert theirs
    assert list(read_outcar(path).first.moments) == theirs
