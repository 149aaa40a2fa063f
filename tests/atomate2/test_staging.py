"""The initial CHGCAR in the folder of a run, before VASP starts and after it has ended."""

import gzip
from dataclasses import replace

import pytest
from atomate2.vasp.jobs.core import StaticMaker
from pymatgen.io.vasp import Poscar

from mlcharge_flows.atomate2.jobs.comparison import density_issue
from mlcharge_flows.atomate2.schemas import RunProvenance
from mlcharge_flows.atomate2.staging import (
    ARCHIVED,
    archive_initial_chgcar,
    existing_density_reason,
    finalize_run,
    remove_stale,
    stage_chgcar,
)
from mlcharge_flows.sources import (
    InitialDensity,
    InitialDensityDocument,
    SourceError,
    Superposition,
)
from mlcharge_flows.sources.initial_chgcar import is_initial_chgcar
from mlcharge_flows.vasp.chgcar import read_chgcar
from mlcharge_flows.vasp.chgcar_writer import write_chgcar

COMMENT = "mlcharge-file-3f2a0123456789ab"


def reason(folder, maker=None, **incar):
    return existing_density_reason(maker or StaticMaker(), incar, folder)


@pytest.mark.parametrize("name", ["WAVECAR", "vaspwave.h5", "CHGCAR"])
def test_files_of_an_earlier_run_are_inherited_unless_they_are_empty(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    assert reason(tmp_path) is None
    (tmp_path / name).write_bytes(b"\x00\xffof an earlier run")
    assert reason(tmp_path) == f"{name} inherited"


@pytest.mark.parametrize("first_line", [COMMENT, "mlcharge learned 3f2a0123456789ab"])
def test_what_this_package_predicted_is_not_inherited(tmp_path, first_line):
    (tmp_path / "CHGCAR").write_text(f"{first_line}\n")
    assert reason(tmp_path) is None
    (tmp_path / "CHGCAR").write_text(f"of {first_line}\n")
    assert reason(tmp_path) == "CHGCAR inherited"


def test_files_that_the_maker_transfers_are_inherited(tmp_path):
    maker = StaticMaker(write_input_set_kwargs={"files_to_transfer": {"CHGCAR": "/a/CHGCAR"}})
    assert reason(tmp_path, maker) == "CHGCAR inherited"


@pytest.mark.parametrize(
    ("incar", "expected"),
    [
        ({"ICHARG": 2}, "the input set fixes ICHARG = 2"),
        ({"ICHARG": 1}, None),
        ({"ICHARG": 11}, None),
        ({"METAGGA": "R2SCAN"}, "METAGGA = R2SCAN: VASP also reads"),
        ({"METAGGA": "--"}, None),
        ({"LSORBIT": True}, "noncollinear"),
    ],
)
def test_what_the_incar_says(tmp_path, incar, expected):
    found = reason(tmp_path, **incar)
    assert found is None if expected is None else found.startswith(expected)


def test_only_one_run_under_custodian_can_be_told_from_its_result(tmp_path):
    maker = StaticMaker(run_vasp_kwargs={"job_type": "double relaxation"})
    assert "not one run under custodian" in reason(tmp_path, maker)


def test_what_an_interrupted_run_has_left_is_removed(tmp_path):
    def left(**files):
        for name, text in files.items():
            (tmp_path / name).write_text(text)

    left(CHGCAR=f"{COMMENT}\n", WAVECAR="of somebody")
    remove_stale(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["WAVECAR"]
    left(CHGCAR="of an earlier run\n")
    given = InitialDensityDocument(density_source="file", comment=COMMENT)
    RunProvenance(icharg=1, initial_density=given).write(tmp_path)
    remove_stale(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["CHGCAR", "mlcharge.json"]
    left(WAVECAR="of the run before")
    RunProvenance(icharg=None, existing_density_reason="WAVECAR inherited").write(tmp_path)
    remove_stale(tmp_path)
    assert (tmp_path / "WAVECAR").exists()


@pytest.fixture
def written(inputs, tmp_path):
    """An initial density that another job wrote."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return InitialDensity(Superposition()).write(inputs, folder)


def test_a_written_density_is_copied_as_it_is(inputs, written, tmp_path):
    for adapt in (False, True):
        assert stage_chgcar(written, inputs, tmp_path, adapt) == written
        copied = (tmp_path / "CHGCAR").read_bytes()
        assert copied == (tmp_path / "elsewhere" / "CHGCAR").read_bytes()


def test_another_grid_is_refused_or_interpolated(inputs, written, tmp_path):
    finer = replace(inputs, incar={**inputs.incar, "ENCUT": 500.0})
    with pytest.raises(SourceError, match="is on grid"):
        stage_chgcar(written, finer, tmp_path)
    assert not (tmp_path / "CHGCAR").exists()
    document = stage_chgcar(written, finer, tmp_path, adapt=True)
    assert document.grid == finer.grid == read_chgcar(tmp_path / "CHGCAR").shape
    assert "interpolated" in document.warnings[0]
    assert document.comment != written.comment
    assert (document.density_source, document.augmentation_source) == ("superposition", "atomic")


def test_other_paw_data_sets_and_missing_occupancies_are_refused(inputs, written, tmp_path):
    other = written.model_copy(update={"paw": {"Mg": "PAW_PBE Mg_pv old"}})
    with pytest.raises(SourceError, match="was made for the PAW data set PAW_PBE Mg_pv old"):
        stage_chgcar(other, inputs, tmp_path)
    path = tmp_path / "elsewhere" / "CHGCAR"
    write_chgcar(path, replace(read_chgcar(path), augmentation=None))
    unhashed = written.model_copy(update={"sha256": None})
    with pytest.raises(SourceError, match="no augmentation occupancies"):
        stage_chgcar(unhashed, inputs, tmp_path, adapt=True)
    failed = InitialDensityDocument.of_failure("no model", "learned")
    with pytest.raises(SourceError, match=r"^no model$"):
        stage_chgcar(failed, inputs, tmp_path)


@pytest.mark.parametrize("adapt", [False, True])  # ICHARG = 1 ordered by the user, or by default
def test_a_file_that_has_changed_since_it_was_written_is_refused(inputs, written, tmp_path, adapt):
    path = tmp_path / "elsewhere" / "CHGCAR"
    other = read_chgcar(path)
    write_chgcar(path, replace(other, total=other.total[::-1]))
    with pytest.raises(SourceError, match=r"elsewhere/CHGCAR: has changed since it was written"):
        stage_chgcar(written, inputs, tmp_path, adapt)
    assert not (tmp_path / "CHGCAR").exists()


@pytest.mark.parametrize("adapt", [False, True])
def test_a_density_of_another_structure_is_refused(inputs, written, tmp_path, adapt):
    moved = inputs.structure.copy()
    moved.translate_sites([1], [0.0, 0.0, 0.02])
    other = replace(inputs, structure=moved, incar={**inputs.incar, **inputs.grid_tags})
    with pytest.raises(SourceError, match=r"another structure: ion 2 \(O\) is 0.060 angstrom"):
        stage_chgcar(written, other, tmp_path, adapt)
    assert not (tmp_path / "CHGCAR").exists()


def test_a_compressed_density_is_unpacked_for_vasp(inputs, written, tmp_path):
    path = tmp_path / "elsewhere" / ARCHIVED
    content = (tmp_path / "elsewhere" / "CHGCAR").read_bytes()
    path.write_bytes(gzip.compress(content))
    packed = written.model_copy(update={"path": str(path)})
    for adapt in (False, True):
        assert stage_chgcar(packed, inputs, tmp_path, adapt) == packed
        assert (tmp_path / "CHGCAR").read_bytes() == content


def test_only_the_initial_chgcar_is_archived(inputs, tmp_path):
    document = InitialDensity(Superposition()).write(inputs, tmp_path)
    provenance = RunProvenance(icharg=1, initial_density=document)
    content = (tmp_path / "CHGCAR").read_bytes()
    for _ in range(2):  # it is safe to repeat
        archive_initial_chgcar(tmp_path, provenance)
        assert gzip.decompress((tmp_path / ARCHIVED).read_bytes()) == content
        assert document.path == str(tmp_path / ARCHIVED)
        assert sorted(path.name for path in tmp_path.iterdir()) == [ARCHIVED]
    assert "CHGCAR" not in ARCHIVED
    (tmp_path / ARCHIVED).unlink()
    document.path = str(tmp_path / "CHGCAR")
    (tmp_path / "CHGCAR").write_text("converged\n")
    archive_initial_chgcar(tmp_path, provenance)
    assert (tmp_path / "CHGCAR").read_text() == "converged\n"
    assert document.path is None, "the result has replaced it"


def test_the_copy_of_a_density_that_is_kept_elsewhere_is_removed(inputs, written, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    provenance = RunProvenance(
        icharg=1, initial_density=stage_chgcar(written, inputs, run), run_folder=str(run)
    )
    archive_initial_chgcar(run, provenance)
    assert not list(run.iterdir())
    assert written.path == str(tmp_path / "elsewhere" / "CHGCAR")
    # Where the original is gone, the copy is what is left of it.
    stage_chgcar(written, inputs, run)
    (tmp_path / "elsewhere" / "CHGCAR").unlink()
    archive_initial_chgcar(run, provenance)
    assert [path.name for path in run.iterdir()] == [ARCHIVED]
    assert provenance.initial_density.path == str(run / ARCHIVED)


def test_a_density_that_the_user_put_there_is_no_result_either(tmp_path):
    (tmp_path / "CHGCAR").write_text(f"{COMMENT}\n")
    RunProvenance(icharg=1, existing_density_reason="CHGCAR inherited").write(tmp_path)
    finalize_run(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [ARCHIVED, "mlcharge.json"]


@pytest.fixture
def ended(inputs, tmp_path):
    """A folder in which a run from an initial density ended, with LCHARG = F."""
    document = InitialDensity(Superposition()).write(inputs, tmp_path)
    Poscar(inputs.structure).write_file(tmp_path / "POSCAR")
    RunProvenance(icharg=1, initial_density=document, run_folder=str(tmp_path)).write(tmp_path)
    return tmp_path


def test_the_density_that_a_run_left_is_the_one_of_its_provenance(ended):
    provenance = finalize_run(ended)
    assert density_issue(ended, provenance) is None
    archived = ended / ARCHIVED
    archived.write_bytes(gzip.compress(gzip.decompress(archived.read_bytes()) + b"\n"))
    assert density_issue(ended, provenance).startswith("initial density replaced: ")
    archived.unlink()
    assert density_issue(ended, provenance) is None, "removed to save space"


@pytest.mark.parametrize(
    "damage",
    [
        lambda packed: packed[:40],
        lambda packed: packed[:10] + b"\xff" * 40 + packed[50:],
        lambda packed: b"BZh9" + packed,
        lambda packed: b"\xfd7zXZ\x00" + packed,
    ],
)
def test_a_damaged_archive_of_the_density_is_named(ended, damage):
    finalize_run(ended)
    archived = ended / ARCHIVED
    archived.write_bytes(damage(archived.read_bytes()))
    with pytest.raises(OSError, match=r"mlcharge\.density\.gz: the .* archive is damaged"):
        density_issue(ended, RunProvenance.read(ended))
    chgcar = ended / f"CHGCAR{'' if archived.read_bytes()[:2] == b'BZ' else '.gz'}"
    chgcar.write_bytes(archived.read_bytes())
    assert not is_initial_chgcar(chgcar)


def test_a_density_that_was_replaced_before_vasp_ended_is_noticed(ended):
    path = ended / "CHGCAR"
    path.write_text(path.read_text().replace("0.000000  0.000000  0.000000", "0.0 0.0 0.0", 1))
    provenance = finalize_run(ended)
    assert "has changed since it was written" in provenance.density_issue
    assert density_issue(ended, RunProvenance.read(ended)).startswith("initial density replaced: ")


def test_the_structure_of_the_run_is_that_of_its_density(ended, inputs):
    provenance = finalize_run(ended)
    moved = inputs.structure.copy()
    moved.translate_sites([0], [0.1, 0.0, 0.0])
    Poscar(moved).write_file(ended / "POSCAR")
    issue = density_issue(ended, provenance)
    assert issue.startswith("initial density of another structure: ")
    assert "ion 1 (Mg) is 0.300 angstrom" in issue
