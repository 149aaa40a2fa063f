from __future__ import annotations

import gzip
import json
import re
import shutil
from typing import TYPE_CHECKING

import pytest

from mlcharge_flows.scf.count import count_run

if TYPE_CHECKING:
    from pathlib import Path

STDOUT = " charge-density read from file: learned 3f2a         \n entering main loop\n"
OSZICAR = """\
       N       E                     dE             d eps       ncg     rms          rms(c)
DAV:   1     0.482340968417E+01    0.48234E+01   -0.28645E+03  1392   0.498E+02
DAV:   2    -0.108468766594E+02   -0.29785E-04   -0.29784E-04  1828   0.107E-01    0.180E-03
RMM:   3    -0.108468770417E+02   -0.38230E-06   -0.30345E-06   659   0.128E-02
   1 F= -.10846877E+02 E0= -.10846870E+02  d E =-.108469E+02  mag=     0.0000
"""
OUTCAR = """\
   number of dos      NEDOS =    301   number of ions     NIONS =      2
   NELM   =     60;   NELMIN=  2; NELMDL= -1     # of ELM steps
 initial charge density was supplied:
--------------------------------------- Iteration      1(   1)  ---------------------------------
  free energy    TOTEN  =         4.82340968 eV
--------------------------------------- Iteration      1(   2)  ---------------------------------
  free energy    TOTEN  =       -10.84687666 eV
--------------------------------------- Iteration      1(   3)  ---------------------------------
  free energy    TOTEN  =       -10.84687704 eV
------------------------ aborting loop because EDIFF is reached ---------------------------------
                         Elapsed time (sec):        7.340
"""


@pytest.fixture
def sample(vasp_samples, tmp_path):
    """Copy a real run under the standard file names."""

    def copy(name: str, suffix: str = "") -> Path:
        for file in (vasp_samples / name).iterdir():
            if suffix in file.name:
                shutil.copyfile(file, tmp_path / file.name.replace(suffix, ""))
        return tmp_path

    return copy


@pytest.fixture
def run(tmp_path):
    """Write a run folder; a file given as None is left out."""

    def write(oszicar=OSZICAR, outcar=OUTCAR, stdout=STDOUT, custodian=None) -> Path:
        files = {"OSZICAR": oszicar, "OUTCAR": outcar, "vasp.out": stdout}
        files["custodian.json"] = None if custodian is None else json.dumps(custodian)
        for name, text in files.items():
            if text is not None:
                (tmp_path / name).write_text(text)
        return tmp_path

    return write


def test_the_real_pair(sample):
    atoms = count_run(sample("si_relax_pair", ".relax1"), expected_comment="unknown")
    assert (atoms.n_total, atoms.n_scf, atoms.first_residual) == (10, 6, 0.373)
    assert (atoms.n_atoms, atoms.converged, atoms.failure) == (2, True, None)
    assert (atoms.wall_time, atoms.cpu_time, atoms.energy) == (13.679, 11.845, -10.841697)
    assert atoms.fell_back
    assert atoms.exclusion_reason == "fell back to atoms: WARNING: chargedensity file is incomplete"

    chgcar = count_run(sample("si_relax_pair", ".relax2"), expected_comment="unknown")
    assert (chgcar.n_total, chgcar.n_scf, chgcar.first_residual) == (6, 2, 0.000180)
    assert chgcar.started_from == "chgcar"
    assert chgcar.verified
    assert not count_run(chgcar.folder, expected_comment="another").verified


@pytest.mark.parametrize("name", ["si_nscf11", "al"])
def test_fixed_density_runs_have_six_steps_and_no_scf_step(sample, name):
    run = count_run(sample(name))
    assert (run.n_total, run.n_scf, run.first_residual) == (6, None, None)
    assert (run.started_from, run.converged, run.failure) == ("chgcar", True, None)


def test_a_density_from_orbitals_is_not_from_a_chgcar(sample):
    run = count_run(sample("si_static_icharg0"))
    assert (run.n_total, run.n_scf, run.first_residual) == (14, 10, 2.08)
    assert (run.started_from, run.verified) == ("atoms", True)


def test_fall_back_is_detected_without_stdout_and_oszicar(sample):
    folder = sample("si_g0w0_static")  # INCAR says ICHARG = 1
    run = count_run(folder, expected_comment="unknown system")
    assert (run.n_total, run.n_scf, run.first_residual) == (15, 11, 0.33175)
    assert (run.started_from, run.fell_back, run.verified) == ("atoms", True, False)
    assert "OUTCAR" in run.warnings[0]
    assert run.energy == -10.22237938


