"""Finished runs of VASP as samples: the last ionic step, one run, self-consistent, converged."""

import gzip
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mlcharge_flows.cli.app import app
from mlcharge_flows.density.density import nmae
from mlcharge_flows.training.dataset import DensityDataset, write_dataset
from mlcharge_flows.training.finished_run import RunError, read_finished_run
from mlcharge_flows.training.origin import Origin
from mlcharge_flows.vasp.chgcar import read_chgcar
from mlcharge_flows.vasp.oszicar import read_oszicar

CASES = Path(os.environ.get("MLCHARGE_CASES") or Path(__file__).parents[3] / "shared" / "cases")

ENCUT = {"fe2": 250.0, "lih": 680.0, "si2_aiida": 240.0, "si_g0w0_static": 245.3}
"""Of the runs, eV."""
RELAXATIONS = {"mg2_relax": (3, 5, -3.0821269), "no_spin_relax": (7, 3, -11.03608086)}
"""Ionic steps; electronic steps and energy (sigma -> 0) of the last one, eV."""


def read(folder):
    return read_finished_run(folder, Origin(Path(folder).name, "PBE"))


@pytest.fixture
def run(vasp_samples, tmp_path):
    """A copy of the files of a sample, unpacked; ``edit`` replaces text in one of them."""

    class Run:
        def __init__(self, name, *files, rename=""):
            self.folder = tmp_path / (rename or name)
            self.folder.mkdir(exist_ok=True)
            for file in files:
                content = gzip.decompress((vasp_samples / name / f"{file}.gz").read_bytes())
                (self.folder / file).write_bytes(content)

        def edit(self, file, pattern, text):
            path = self.folder / file
            content, n = re.subn(pattern, text, path.read_text(), flags=re.MULTILINE)
            assert n, f"{pattern} is not in {file}"
            path.write_text(content)
            return self.folder

    return Run


@pytest.mark.parametrize("name", ENCUT)
def test_runs_without_potcar_are_packed_with_the_channels_of_outcar(vasp_samples, name, tmp_path):
    sample = read(vasp_samples / name)
    (again,) = write_dataset(tmp_path / "vasp.h5", [sample])
    density = read_chgcar(vasp_samples / name / "CHGCAR.gz")
    assert again.superposition() is None
    # The packing is within 0.005 %; the rest is the exact number of electrons.
    assert nmae(again.density().total, density.total) < 0.01
    assert again.density().n_electrons == pytest.approx(sample.n_electrons, abs=1e-9)
    assert [len(r) for r in again.density().augmentation] == [len(r) for r in density.augmentation]
    assert again.n_total > 0
    assert again.encut == ENCUT[name]
    assert again.energy < 0
    assert again.settings == sample.settings


@pytest.mark.parametrize("name", RELAXATIONS)
def test_energies_of_a_relaxation_are_those_of_its_last_ionic_step(vasp_samples, name):
    n_ionic, n_electronic, energy = RELAXATIONS[name]
    sample = read(vasp_samples / name)
    assert (sample.n_total, sample.energy) == (n_electronic, energy)
    steps = read_oszicar(vasp_samples / name / "OSZICAR.gz").ionic_steps
    assert len(steps) == n_ionic
    assert sample.energies == pytest.approx([step.energy for step in steps[-1].steps], abs=1e-8)


@pytest.mark.parametrize("name", ["al", "si_spin_nscf_atomate"])
def test_a_run_that_is_not_self_consistent_is_refused(vasp_samples, name):
    with pytest.raises(RunError, match="ICHARG = 11: a non-self-consistent run"):
        read(vasp_samples / name)


