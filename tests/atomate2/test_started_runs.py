"""Makers and flows that the power-up has started, run to their task documents."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from atomate2.vasp.flows.core import BandStructureMaker, DoubleRelaxMaker
from atomate2.vasp.flows.elastic import ElasticMaker
from atomate2.vasp.flows.mp import MPGGADoubleRelaxStaticMaker
from atomate2.vasp.jobs.core import StaticMaker
from atomate2.vasp.jobs.mp import MPMetaGGAStaticMaker
from atomate2.vasp.powerups import (
    update_user_incar_settings,
    update_user_kpoints_settings,
    update_vasp_custodian_handlers,
    update_vasp_input_generators,
)
from custodian.vasp.handlers import VaspErrorHandler
from jobflow import Flow
from pymatgen.io.vasp import Incar

from conftest import CHEAP, POLLING
from mlcharge_flows.atomate2 import staging as bring
from mlcharge_flows.atomate2.finalize import KEPT
from mlcharge_flows.atomate2.powerups import start_from_predicted_density
from mlcharge_flows.atomate2.provenance import StartRecord
from mlcharge_flows.sources.existing import FileStartMaker
from mlcharge_flows.sources.inputs import VaspInputs
from mlcharge_flows.sources.start import StartError
from mlcharge_flows.sources.superposition import SuperpositionStartMaker

pytestmark = pytest.mark.gpaw


def cheap(work, **incar):
    """Some of atomate2's own power-ups."""
    work = update_user_incar_settings(work, CHEAP | incar)
    return update_vasp_input_generators(work, {"run_vasp_kwargs->custodian_kwargs": POLLING})


def fate(document):
    return StartRecord.model_validate(document["additional_json"]["mlcharge"])


def folder_of(document):
    return Path(document["dir_name"].split(":")[-1])


def incar_of(document):
    return Incar.from_file(folder_of(document) / "INCAR.gz")


def test_bands_of_a_static_run_started_from_a_density(silicon, run):
    flow = BandStructureMaker(bandstructure_type="line").make(silicon)
    flow = start_from_predicted_density(flow, SuperpositionStartMaker())
    flow = cheap(flow)
    flow = update_user_kpoints_settings(flow, {"reciprocal_density": 4}, name_filter="static")
    flow = update_user_kpoints_settings(flow, {"line_density": 1}, name_filter="non-scf")
    documents = run(flow)
    static, bands = documents["static"], documents["non-scf line"]

    record = fate(static)
    assert (record.started_from, record.used, record.icharg) == ("chgcar", True, 1)
    assert record.start.kind == "superposition"
    assert record.start.occupancies == "atomic"
    assert record.start.comment.startswith("mlcharge-superposition-")
    assert len(record.start.sha256) == 64
    assert record.start.path is None, "the result has replaced the start"
    assert incar_of(static)["NGXF"] == record.start.grid[0]
    assert static["state"] == "successful"

    # The bands keep the density of the static run, which no start may replace.
    record = fate(bands)
    assert (record.skipped, record.started_from) == ("CHGCAR inherited", "chgcar")
    assert (record.start, record.used, record.icharg) == (None, None, 11)
    assert "NGXF" not in incar_of(bands)
    assert bands["output"]["bandgap"] > 0.3


def test_a_static_run_started_by_another_job(silicon, run):
    job = cheap(StaticMaker().make(silicon))
    job = update_user_kpoints_settings(job, {"reciprocal_density": 4})
    flow = start_from_predicted_density(job, SuperpositionStartMaker(), "upstream")
    assert [job.name for job in flow.jobs] == ["static start", "static"]
    document = run(flow)["static"]
    record = fate(document)
    assert (record.started_from, record.used, record.icharg) == ("chgcar", True, 1)
    # The result lies in the folder of the run, the start where it was written.
    assert Path(record.start.path).is_file()
    assert (folder_of(document) / "CHGCAR.gz").is_file()


def test_a_start_is_never_left_as_a_result(silicon, run, vasp):
    maker = start_from_predicted_density(
        cheap(StaticMaker(), LCHARG=False), SuperpositionStartMaker()
    )
    document = run(maker.make(silicon))["static"]
    folder = folder_of(document)
    assert not list(folder.glob("CHGCAR*"))
    assert fate(document).start.path == str(folder / KEPT)
    assert (folder / KEPT).read_text().startswith(fate(document).start.comment)
    # What would copy it says so, instead of taking the prediction for the result.
    bands = BandStructureMaker(bandstructure_type="line").bs_maker
    with pytest.raises(FileNotFoundError, match="CHGCAR"):
        bands.make.original(bands, silicon, str(folder))


def test_every_run_of_a_relaxation_is_started_for_its_own_structure(silicon, run, vasp):
    flow = cheap(DoubleRelaxMaker().make(silicon))
    documents = run(start_from_predicted_density(flow, SuperpositionStartMaker(), "upstream"))
    for name in ("relax 1", "relax 2"):
        assert fate(documents[name]).used, name
        assert incar_of(documents[name])["NSW"] > 0
        # The density was made elsewhere and its copy removed from sight.
        assert not list(folder_of(documents[name]).glob("CHGCAR*"))
        assert Path(fate(documents[name]).start.path).is_file()


def test_makers_handed_to_dynamic_jobs_are_reached(silicon, run, vasp):
    flow = start_from_predicted_density(cheap(ElasticMaker()), SuperpositionStartMaker()).make(
        silicon
    )
    documents = run(flow)
    relaxations = [name for name in documents if name.startswith("elastic relax")]
    assert len(relaxations) >= 6
    for name in relaxations:
        assert fate(documents[name]).used
        assert (
            "transformations" in documents[name]["additional_json"]
            or documents[name]["transformations"]
        )


