"""Each fault of an initial density, through custodian with atomate2's handlers behind ours."""

import gzip
import tarfile
from pathlib import Path

import pytest
from atomate2.vasp.jobs.core import StaticMaker
from cheap_runs import POLLING
from pymatgen.io.vasp import Incar

from mlcharge_flows.atomate2.handlers import CrashedDensityHandler, DivergedDensityHandler
from mlcharge_flows.atomate2.jobs.comparison import count
from mlcharge_flows.atomate2.powerups import start_from_predicted_density
from mlcharge_flows.atomate2.schemas import RunProvenance
from mlcharge_flows.atomate2.sets.comparison import ComparisonSetGenerator
from mlcharge_flows.atomate2.staging import ARCHIVED
from mlcharge_flows.sources import InitialDensityDocument, SourceError, Superposition

pytestmark = pytest.mark.gpaw

GIVEN = InitialDensityDocument(density_source="file", path="x", comment="mlcharge-file-3f2a")


def static(maker=StaticMaker, **incar):
    return maker(
        input_set_generator=ComparisonSetGenerator(
            user_incar_settings={"EDIFF": 1e-3, "ENCUT": 200, "NELM": 11, "LCHARG": False, **incar}
        ),
        run_vasp_kwargs={"custodian_kwargs": POLLING},
    )


@pytest.fixture
def folder(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def started(maker, structure, **options):
    run = start_from_predicted_density(maker, Superposition())
    return run.make.original(run, structure, None, **options).output


def attempts():
    return Path("attempts").read_text().split()


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("brmix", "BRMIX: very serious problems"),
        ("subspace", "WARNING: Sub-Space-Matrix is not hermitian in DAV"),
        ("zhegv", "Error EDDDAV: Call to ZHEGV failed"),
        ("nan", "NaN in OSZICAR"),
        ("nelm", "not converged in NELM = 11 steps"),
        ("crash", "VASP stopped in ionic step 1"),
        ("forrtl", "VASP stopped while reading the CHGCAR"),
    ],
)
def test_a_diverged_run_is_restarted_once_from_atoms(vasp, folder, silicon, fault, told):
    vasp(fault)
    document = started(static(), silicon)
    assert attempts() == ["1", "2"]
    provenance = RunProvenance.model_validate(document.additional_json["mlcharge"])
    assert provenance.restart_reason == told
    assert (provenance.started_from, provenance.read_by_vasp, provenance.icharg) == (
        "atoms",
        False,
        2,
    )
    assert provenance.initial_density.density_source == "superposition"
    assert document.state.value == "successful"

    before, after = (dict(Incar.from_file(f"INCAR{end}.gz")) for end in (".orig", ""))
    assert before | {"ICHARG": 2} == after, "nothing else changes"
    (actions,) = [item for entry in document.custodian for item in entry.corrections]
    assert actions["errors"] == [f"bad initial density: {told}"]
    with tarfile.open("error.1.tar.gz") as backup:
        assert {"error.1/INCAR", "error.1/vasp.out"} <= set(backup.getnames())
    assert Path(ARCHIVED).exists()
    left = folder.glob("CHGCAR*")  # VASP leaves an empty one with LCHARG = F
    assert not any(gzip.decompress(path.read_bytes()) for path in left)

    counted = count.original(str(folder))
    assert counted.exclusion_reason == "corrected by custodian"


def test_a_density_that_is_not_read_is_recorded(vasp, folder, silicon):
    vasp("unread")
    document = started(static(), silicon)
    assert attempts() == ["1"]
    provenance = RunProvenance.model_validate(document.additional_json["mlcharge"])
    assert provenance.warnings == ["WARNING: chargedensity file is incomplete"]
    assert (provenance.started_from, provenance.read_by_vasp, provenance.restart_reason) == (
        "atoms",
        False,
        None,
    )
    assert count.original(str(folder)).exclusion_reason.startswith("fell back to atoms")


def test_a_density_to_be_kept_must_be_read(vasp, folder, silicon):
    vasp("unread")
    with pytest.raises(SourceError, match="ICHARG = 11 needs a CHGCAR that VASP can read: WARN"):
        started(static(ICHARG=11), silicon)
    assert attempts() == ["11"]
    assert RunProvenance.read(folder).failure.startswith("SourceError: ICHARG = 11")
    assert not Path("CHGCAR").exists()