def test_a_good_run(run):
    counted = count_run(run(), expected_comment="learned 3f2a", preparation_time=1.5)
    assert (counted.n_total, counted.n_scf, counted.first_residual) == (3, 2, 0.00018)
    assert counted.residuals == [None, 0.00018, None]
    assert (counted.energy, counted.wall_time, counted.preparation_time) == (-10.84687, 7.34, 1.5)
    assert (counted.exclusion_reason, counted.verified) == (None, True)


def test_compression_changes_nothing(run):
    folder = run(custodian=[{"job": {}, "corrections": []}])
    plain = count_run(folder)
    for path in list(folder.iterdir()):
        (folder / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert count_run(folder) == plain


def test_the_comment_is_compared_as_vasp_keeps_it(run):
    comment = "learned " + 40 * "x"
    folder = run(stdout=f" charge-density read from file: {comment[:40]}\n entering main loop\n")
    assert count_run(folder, expected_comment=comment).verified
    assert not count_run(folder, expected_comment="x" + comment).verified


def test_a_run_without_a_chgcar_must_not_have_read_one(run):
    assert count_run(run()).exclusion_reason == "read a CHGCAR that it was not given"
    assert count_run(run(stdout=" entering main loop\n")).verified


def test_custodians_corrections_are_counted_over_all_jobs(run):
    jobs = [
        {"job": {}, "corrections": [{"errors": ["brmix"]}]},
        {"job": {}, "corrections": [{"errors": ["edddav"]}, {"errors": ["brmix"]}]},
    ]
    counted = count_run(run(custodian=jobs), expected_comment="learned 3f2a")
    assert counted.corrections == 3
    assert counted.failure is None
    assert counted.exclusion_reason == "corrected by custodian"


def test_lost_stdout_verifies_nothing(run):
    counted = count_run(run(stdout=None), expected_comment="learned 3f2a")
    assert (counted.started_from, counted.verified) == ("unknown", False)
    assert counted.warnings == ["vasp.out is missing"]


def test_outcar_refutes_an_echoed_comment(run):
    outcar = OUTCAR.replace(
        "was supplied:\n", "was supplied:\n charge density of overlapping atoms calculated\n"
    )
    assert count_run(run(outcar=outcar), expected_comment="learned 3f2a").fell_back


LAUNCHER = "srun: error: Unable to create step\n"


def test_files_of_an_earlier_run_are_not_counted_if_the_executable_never_started(run):
    folder = run(stdout="\n")
    counted = count_run(folder)
    assert counted.failure == "did not start: vasp.out is empty, other files are of another run"
    (folder / "std_err.txt").write_text(LAUNCHER)
    counted = count_run(folder)
    assert counted.failure == f"did not start: {LAUNCHER.strip()}"
    assert (counted.n_total, counted.energy, counted.converged) == (None, None, False)
    (folder / "OSZICAR").unlink()
    assert count_run(folder) == counted


def test_a_damaged_archive_of_standard_error_is_read_as_far_as_it_goes(tmp_path):
    whole = gzip.compress(LAUNCHER.encode() * 2000)
    for content in (whole, whole[:-20], whole[:30], b"\x1f\x8bnothing"):
        (tmp_path / "std_err.txt.gz").write_bytes(content)
        assert count_run(tmp_path).failure.startswith("the executable wrote nothing")


def test_a_run_that_never_entered_the_main_loop_did_not_start(run):
    folder = run(stdout=" running on   64 total cores\n POSCAR found :  1 types\n")
    counted = count_run(folder)
    assert counted.failure.startswith("did not start: vasp.out ends before the main loop")
    assert (counted.n_total, counted.energy) == (None, None)


@pytest.mark.parametrize(
    ("files", "failure"),
    [
        ({"oszicar": OSZICAR.replace("RMM:   3", "RMM:   4").replace("RMM:", "X\nRMM:")}, None),
        (
            {"outcar": OUTCAR.replace("-- Iteration      1(   3)", "-- Iteration      2(   1)")},
            "files of different runs: electronic steps: 3 in OSZICAR, 2 in OUTCAR",
        ),
        (
            {"stdout": STDOUT + OSZICAR.replace("RMM:   3", "   3")},
            "files of different runs: electronic steps: 3 in OSZICAR, 3 in OUTCAR, 2 in vasp.out",
        ),
        ({"stdout": STDOUT + OSZICAR}, None),
    ],
)
def test_steps_of_all_files_agree(run, files, failure):
    assert count_run(run(**files), expected_comment="learned 3f2a").failure == failure


@pytest.mark.parametrize("name", ["POSCAR", "CHGCAR"])
def test_ions_of_all_files_agree(run, name):
    folder = run()
    text = "comment\n1.0\n1 0 0\n0 1 0\n0 0 1\nSi\n{}\nDirect\n"
    (folder / name).write_text(text.format(2))
    assert count_run(folder, "learned 3f2a").failure is None
    (folder / name).write_text(text.format(8))
    assert count_run(folder).failure == f"files of different runs: ions: 2 in OUTCAR, 8 in {name}"


@pytest.mark.parametrize(
    ("file", "old", "new", "difference"),
    [
        ("INCAR", "ENCUT = 520", "ENCUT = 400", "ENCUT: 400 in INCAR, 520 in OUTCAR"),
        ("INCAR", "ISPIN = 2", "ISPIN = 1", "ISPIN: 1 in INCAR, 2 in OUTCAR"),
        ("POSCAR", "Si", "Ge", "elements: Ge in POSCAR, Si in OUTCAR"),
        ("OSZICAR", "-0.1084", "-0.2084", "energies of OSZICAR and vasp.out"),
        (
            "OUTCAR",
            "TOTEN  =       -10.84",
            "TOTEN  =       -20.84",
            "energies of OSZICAR and OUTCAR",
        ),
        (
            "OUTCAR",
            r"TOTEN  =       -10\.84687704",
            "TOTEN  =       -10.84687804",
            "energies of OSZICAR and OUTCAR",
        ),
        ("OSZICAR", "-0.10846877041", "-0.10846877045", "energies of OSZICAR and vasp.out"),
        (
            "vasprun.xml",
            "<atoms>       2",
            "<atoms>       4",
            "ions: 2 in OUTCAR, 2 in POSCAR, 4 in",
        ),
        ("POTCAR", "", "TITEL = PAW_PBE Ge 05Jan2001\n", "PAW data sets: PAW_PBE Ge 05Jan2001 in"),
        ("INCAR", "ENCUT = 520", "NELM = 5", "NELM: 5 in INCAR, 100 in OUTCAR"),
        ("INCAR", "EDIFF = 0.0001", "EDIFF = 1E-9", "EDIFF: 1e-09 in INCAR, 0.0001 in OUTCAR"),
        ("INCAR", "ENCUT = 520", "METAGGA = SCAN", "METAGGA: SCAN in INCAR, none in"),
        ("INCAR", "ENCUT = 520", "ENMAX = 400", "ENCUT: 400 in INCAR, 520 in OUTCAR"),
        ("vasprun.xml", r"-10\.84687704", "-10.84697704", "energies of OUTCAR and vasprun.xml"),
        ("vasprun.xml", "3.34923553", "3.35923553", "lattice vectors of vasprun.xml and OUTCAR"),
    ],
)
def test_one_file_of_another_run_is_noticed(sample, file, old, new, difference):
    """Of real files; each of the others is that of the run."""
    folder = sample("si_relax_pair", ".relax2")
    assert count_run(folder, expected_comment="unknown").failure is None
    path = folder / f"{file}.gz"
    text = gzip.decompress(path.read_bytes()).decode() if path.is_file() else ""
    changed, n = re.subn(old or r"\Z", new, text)
    assert n
    path.write_bytes(gzip.compress(changed.encode()))
    failure = count_run(folder, expected_comment="unknown").failure
    assert failure.startswith(f"files of different runs: {difference}")


@pytest.mark.parametrize(("ediff", "converged"), [("1E-4", False), ("0.1", True), ("1D-1", True)])
def test_where_outcar_does_not_print_ediff_incar_does(run, ediff, converged):
    oszicar = OSZICAR.replace("-0.38230E-06", "-0.38230E-01")
    folder = run(oszicar=oszicar, outcar=OUTCAR.replace("=     60", "=      3"))
    (folder / "INCAR").write_text(f"NELM = 3\nEDIFF = {ediff}\n")
    counted = count_run(folder, "learned 3f2a")
    assert counted.converged is converged
    assert (counted.failure is None) is converged


@pytest.mark.parametrize("text", ["", " \n", "null", "{}", "[1]", '[{"job": {}}]', "[" * 10**5])
def test_a_broken_custodian_record_is_named_and_what_was_read_is_kept(run, text):
    folder = run()
    (folder / "custodian.json").write_text(text)
    counted = count_run(folder, "learned 3f2a")
    assert counted.failure.startswith(f"unreadable: {folder}/custodian.json: ")
    assert (counted.n_total, counted.energy, counted.converged) == (3, -10.84687, True)


REFUSED = " ERROR: charge density could not be read from file CHGCAR for ICHARG>10\n"


@pytest.mark.parametrize(
    ("files", "failure"),
    [
        ({"oszicar": None, "outcar": None, "stdout": None}, "the executable wrote nothing"),
        ({"oszicar": None, "outcar": None, "stdout": ""}, "the executable wrote nothing"),
        ({"oszicar": None, "outcar": None}, "no electronic step"),
        ({"oszicar": None, "outcar": "", "stdout": ""}, "no electronic step"),
        ({"oszicar": "", "outcar": ""}, "no electronic step"),
        ({"oszicar": OSZICAR[:300]}, "did not finish: killed, or still running"),
        ({"outcar": OUTCAR[:300]}, "did not finish: killed, or still running"),
        ({"outcar": None}, "did not finish: no OUTCAR"),
        (
            {"outcar": OUTCAR.replace("because EDIFF is", "EDIFF was not")},
            "not converged: 3 steps, NELM = 60",
        ),
        # The numbers in the folder are then those of an earlier run.
        ({"stdout": REFUSED}, "stopped: " + REFUSED.strip()),
    ],
)
def test_a_bad_run_is_a_result_with_its_cause(run, files, failure):
    counted = count_run(run(**files), expected_comment="learned 3f2a")
    assert counted.failure == failure
    assert counted.exclusion_reason == failure


@pytest.mark.parametrize("name", ["std_err.txt", "std_err.txt.gz"])
def test_where_nothing_was_written_the_last_line_of_stderr_is_the_reason(run, name):
    folder = run(oszicar=None, outcar=None, stdout="")
    text = b"first\nvasp_std: error while loading libmkl.so \n\n"
    (folder / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    cause, details = count_run(folder).failure.split(": ", 1)
    assert cause == "the executable wrote nothing"
    assert details == "vasp_std: error while loading libmkl.so"


def test_an_unreadable_run_is_a_result_too(run):
    folder = run()
    (folder / "OSZICAR").unlink()
    (folder / "OSZICAR.gz").write_bytes(gzip.compress(OSZICAR.encode())[:50])
    assert count_run(folder).failure.startswith("unreadable: ")
    (folder / "OSZICAR.gz").unlink()
    (folder / "custodian.json").write_text('{"not": "a list"}')
    assert "custodian.json" in count_run(folder).failure


def test_a_missing_folder_is_a_result_too(tmp_path):
    counted = count_run(tmp_path / "nowhere")
    assert counted.failure == f"missing: no folder {tmp_path / 'nowhere'}"
    assert counted.n_total is None


def test_an_overflowed_energy_survives_json(run):
    text = OSZICAR.replace("0.482340968417E+01", "******************")
    counted = count_run(run(oszicar=text))
    assert counted.energies[0] is None
    assert type(counted).model_validate_json(counted.model_dump_json()) == counted


def test_an_executable_that_is_no_vasp_has_the_last_word(tmp_path):
    """Its refusal is no fault of the machine; VASP's own progress says nothing of a failure."""
    (tmp_path / "std_err.txt").touch()
    (tmp_path / "vasp.out").write_text(" welcome\n I am not licensed for this host\n\n")
    run = count_run(tmp_path)
    assert run.failure == "no electronic step: I am not licensed for this host"
    assert not run.failed_by_machine
    (tmp_path / "vasp.out").write_text(" running on 4 total cores\n POSCAR found : 1 types\n")
    run = count_run(tmp_path)
    assert run.failure == "no electronic step"
    assert run.failed_by_machine


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        (OSZICAR + OSZICAR, "of ionic step 1 again: the file holds the steps of several runs"),
        ("\0\1\n" * 99, "holds no electronic step; is it an OSZICAR?"),
        (OSZICAR.replace("-0.108468770417E+02", "               NaN "), "step 3: no number in OSZ"),
    ],
)
def test_an_oszicar_that_cannot_be_of_the_run_is_never_replaced_by_outcar(run, text, failure):
    assert failure in (count_run(run(oszicar=text), "learned 3f2a").failure or "")