@pytest.mark.parametrize(
    ("pattern", "text", "message"),
    [
        (r"NGXF= +32", "NGXF=    36", "grids 32 x 32 x 32 and 36 x 32 x 32"),
        (r"NIONS = +2", "NIONS =      4", "2 and 4 ions"),
        (r"(TITEL +=) PAW_PBE Si ", r"\1 PAW_PBE Ge ", "ions Si, Si and Ge, Ge"),
        (r"0\.000000000( +2\.750000000)", r"0.001000000\1", "lattice vectors"),
        (r"0\.71500", "0.71600", "positions of the ions in ionic step 1"),
        (
            r"NELECT = +8\.0000",
            "NELECT =      10.0000",
            "8.0000 electrons on the grid, NELECT = 10",
        ),
    ],
)
def test_an_outcar_of_another_run_is_refused(run, pattern, text, message):
    folder = run("si2_aiida", "CHGCAR", "OUTCAR").edit("OUTCAR", pattern, text)
    with pytest.raises(RunError, match=f"CHGCAR and OUTCAR are of different runs: .*{message}"):
        read(folder)


def test_a_chgcar_beside_the_outcar_of_another_crystal_is_refused(run):
    run("lih", "OUTCAR", rename="mixed")
    folder = run("si2_aiida", "CHGCAR", rename="mixed").folder
    with pytest.raises(RunError, match="mixed: CHGCAR and OUTCAR are of different runs"):
        read(folder)


@pytest.mark.parametrize(
    "first", [b"\x1f\x8b\x08" + bytes(7) + b"\xff" * 40, b"\xfd7zXZ\x00", b"BZh9"]
)
@pytest.mark.parametrize("file", ["CHGCAR", "OUTCAR", "POTCAR"])
def test_a_damaged_archive_is_a_problem_of_one_line(run, file, first):
    folder = run("lih", *{"CHGCAR", "OUTCAR"} - {file}).folder
    (folder / f"{file}.gz").write_bytes(first)
    with pytest.raises(RunError, match=r"^.*lih.*$"):
        read(folder)


@pytest.mark.parametrize(
    ("file", "pattern", "text", "message"),
    [
        ("INCAR", r"\Z", "\nMETAGGA = SCAN\n", "METAGGA: SCAN in INCAR, none in OUTCAR"),
        ("INCAR", r"\A", "NELM = 7\n", "NELM: 7 in INCAR, 100 in OUTCAR"),
        ("vasprun.xml", r"-10\.2", "-10.3", "energies of OUTCAR and vasprun.xml"),
        ("vasprun.xml", "<c>Si</c>", "<c>Ge</c>", "elements: Ge2 in vasprun.xml, Si2 in OUTCAR"),
        ("OUTCAR", r"-10\.22237938", "NaN         ", "OUTCAR has no energy of ionic step 1"),
        ("OUTCAR", r"-10\.22237938", "*" * 12, "OUTCAR has no energy of ionic step 1"),
        ("OUTCAR", "Elapsed time", "", "the run did not finish: OUTCAR has no elapsed time"),
    ],
)
def test_files_that_contradict_outcar_are_refused(run, file, pattern, text, message):
    """A sample must carry neither the settings of another run nor the energy of none."""
    folder = run("si_g0w0_static", "CHGCAR", "OUTCAR", "INCAR", "vasprun.xml").folder
    assert read(folder).settings.metagga == ""
    path = folder / file
    changed, n = re.subn(pattern, text, path.read_text())
    assert n
    path.write_text(changed)
    with pytest.raises(RunError, match=re.escape(message)):
        read(folder)


def test_the_vasprun_of_another_run_names_no_functional(run, vasp_samples):
    folder = run("si_g0w0_static", "CHGCAR", "OUTCAR").folder
    shutil.copy(vasp_samples / "lih_scan" / "vasprun.xml.gz", folder)
    with pytest.raises(RunError, match="files of different runs: energies of OUTCAR and vasprun"):
        read(folder)


def test_a_poscar_of_another_crystal_is_refused(vasp_samples):
    """As it was found: silicon beside the run of aluminium."""
    with pytest.raises(RunError, match=r"different runs: ions: 1 in OUTCAR, 2 in POSCAR, 1 in"):
        read(vasp_samples / "al_pbesol_spin")


