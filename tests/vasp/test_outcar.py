from __future__ import annotations

import pytest
from pymatgen.io.vasp import Vasprun

from mlcharge_flows.vasp.oszicar import read_oszicar
from mlcharge_flows.vasp.outcar import read_outcar


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("si_g0w0_static/OUTCAR.gz", ((0, 0, 1, 1, 2, 2),)),
        ("si_static_icharg0/OUTCAR.gz", ((0, 0, 1, 1),)),
        ("lih/OUTCAR.gz", ((0, 0, 1), (0, 0, 1))),
    ],
)
def test_channels_of_every_data_set(vasp_samples, name, channels):
    assert read_outcar(vasp_samples / name).channels == channels


@pytest.mark.parametrize(
    ("name", "from_atoms"),
    [
        ("si_g0w0_static/OUTCAR.gz", True),  # ICHARG = 1, but there was no CHGCAR
        ("si_relax_pair/OUTCAR.relax1.gz", True),  # the same
        ("si_relax_pair/OUTCAR.relax2.gz", False),
        ("si_nscf11/OUTCAR.gz", False),
        ("al/OUTCAR.gz", False),
        ("si2_aiida/OUTCAR.gz", True),  # ICHARG = 2
        ("lih/OUTCAR.gz", True),
        ("si_static_icharg0/OUTCAR.gz", True),  # orbitals
    ],
)
def test_a_density_that_was_made_is_told_from_one_that_was_read(vasp_samples, name, from_atoms):
    assert read_outcar(vasp_samples / name).from_atoms is from_atoms


@pytest.mark.parametrize(
    ("folder", "suffix"),
    [("si_relax_pair", ".relax1"), ("si_relax_pair", ".relax2"), ("si_static_icharg0", "")],
)
def test_steps_are_those_of_oszicar_and_vasprun(vasp_samples, folder, suffix):
    outcar = read_outcar(vasp_samples / folder / f"OUTCAR{suffix}.gz")
    steps = read_oszicar(vasp_samples / folder / f"OSZICAR{suffix}.gz").ionic_steps[0].steps
    vasprun = Vasprun(
        vasp_samples / folder / f"vasprun.xml{suffix}.gz", parse_potcar_file=False, parse_dos=False
    )
    assert (
        len(outcar.first.energies) == len(steps) == len(vasprun.ionic_steps[0]["electronic_steps"])
    )
    assert outcar.first.energies == pytest.approx([step.energy for step in steps], abs=1e-8)
    assert [r is None for r in outcar.first.residuals] == [step.rms_c is None for step in steps]
    for residual, step in zip(outcar.first.residuals, steps, strict=True):
        if residual is not None:
            assert residual == pytest.approx(step.rms_c, rel=5e-3)


def test_header_and_closing_lines(vasp_samples):
    outcar = read_outcar(vasp_samples / "si_g0w0_static/OUTCAR.gz")
    assert outcar.titels == ("PAW_PBE Si_GW 04May2012",)
    assert (outcar.n_ions, outcar.n_electrons, outcar.lmaxmix) == (2, 8.0, 2)
    assert outcar.encut == 245.3
    assert (outcar.nelm, outcar.nelmdl) == (100, -5)
    assert (outcar.converged, outcar.elapsed) == (True, 0.818)
    assert outcar.first.energy == -10.22237938


HEADER = """\
   TITEL  = PAW_PBE Si 05Jan2001
  non local Contribution for L=           0  read in
  non local Contribution for L=           1  read in
   number of l-projection  operators is LMAX  =           2
   number of dos      NEDOS =    301   number of ions     NIONS =      2
   NELM   =     60;   NELMIN=  2; NELMDL= -5     # of ELM steps
 initial charge density was supplied:
 magnetization density of overlapping atoms calculated
"""
STEP = """\
--------------------------------------- Iteration {ionic:6d}({step:4d})  ---------------------------
  free energy    TOTEN  =       {energy:12.8f} eV
  energy without entropy =      {energy:12.8f}  energy(sigma->0) =      {energy:12.8f}
"""
STOP = "------------------------ aborting loop because EDIFF is reached -----------------------\n"
UNMET = "------------------------ aborting loop EDIFF was not reached (unconverged) ------------\n"


@pytest.fixture
def read(tmp_path):
    def write(text: str):
        path = tmp_path / "OUTCAR"
        path.write_text(text)
        return read_outcar(path)

    return write


def test_only_the_first_ionic_step_counts(read):
    one = "".join(STEP.format(ionic=1, step=n, energy=-n) for n in (1, 2, 3))
    two = STEP.format(ionic=2, step=1, energy=-9)
    outcar = read(HEADER + one + UNMET + two + STOP)
    assert outcar.first.energies == (-1, -2, -3)
    assert outcar.first.energy == -3
    assert not outcar.converged


CHANGE = " total energy-change (2. order) : {change:14.7E}  ({band_change:14.7E})\n"


@pytest.mark.parametrize(
    ("nelm", "change", "band_change", "converged"),
    [
        (60, 3e-2, 3e-2, True),  # fewer steps than NELM: the line can be believed
        (2, 3e-2, 3e-2, False),  # VASP 5 prints the line when NELM is used up, too
        (2, 9e-5, -9e-5, True),
        (2, 9e-5, -2e-4, False),
    ],
)
def test_the_stop_rule_is_checked_where_all_steps_are_used(
    read, nelm, change, band_change, converged
):
    header = HEADER.replace("=     60", f"= {nelm:6d}")
    header += "   EDIFF  = 0.1E-03   stopping-criterion for ELM\n"
    changes = CHANGE.format(change=change, band_change=band_change)
    last = STEP.format(ionic=1, step=2, energy=-2.0).replace("\n", f"\n{changes}", 1)
    outcar = read(header + STEP.format(ionic=1, step=1, energy=-1.0) + last + STOP)
    assert (outcar.ediff, outcar.first.change, outcar.first.band_change) == (
        1e-4,
        change,
        band_change,
    )
    assert outcar.converged is converged


def test_without_printed_changes_the_energies_tell(read):
    def converged(last):
        steps = STEP.format(ionic=1, step=1, energy=-1), STEP.format(ionic=1, step=2, energy=last)
        return read(HEADER.replace("=     60", "=      2") + "".join(steps) + STOP).converged

    assert converged(-1.00005)
    assert not converged(-1.03)


def test_a_further_loop_in_ionic_step_1_is_left_out(read):
    loop = "".join(STEP.format(ionic=1, step=n, energy=-n) for n in (1, 2, 3))
    assert read(HEADER + loop + STOP + loop).first.energies == (-1, -2, -3)


def test_superposed_moments_are_not_a_superposed_density(read):
    assert read(HEADER).from_atoms is False
    assert read(HEADER + " charge density of overlapping atoms calculated\n").from_atoms is True
    assert read("").from_atoms is None


def test_a_killed_run_has_no_elapsed_time(read):
    outcar = read(HEADER + STEP.format(ionic=1, step=1, energy=-1.0))
    assert outcar.elapsed is None
    assert not outcar.converged


def test_channels_that_do_not_add_up_name_file_and_data_set(read):
    with pytest.raises(
        ValueError, match=r"OUTCAR: PAW_PBE Si 05Jan2001 lists 2 channels, LMAX = 3"
    ):
        read(HEADER.replace("LMAX  =           2", "LMAX  =           3"))