@pytest.mark.parametrize(("text", "state"), [(None, "missing"), ("", "empty")])
def test_steps_of_outcar_in_place_of_oszicar_are_told(run, text, state):
    counted = count_run(run(oszicar=text))
    assert counted.n_total == 3
    assert counted.warnings == [f"OSZICAR is {state}: the steps are those of OUTCAR"]


@pytest.mark.parametrize("expected", ["learned-3f2a", None])
@pytest.mark.parametrize(
    "second",
    [
        "initial charge density was supplied: charge-density from superposition of atoms",
        "charge density of overlapping atoms calculated",
        "charge-density read from file: another",
    ],
)
def test_messages_that_exclude_each_other_prove_nothing(run, second, expected):
    one_word = STDOUT.replace("learned 3f2a", "learned-3f2a")
    assert count_run(run(stdout=one_word), "learned-3f2a").verified
    text = one_word.replace(" entering", f" {second}\n entering")
    counted = count_run(run(stdout=text), expected)
    assert (counted.started_from, counted.verified) == ("unknown", False)
    assert "standard output contradicts itself: " in (counted.provenance_issue or "")


MOMENTS = """\

 magnetization (x)

# of ion       s       p       d       tot
------------------------------------------
    1       -0.008  -0.016   2.224   2.200
    2        0.008   0.016   0.000   0.024
--------------------------------------------------
tot            0.000   0.000   2.224   2.224
"""
HEADER = """\
   TITEL  = PAW_PBE Fe 06Sep2000
   TITEL  = PAW_PBE O 08Apr2002
   ions per type =               1   1
   ISPIN  =      2    spin polarized calculation?
"""
HUBBARD = """\
   angular momentum for each species LDAUL =     2   -1
   U (eV)           for each species LDAUU =   {:.1f}  0.0
   J (eV)           for each species LDAUJ =   0.0  0.0
"""