@pytest.mark.parametrize("file", ["CHGCAR", "OUTCAR", "POTCAR"])
def test_a_file_in_a_foreign_archive_is_named(run, file):
    folder = run("si2_aiida", *{"CHGCAR", "OUTCAR"} - {file}).folder
    (folder / f"{file}.zst").write_bytes(b"\x28\xb5\x2f\xfd")
    with pytest.raises(RunError, match=rf"{file}\.zst: is a Zstandard archive; unpack it"):
        read(folder)


@pytest.mark.parametrize("file", ["OUTCAR", "INCAR"])
def test_two_versions_of_a_file_are_refused(run, vasp_samples, file):
    folder = run("si2_aiida", "CHGCAR", "OUTCAR").folder
    if file == "INCAR":
        (folder / file).write_text("ENCUT = 300\n")
    shutil.copy(vasp_samples / "si_spin_vasp6" / f"{file}.gz", folder)
    with pytest.raises(RunError, match=rf"{file} and {file}\.gz in .* differ"):
        read(folder)


def test_what_is_no_folder_is_named(tmp_path):
    (tmp_path / "notes.md").touch()
    for name, reason in (("notes.md", "is no folder of a run"), ("x", "there is no such folder")):
        with pytest.raises(RunError, match=f"{name}: {reason}"):
            read(tmp_path / name)


def test_a_last_ionic_step_that_did_not_converge_is_refused(run):
    """VASP 5 says that EDIFF is reached also when NELM is used up."""
    relaxation = run("mg2_relax", "CHGCAR", "OUTCAR")
    relaxation.edit("OUTCAR", r"NELM   = +\d+;", "NELM   =      5;")
    read(relaxation.folder)  # five steps, below EDIFF
    relaxation.edit("OUTCAR", r"EDIFF  = \S+ ", "EDIFF  = 0.1E-09 ")
    with pytest.raises(RunError, match=r"did not converge \(ionic step 3\)"):
        read(relaxation.folder)


@pytest.mark.skipif(not CASES.is_dir(), reason=f"no cases in {CASES}")
def test_a_run_that_used_up_nelm_is_refused():
    with pytest.raises(RunError, match="did not converge"):
        read(CASES / "O02b_dataset")


@pytest.mark.skipif(not CASES.is_dir(), reason=f"no cases in {CASES}")
def test_two_paw_data_sets_of_one_element_are_refused(tmp_path):
    folder = shutil.copytree(CASES / "P01_pseudo_hydrogens", tmp_path / "run")
    titels = re.findall(r"TITEL.*", (folder / "POTCAR").read_text())
    (folder / "OUTCAR").write_text("".join(f"   {titel}\n" for titel in titels))
    with pytest.raises(RunError, match=r"two PAW data sets of H, .*H1\.25 .* and .*H\.75"):
        read(folder)


def test_without_outcar_convergence_is_not_known(run):
    with pytest.raises(RunError, match="there is no OUTCAR, which tells convergence"):
        read(run("si2_aiida", "CHGCAR").folder)


@pytest.mark.parametrize(
    ("name", "file", "times", "message"),
    [
        ("si2_aiida", "OUTCAR", 0, "OUTCAR is empty or damaged"),
        ("mg2_relax", "OUTCAR", 2, "holds the steps of several runs"),
        ("mg2_relax", "OSZICAR", 2, "holds the steps of several runs"),
    ],
)
def test_a_file_that_is_empty_or_doubled_is_named(run, name, file, times, message):
    folder = run(name, *{"CHGCAR", "OUTCAR", file}).folder
    (folder / file).write_bytes(times * (folder / file).read_bytes())
    with pytest.raises(RunError, match=message):
        read(folder)


