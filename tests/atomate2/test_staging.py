"""The initial CHGCAR in the folder of a run, before VASP starts and after it has ended."""

from dataclasses import replace

import pytest
from atomate2.vasp.jobs.core import StaticMaker

from mlcharge_flows.atomate2.schemas import RunProvenance
from mlcharge_flows.atomate2.staging import (
    ARCHIVED,
    archive_initial_chgcar,
    existing_density_reason,
    remove_stale,
    stage_chgcar,
)
from mlcharge_flows.sources import (
    InitialDensity,
    InitialDensityDocument,
    SourceError,
    Superposition,
)
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
    with pytest.raises(SourceError, match="no augmentation occupancies"):
        stage_chgcar(written, inputs, tmp_path, adapt=True)
    failed = InitialDensityDocument.of_failure("no model", "learned")
    with pytest.raises(SourceError, match=r"^no model$"):
        stage_chgcar(failed, inputs, tmp_path)


def test_only_the_initial_chgcar_is_archived(inputs, tmp_path):
    document = InitialDensity(Superposition()).write(inputs, tmp_path)
    provenance = RunProvenance(icharg=1, initial_density=document)
    content = (tmp_path / "CHGCAR").read_bytes()
    for _ in range(2):  # it is safe to repeat
        archive_initial_chgcar(tmp_path, provenance)
        assert (tmp_path / ARCHIVED).read_bytes() == content
        assert document.path == str(tmp_path / ARCHIVED)
    assert "CHGCAR" not in ARCHIVED
    (tmp_path / ARCHIVED).unlink()
    (tmp_path / "CHGCAR").write_text("converged\n")
    archive_initial_chgcar(tmp_path, provenance)
    assert (tmp_path / "CHGCAR").read_text() == "converged\n"
    assert document.path is None, "the result has replaced it"