def test_inherited_orbitals_win(silicon, run, vasp):
    flow = cheap(MPGGADoubleRelaxStaticMaker().make(silicon), LWAVE=True)
    documents = run(start_from_predicted_density(flow, SuperpositionStartMaker(), "upstream"))
    first, *others = [fate(document) for document in documents.values()]
    assert first.used
    assert len(others) == 2
    for record in others:
        assert (record.skipped, record.started_from) == ("WAVECAR inherited", "orbitals")


def test_meta_gga_runs_keep_their_start_and_say_why(silicon, run, vasp):
    maker = update_vasp_input_generators(
        MPMetaGGAStaticMaker(), {"run_vasp_kwargs->custodian_kwargs": POLLING}
    )
    maker = start_from_predicted_density(maker, SuperpositionStartMaker())
    (document,) = run(maker.make(silicon)).values()
    assert "TAUCAR" in fate(document).skipped
    assert "ICHARG" not in incar_of(document)


def test_the_density_alone_gives_bands(silicon, run, vasp):
    maker = BandStructureMaker().bs_maker
    maker = start_from_predicted_density(cheap(maker), SuperpositionStartMaker())
    document = run(maker.make(silicon, None, mode="line"))["non-scf"]
    record = fate(document)
    assert (record.icharg, record.used, record.skipped) == (11, True, None)


def test_handlers_replaced_later_stand_behind_ours(silicon, run, vasp):
    vasp("brmix")
    flow = start_from_predicted_density(
        Flow([StaticMaker().make(silicon)]), SuperpositionStartMaker()
    )
    flow = update_vasp_custodian_handlers(cheap(flow), (VaspErrorHandler(),))
    record = fate(run(flow)["static"])
    assert (record.restarted, record.used) == ("BRMIX: very serious problems", False)


def test_a_given_file(silicon, run, vasp, tmp_path):
    maker = cheap(StaticMaker(), LCHARG=False)
    first = run(start_from_predicted_density(maker, SuperpositionStartMaker()).make(silicon))
    path = folder_of(first["static"]) / KEPT
    again = fate(run(start_from_predicted_density(maker, path).make(silicon))["static"])
    assert (again.start.kind, again.start.occupancies, again.used) == ("file", "from file", True)
    # A document belongs to one structure: where it does not fit, the run begins from atoms.
    given = fate(first["static"]).start
    strained = silicon.copy().apply_strain(0.05)
    both = Flow([maker.make(silicon), update_name(maker, "strained").make(strained)])
    documents = run(start_from_predicted_density(both, given))
    assert fate(documents["static"]).used
    other = fate(documents["strained"])
    assert "lattice vectors differ" in other.start.failure
    assert (other.used, other.started_from, other.icharg) == (None, "atoms", None)


def update_name(maker, name):
    return type(maker).from_dict(maker.as_dict() | {"name": name})


def test_a_start_on_another_grid_is_interpolated(silicon, run, vasp):
    maker = cheap(StaticMaker(), LCHARG=False)
    first = run(start_from_predicted_density(maker, SuperpositionStartMaker()).make(silicon))
    given = fate(first["static"]).start
    finer = update_user_incar_settings(maker, {"ENCUT": 300})
    record = fate(run(start_from_predicted_density(finer.make(silicon), given))["static"])
    assert record.used
    assert record.start.kind == "superposition"
    assert record.start.grid != given.grid
    assert "interpolated" in record.start.messages[0]


def test_a_start_that_an_interrupted_run_left_is_not_inherited(
    silicon, vasp, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    maker = start_from_predicted_density(cheap(StaticMaker()), SuperpositionStartMaker())
    inputs = VaspInputs(silicon, maker.input_set_generator)
    start = SuperpositionStartMaker().write(inputs, tmp_path)
    StartRecord(icharg=1, start=start).write(tmp_path)
    document = maker.make.original(maker, silicon).output
    assert fate(document.model_dump()).used
    # Without that record it is somebody's density, and wins.
    (tmp_path / "mlcharge.json").unlink()
    (tmp_path / "CHGCAR").write_text("of an earlier run\n")
    document = maker.make.original(maker, silicon).output
    assert fate(document.model_dump()).skipped == "CHGCAR inherited"


def test_a_full_disk_leaves_no_piece_of_a_start(silicon, run, vasp, monkeypatch, tmp_path):
    def copy(source, target):
        Path(target).write_text(Path(source).read_text()[:100])
        raise OSError(28, "No space left on device")

    maker = cheap(StaticMaker(), LCHARG=False)
    inputs = VaspInputs(silicon, maker.input_set_generator)
    given = SuperpositionStartMaker().write(inputs, tmp_path)
    monkeypatch.setattr(bring, "shutil", SimpleNamespace(copyfile=copy))
    document = run(start_from_predicted_density(maker.make(silicon), given))["static"]
    assert "No space left" in fate(document).start.failure
    assert fate(document).started_from == "atoms"
    assert not list(folder_of(document).glob("*CHGCAR*"))


def test_a_failed_start_stops_the_run_or_not(silicon, run, vasp):
    missing = FileStartMaker(path="none", on_error="record")
    document = run(start_from_predicted_density(cheap(StaticMaker()), missing).make(silicon))
    record = fate(document["static"])
    assert "No such file" in record.start.failure
    assert (record.started_from, record.used) == ("atoms", None)
    missing.on_error = "raise"
    maker = start_from_predicted_density(cheap(StaticMaker()), missing)
    with pytest.raises(StartError, match="No such file"):
        maker.make.original(maker, silicon)