def test_an_incar_without_tags_sets_no_functional(run):
    folder = run("lih_scan", "CHGCAR", "OUTCAR", "vasprun.xml").folder
    assert read(folder).settings.metagga == "R2SCAN"
    (folder / "vasprun.xml").rename(folder / "whole")
    (folder / "vasprun.xml").write_bytes((folder / "whole").read_bytes()[:300])
    with pytest.raises(RunError, match=r"vasprun\.xml: is damaged \(it has no INCAR\)"):
        read(folder)
    (folder / "whole").rename(folder / "vasprun.xml")
    (folder / "INCAR").write_text("# nothing\n")
    with pytest.raises(RunError, match=r"METAGGA: none in INCAR, R2SCAN in vasprun\.xml"):
        read(folder)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("al_pbesol_spin", {"functional": "PS", "ispin": 2, "metagga": ""}),
        ("fe2", {"functional": "CA", "ispin": 1, "occupancy_lmax": {"Fe": 2}}),
        ("graphene_relax", {"functional": "PE", "hybrid": False, "charged": False}),
        ("lih", {"functional": "PS", "metagga": None}),  # VASP 5 without INCAR
        ("lih_scan", {"functional": "PE", "metagga": "R2SCAN"}),  # from vasprun.xml
        ("si_g0w0_static", {"lmaxmix": 2, "hubbard": {"Si": (-1, 0.0, 0.0)}}),
    ],
)
def test_settings_of_a_run_are_read(run, vasp_samples, name, settings):
    names = {path.name.removesuffix(".gz") for path in (vasp_samples / name).iterdir()}
    # The sample was found with a POSCAR of silicon.
    foreign = {"POSCAR"} if name == "al_pbesol_spin" else set()
    found = read(run(name, *(names - foreign - {"WAVECAR"})).folder).settings.model_dump()
    assert {key: found[key] for key in settings} == settings


def test_settings_of_a_hybrid_with_dft_u_are_read(run):
    hubbard = """ LDA+U is selected, type is set to LDAUTYPE =  2
   angular momentum for each species LDAUL =     1
   U (eV)           for each species LDAUU =   4.0
   J (eV)           for each species LDAUJ =   0.5
"""
    run_ = run("si2_aiida", "CHGCAR", "OUTCAR")
    run_.edit("OUTCAR", r"^   LHFCALC = +F", f"{hubbard}   LHFCALC =     T")
    (run_.folder / "INCAR").write_text("METAGGA = SCAN ! a comment\n")
    settings = read(run_.folder).settings
    assert settings.hubbard == {"Si": (1, 4.0, 0.5)}
    assert (settings.hybrid, settings.metagga) == (True, "SCAN")
    assert settings.summary == "PE SCAN hybrid +U ISPIN = 1"


def test_a_run_without_potcar_and_outcar_is_refused(vasp_samples):
    with pytest.raises(RunError, match="nacl: there is no OUTCAR"):
        read(vasp_samples / "nacl")


def test_a_folder_without_chgcar_is_refused(tmp_path):
    with pytest.raises(RunError, match="there is no CHGCAR"):
        read(tmp_path)


def test_a_broken_file_is_named(tmp_path):
    (tmp_path / "CHGCAR").write_text("half a header\n1.0\n")
    (tmp_path / "OUTCAR").touch()
    with pytest.raises(RunError, match="CHGCAR"):
        read(tmp_path)


def test_a_prediction_is_no_result(run):
    folder = run("lih", "CHGCAR", "OUTCAR").edit(
        "CHGCAR", r"\A.*$", "mlcharge-learned-0123456789abcdef"
    )
    with pytest.raises(RunError, match=r"CHGCAR: is what the run began from, not its result"):
        read(folder)


def test_of_two_relaxations_the_last_one_is_packed(run, vasp_samples):
    """custodian leaves nothing but files with suffixes."""
    last = run("mg2_relax", "CHGCAR", "OUTCAR").folder
    sample = read(last)
    for file in ("CHGCAR", "OUTCAR"):
        (last / file).rename(last / f"{file}.relax2")
        other = gzip.decompress((vasp_samples / "no_spin_relax" / f"{file}.gz").read_bytes())
        (last / f"{file}.relax1").write_bytes(other)
    again = read(last)
    assert (again.energy, again.n_total, again.energies) == (
        sample.energy,
        sample.n_total,
        sample.energies,
    )
    # Without the density of the last run, that of the run before is not taken for it.
    (last / "CHGCAR.relax2").unlink()
    with pytest.raises(RunError, match=r"there is no CHGCAR\.relax2"):
        read(last)