def with_spin(header: str = HEADER) -> str:
    start, steps, end = OUTCAR.partition(" initial charge density was")
    body, time, rest = end.partition("                         Elapsed")
    return header + start + steps + body + MOMENTS + time + rest


def test_the_final_magnetic_state_is_counted(run):
    oszicar = OSZICAR.replace("mag=     0.0000", "mag=     2.2341")
    counted = count_run(run(oszicar, with_spin()))
    assert (counted.failure, counted.spin_polarized) == (None, True)
    assert (counted.total_moment, counted.ion_moments) == (2.2341, [2.2, 0.024])
    assert (counted.ion_elements, counted.hubbard) == (["Fe", "O"], False)
    for u, used in ((4.0, True), (0.0, False)):
        assert count_run(run(oszicar, with_spin(HEADER + HUBBARD.format(u)))).hubbard is used


def test_without_spin_there_is_no_moment(run):
    for header in (HEADER.replace("=      2", "=      1"), HEADER.partition("   ISPIN")[0]):
        counted = count_run(run(outcar=with_spin(header)))
        assert counted.n_total == 3
        assert counted.total_moment is counted.ion_moments is counted.ion_elements is None


def test_moments_that_belong_to_no_ions_are_left_out(run):
    for wrong in (("1   1\n", "1   2\n"), (" Fe 06", " Xx 06")):
        counted = count_run(run(outcar=with_spin(HEADER.replace(*wrong))))
        assert counted.n_total == 3
        assert counted.ion_moments is None


def test_the_gap_is_read_where_there_is_an_eigenval(run):
    folder = run()
    assert count_run(folder).band_gap is None
    rows = "    1       -5.000000   1.000000\n    2        0.500000   0.000000\n"
    text = "2 2 1 1\n\n\n\n\n 2 1 2\n\n 0.0E+00 0.0E+00 0.0E+00 0.1E+01\n" + rows
    (folder / "EIGENVAL").write_text(text)
    assert count_run(folder).band_gap == 5.5
    (folder / "EIGENVAL").write_text("damaged")
    counted = count_run(folder)
    assert (counted.band_gap, counted.failure) == (None, None)