def test_without_handlers_there_is_no_restart(vasp, folder, silicon):
    vasp("crash")
    maker = static()
    maker.run_vasp_kwargs["handlers"] = ()
    with pytest.raises(Exception, match="Validation"):
        started(maker, silicon)
    assert attempts() == ["1"]
    assert not Path("CHGCAR").exists(), "nor may it be taken for the result of a failed run"


def test_a_bad_run_from_atoms_is_for_others(tmp_path):
    (tmp_path / "INCAR").write_text("ICHARG = 1\n")
    (tmp_path / "vasp.out").write_text(" entering main loop\n BRMIX: very serious problems\n")
    handlers = DivergedDensityHandler(), CrashedDensityHandler()
    assert not any(handler.check(str(tmp_path)) for handler in handlers)
    for icharg in (1, 11):
        RunProvenance(icharg=icharg, initial_density=GIVEN).write(tmp_path)
        assert not any(handler.check(str(tmp_path)) for handler in handlers)


def test_a_bad_density_to_be_kept_is_for_others(tmp_path):
    (tmp_path / "INCAR").write_text("ICHARG = 1\n")
    (tmp_path / "vasp.out").write_text(
        " charge-density read from file: mlcharge-file-3f2a\n BRMIX: very serious problems\n"
    )
    RunProvenance(icharg=11, initial_density=GIVEN).write(tmp_path)
    assert not DivergedDensityHandler().check(str(tmp_path))
    RunProvenance(icharg=1, initial_density=GIVEN).write(tmp_path)
    assert DivergedDensityHandler().check(str(tmp_path))


def test_a_run_that_another_handler_stopped_has_not_crashed(vasp, folder, silicon):
    vasp("posmap")
    started(static(), silicon)
    assert attempts() == ["1", "1"]
    provenance = RunProvenance.read(folder)
    assert (provenance.started_from, provenance.read_by_vasp, provenance.restart_reason) == (
        "chgcar",
        True,
        None,
    )
    assert count.original(str(folder)).exclusion_reason == "corrected by custodian"


@pytest.mark.parametrize("sign", [" BRMIX: very serious problems\n", "DAV:   1   NaN\n"])
def test_what_happens_after_ionic_step_1_is_for_others(tmp_path, sign):
    RunProvenance(icharg=1, initial_density=GIVEN).write(tmp_path)
    (tmp_path / "INCAR").write_text("ICHARG = 1\n")
    done = (
        "DAV:   1     0.4E+01    0.4E+01   -0.2E+03  1392   0.4E+02\n   1 F= -.1E+02 E0= -.1E+02 \n"
    )
    (tmp_path / "OSZICAR").write_text(done + sign)
    read = " charge-density read from file: mlcharge-file-3f2a\n"
    (tmp_path / "vasp.out").write_text(read + done + sign)
    handlers = DivergedDensityHandler(), CrashedDensityHandler()
    assert not any(handler.check(str(tmp_path)) for handler in handlers)


SPECIES = " POSCAR found type information on POSCAR {species}\n POSCAR found :  3 types\n"


@pytest.mark.parametrize(
    ("species", "steps", "diverges"),
    [
        ("NaN O ", "DAV:   1     0.4E+01    0.4E+01   -0.2E+03  1392   0.4E+02\n", False),
        ("NaN O ", "DAV:   1         NaN        NaN        NaN  1392       NaN\n", True),
        ("SiO ", "RMM:   1         nan        NaN   -0.2E+03  1392   0.4E+02\n", True),
        ("SiO ", "   1 F= NaN E0= NaN d E =NaN\n", True),
    ],
)
def test_nan_counts_only_in_the_numbers_of_a_step(tmp_path, species, steps, diverges):
    """VASP 6 prints species in fields of two characters: Na and N are ``NaN ``."""
    (tmp_path / "INCAR").write_text("ICHARG = 1\n")
    (tmp_path / "vasp.out").write_text(
        SPECIES.format(species=species)
        + " charge-density read from file: mlcharge-file-3f2a\n entering main loop\n"
        + steps
    )
    RunProvenance(icharg=1, initial_density=GIVEN).write(tmp_path)
    assert DivergedDensityHandler().check(str(tmp_path)) is diverges