def test_folders_are_searched_and_named_by_their_paths(run, tmp_path):
    runs = tmp_path / "runs"
    places = {"lih": "LiH/run", "mg2_relax": "Mg/run", "no_spin_relax": "deep/er/last"}
    for name, place in places.items():
        folder = run(name, "CHGCAR", "OUTCAR").folder
        (runs / place).parent.mkdir(parents=True, exist_ok=True)
        folder.rename(runs / place)
    (runs / "empty").mkdir()
    words = ["dataset", "pack", str(runs), "--protocol", "any", "--out", str(tmp_path / "all.h5")]
    result = CliRunner().invoke(app, [*words, "--allow-mixed"])
    assert result.exit_code == 0, result.output
    assert set(DensityDataset(tmp_path / "all.h5").ids) == {"last", "LiH-run", "Mg-run"}


def test_the_same_crystal_is_packed_once(run, tmp_path):
    runs = tmp_path / "runs"
    for place in ("a/LiH", "b/LiH"):
        folder = run("lih", "CHGCAR", "OUTCAR").folder
        (runs / place).parent.mkdir(parents=True, exist_ok=True)
        folder.rename(runs / place)
    words = ["dataset", "pack", str(runs), "--protocol", "any", "--out", str(tmp_path / "all.h5")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert f"{runs}/b/LiH: is the same crystal as {runs}/a/LiH" in result.stderr
    result = CliRunner().invoke(app, [*words, "--skip-bad"])
    assert result.exit_code == 0, result.output
    assert "left out: " in result.stderr
    assert DensityDataset(tmp_path / "all.h5").ids == ("a-LiH",)


def test_everything_that_is_wrong_with_a_run_can_be_skipped(run, vasp_samples, tmp_path):
    """Broken, empty, of another functional, not self-consistent, a prediction."""
    runs = tmp_path / "runs"
    names = ("lih", "lih_scan", "si_spin_nscf_atomate")
    for name in names:
        folder = run(name, "CHGCAR", "OUTCAR").folder
        runs.mkdir(exist_ok=True)
        folder.rename(runs / name)
    (runs / "broken").mkdir()
    (runs / "broken" / "CHGCAR").write_text("half a header\n1.0\n")
    (runs / "prediction").mkdir()
    text = (runs / "lih" / "CHGCAR").read_text()
    (runs / "prediction" / "CHGCAR").write_text(
        "mlcharge-learned-0123456789abcdef\n" + text.partition("\n")[2]
    )
    words = ["dataset", "pack", str(runs), str(tmp_path / "none"), "--protocol", "any"]
    result = CliRunner().invoke(app, [*words, "--skip-bad", "--out", str(tmp_path / "all.h5")])
    assert result.exit_code == 0, result.output + result.stderr
    assert DensityDataset(tmp_path / "all.h5").ids == ("lih",)
    assert result.stderr.count("left out: ") == 5


def test_runs_of_different_functionals_are_packed_together_only_on_request(vasp_samples, tmp_path):
    folders = [str(vasp_samples / name) for name in ("lih", "lih_scan")]
    words = ["dataset", "pack", *folders, "--protocol", "any", "--out", str(tmp_path / "both.h5")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "lih_scan was made with GGA = PE instead of PS" in result.stderr
    assert not (tmp_path / "both.h5").exists()
    result = CliRunner().invoke(app, [*words, "--allow-mixed"])
    assert result.exit_code == 0, result.output
    both = DensityDataset(tmp_path / "both.h5")
    assert both["lih_scan"].settings.metagga == "R2SCAN"
    np.testing.assert_array_equal(both["lih"].energies, read(folders[0]).energies)
