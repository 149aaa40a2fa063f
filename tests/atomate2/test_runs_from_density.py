"""Makers and flows that the power-up has started, run to their task documents."""

import gzip
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from atomate2.vasp.flows.core import BandStructureMaker, DoubleRelaxMaker
from atomate2.vasp.flows.elastic import ElasticMaker
from atomate2.vasp.flows.mp import MPGGADoubleRelaxStaticMaker
from atomate2.vasp.jobs.core import RelaxMaker, StaticMaker
from atomate2.vasp.jobs.mp import MPMetaGGAStaticMaker
from atomate2.vasp.powerups import (
    update_user_incar_settings,
    update_user_kpoints_settings,
    update_vasp_custodian_handlers,
    update_vasp_input_generators,
)
from cheap_runs import CHEAP, POLLING
from custodian.vasp.handlers import VaspErrorHandler
from jobflow import Flow
from pymatgen.io.vasp import Incar

from mlcharge_flows.atomate2 import staging
from mlcharge_flows.atomate2.jobs.comparison import count
from mlcharge_flows.atomate2.powerups import start_from_predicted_density
from mlcharge_flows.atomate2.schemas import RunProvenance
from mlcharge_flows.atomate2.staging import ARCHIVED
from mlcharge_flows.sources import FromFile, InitialDensity, RunInputs, SourceError, Superposition
from mlcharge_flows.vasp.chgcar import read_chgcar
from mlcharge_flows.vasp.chgcar_writer import write_chgcar

pytestmark = pytest.mark.gpaw


def cheap(work, **incar):
    """Some of atomate2's own power-ups."""
    work = update_user_incar_settings(work, CHEAP | incar)
    return update_vasp_input_generators(work, {"run_vasp_kwargs->custodian_kwargs": POLLING})


def fate(document):
    return RunProvenance.model_validate(document["additional_json"]["mlcharge"])


def folder_of(document):
    return Path(document["dir_name"].split(":")[-1])


def incar_of(document):
    return Incar.from_file(folder_of(document) / "INCAR.gz")


def test_bands_of_a_static_run_started_from_a_density(silicon, run):
    flow = BandStructureMaker(bandstructure_type="line").make(silicon)
    flow = start_from_predicted_density(flow, Superposition())
    flow = cheap(flow)
    flow = update_user_kpoints_settings(flow, {"reciprocal_density": 4}, name_filter="static")
    flow = update_user_kpoints_settings(flow, {"line_density": 1}, name_filter="non-scf")
    documents = run(flow)
    static, bands = documents["static"], documents["non-scf line"]

    provenance = fate(static)
    assert (provenance.started_from, provenance.read_by_vasp, provenance.icharg) == (
        "chgcar",
        True,
        1,
    )
    assert provenance.initial_density.density_source == "superposition"
    assert provenance.initial_density.augmentation_source == "atomic"
    assert provenance.initial_density.comment.startswith("mlcharge-superposition-")
    assert len(provenance.initial_density.sha256) == 64
    assert provenance.initial_density.path is None, "the result has replaced the start"
    assert incar_of(static)["NGXF"] == provenance.initial_density.grid[0]
    assert static["state"] == "successful"

    # The bands keep the density of the static run, which no start may replace.
    provenance = fate(bands)
    assert (provenance.existing_density_reason, provenance.started_from) == (
        "CHGCAR inherited",
        "chgcar",
    )
    assert (provenance.initial_density, provenance.read_by_vasp, provenance.icharg) == (
        None,
        None,
        11,
    )
    assert "NGXF" not in incar_of(bands)
    assert bands["output"]["bandgap"] > 0.3


def test_a_static_run_started_by_another_job(silicon, run):
    job = cheap(StaticMaker().make(silicon))
    job = update_user_kpoints_settings(job, {"reciprocal_density": 4})
    flow = start_from_predicted_density(job, Superposition(), "upstream")
    assert [job.name for job in flow.jobs] == ["static density", "static"]
    document = run(flow)["static"]
    provenance = fate(document)
    assert (provenance.started_from, provenance.read_by_vasp, provenance.icharg) == (
        "chgcar",
        True,
        1,
    )
    # The result lies in the folder of the run, the start where it was written.
    assert Path(provenance.initial_density.path).is_file()
    assert (folder_of(document) / "CHGCAR.gz").is_file()


def test_an_initial_density_is_never_left_as_a_result(silicon, run, vasp):
    maker = start_from_predicted_density(cheap(StaticMaker(), LCHARG=False), Superposition())
    document = run(maker.make(silicon))["static"]
    folder = folder_of(document)
    assert not list(folder.glob("CHGCAR*"))
    assert fate(document).initial_density.path == str(folder / ARCHIVED)
    with gzip.open(folder / ARCHIVED, "rt") as archived:
        assert archived.read(100).startswith(fate(document).initial_density.comment)
    # What would copy it says so, instead of taking the prediction for the result.
    bands = BandStructureMaker(bandstructure_type="line").bs_maker
    with pytest.raises(FileNotFoundError, match="CHGCAR"):
        bands.make.original(bands, silicon, str(folder))


def test_a_scratch_directory_leaves_no_prediction_as_a_result(silicon, run, vasp, tmp_path):
    """custodian copies back what is there, and so does not remove what was renamed."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    maker = cheap(StaticMaker(run_vasp_kwargs={"scratch_dir": str(scratch)}), LCHARG=False)
    maker = start_from_predicted_density(maker, Superposition())
    document = run(maker.make(silicon))["static"]
    folder, provenance = folder_of(document), fate(document)
    assert provenance.read_by_vasp
    assert not list(folder.glob("CHGCAR*"))
    assert provenance.initial_density.path == str(folder / ARCHIVED)
    assert (folder / ARCHIVED).is_file()
    assert "CHGCAR" not in str(document["vasp_objects"])
    counted = count.original(str(folder))
    assert counted.expected_comment == provenance.initial_density.comment
    assert counted.failure is None


def test_the_result_of_a_scratch_directory_replaces_the_prediction(silicon, run, vasp, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    maker = cheap(StaticMaker(run_vasp_kwargs={"scratch_dir": str(scratch)}))
    maker = start_from_predicted_density(maker, Superposition())
    document = run(maker.make(silicon))["static"]
    with gzip.open(folder_of(document) / "CHGCAR.gz", "rt") as chgcar:
        assert chgcar.read() == "converged\n"
    assert fate(document).initial_density.path is None
    assert not (folder_of(document) / ARCHIVED).exists()


def test_every_run_of_a_relaxation_is_started_for_its_own_structure(silicon, run, vasp):
    flow = cheap(DoubleRelaxMaker().make(silicon))
    documents = run(start_from_predicted_density(flow, Superposition(), "upstream"))
    for name in ("relax 1", "relax 2"):
        assert fate(documents[name]).read_by_vasp, name
        assert incar_of(documents[name])["NSW"] > 0
        # The density was made elsewhere and its copy removed from sight.
        assert not list(folder_of(documents[name]).glob("CHGCAR*"))
        assert Path(fate(documents[name]).initial_density.path).is_file()


def test_a_relaxation_reads_its_density_in_the_first_ionic_step(silicon, run):
    structure = silicon.copy()
    structure.translate_sites([1], [0.01, 0.0, 0.005])
    maker = cheap(RelaxMaker(), ISIF=2, EDIFFG=-0.05, SIGMA=0.01)
    maker = update_user_kpoints_settings(maker, {"reciprocal_density": 4})
    document = run(start_from_predicted_density(maker, Superposition()).make(structure))["relax"]
    assert document["state"] == "successful"
    (calculation,) = document["calcs_reversed"]
    counts = calculation["output"]["num_electronic_steps"]
    assert len(counts) > 1
    assert max(counts[1:]) < counts[0]
    assert fate(document).read_by_vasp
    # Its steps are those of the first geometry; the CHGCAR that is left is of the last one.
    counted = count.original(str(folder_of(document)))
    assert (counted.n_total, counted.verified, counted.failure) == (counts[0], True, None)


def test_a_pinned_grid_is_not_inherited(silicon, run, vasp):
    """With ATOMATE2_VASP_INHERIT_INCAR, of what the first run's density needed nothing is left."""
    inherit = {"input_set_generator->inherit_incar": True}
    flow = update_vasp_input_generators(cheap(DoubleRelaxMaker().make(silicon)), inherit)
    flow = update_user_incar_settings(flow, {"ENCUT": 300}, name_filter="relax 2")
    documents = run(start_from_predicted_density(flow, Superposition()))
    first, second = documents["relax 1"], documents["relax 2"]
    assert fate(first).added_tags["NGXF"] == incar_of(first)["NGXF"]
    assert fate(second).read_by_vasp, "an inherited ICHARG would have been the run's own"
    assert incar_of(second)["NGXF"] > incar_of(first)["NGXF"]
    assert fate(second).initial_density.grid[0] == incar_of(second)["NGXF"]


def test_bands_inherit_neither_grid_nor_istart(silicon, run, vasp):
    flow = BandStructureMaker(bandstructure_type="line").make(silicon)
    inherit = {"input_set_generator->inherit_incar": True}
    flow = update_vasp_input_generators(cheap(flow), inherit)
    documents = run(start_from_predicted_density(flow, Superposition()))
    assert incar_of(documents["static"])["NGXF"]
    bands = incar_of(documents["non-scf line"])
    assert not {"NGXF", "NGYF", "NGZF", "ISTART"} & set(bands)


def test_moments_are_not_frozen_into_bands(silicon, tmp_path, vasp, monkeypatch):
    def bands(**incar):
        monkeypatch.chdir(tmp_path)
        maker = cheap(BandStructureMaker().bs_maker, ISPIN=2, **incar)
        maker.input_set_generator.auto_ispin = False
        maker = start_from_predicted_density(maker, Superposition())
        return maker.make.original(maker, silicon, None, mode="line").output

    with pytest.raises(SourceError, match=r"ICHARG = 11 with ISPIN = 2 would keep the moments"):
        bands()
    assert not (tmp_path / "attempts").exists()
    assert not list(tmp_path.glob("CHGCAR*"))
    assert RunProvenance.read(tmp_path).failure.startswith("SourceError: ICHARG = 11")
    # A crystal that is known to have no moments keeps none.
    assert fate(bands(MAGMOM={"Si": 0.0}).model_dump()).read_by_vasp


def test_a_density_that_is_to_be_kept_and_cannot_be_made_stops_the_run(
    silicon, tmp_path, vasp, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    maker = start_from_predicted_density(cheap(BandStructureMaker().bs_maker), FromFile("none"))
    with pytest.raises(SourceError, match="No such file"):
        maker.make.original(maker, silicon, None, mode="line")
    assert not (tmp_path / "attempts").exists()


def test_makers_handed_to_dynamic_jobs_are_reached(silicon, run, vasp):
    flow = start_from_predicted_density(cheap(ElasticMaker()), Superposition()).make(silicon)
    documents = run(flow)
    relaxations = [name for name in documents if name.startswith("elastic relax")]
    assert len(relaxations) >= 6
    for name in relaxations:
        assert fate(documents[name]).read_by_vasp
        assert (
            "transformations" in documents[name]["additional_json"]
            or documents[name]["transformations"]
        )


def test_inherited_orbitals_win(silicon, run, vasp):
    flow = cheap(MPGGADoubleRelaxStaticMaker().make(silicon), LWAVE=True)
    documents = run(start_from_predicted_density(flow, Superposition(), "upstream"))
    first, *others = [fate(document) for document in documents.values()]
    assert first.read_by_vasp
    assert len(others) == 2
    for provenance in others:
        assert (provenance.existing_density_reason, provenance.started_from) == (
            "WAVECAR inherited",
            "orbitals",
        )


def test_meta_gga_runs_keep_their_density_and_say_why(silicon, run, vasp):
    maker = update_vasp_input_generators(
        MPMetaGGAStaticMaker(), {"run_vasp_kwargs->custodian_kwargs": POLLING}
    )
    maker = start_from_predicted_density(maker, Superposition())
    (document,) = run(maker.make(silicon)).values()
    assert "TAUCAR" in fate(document).existing_density_reason
    assert "ICHARG" not in incar_of(document)


def test_the_density_alone_gives_bands(silicon, run, vasp):
    maker = BandStructureMaker().bs_maker
    maker = start_from_predicted_density(cheap(maker), Superposition())
    document = run(maker.make(silicon, None, mode="line"))["non-scf"]
    provenance = fate(document)
    assert (provenance.icharg, provenance.read_by_vasp, provenance.existing_density_reason) == (
        11,
        True,
        None,
    )


def test_handlers_replaced_later_stand_behind_ours(silicon, run, vasp):
    vasp("brmix")
    flow = start_from_predicted_density(Flow([StaticMaker().make(silicon)]), Superposition())
    flow = update_vasp_custodian_handlers(cheap(flow), (VaspErrorHandler(),))
    provenance = fate(run(flow)["static"])
    assert (provenance.restart_reason, provenance.read_by_vasp) == (
        "BRMIX: very serious problems",
        False,
    )


def test_a_given_file(silicon, run, vasp, tmp_path):
    maker = cheap(StaticMaker(), LCHARG=False)
    first = run(start_from_predicted_density(maker, Superposition()).make(silicon))
    path = folder_of(first["static"]) / ARCHIVED
    again = fate(run(start_from_predicted_density(maker, path).make(silicon))["static"])
    assert (
        again.initial_density.density_source,
        again.initial_density.augmentation_source,
        again.read_by_vasp,
    ) == (
        "file",
        "file",
        True,
    )
    # A document belongs to one structure: where it does not fit, the run begins from atoms.
    given = fate(first["static"]).initial_density
    strained = silicon.copy().apply_strain(0.05)
    both = Flow([maker.make(silicon), update_name(maker, "strained").make(strained)])
    documents = run(start_from_predicted_density(both, given))
    assert fate(documents["static"]).read_by_vasp
    other = fate(documents["strained"])
    assert "lattice vectors differ" in other.initial_density.failure
    assert (other.read_by_vasp, other.started_from, other.icharg) == (None, "atoms", None)


def update_name(maker, name):
    return type(maker).from_dict(maker.as_dict() | {"name": name})


def test_a_density_on_another_grid_is_interpolated(silicon, run, vasp):
    maker = cheap(StaticMaker(), LCHARG=False)
    first = run(start_from_predicted_density(maker, Superposition()).make(silicon))
    given = fate(first["static"]).initial_density
    finer = update_user_incar_settings(maker, {"ENCUT": 300})
    provenance = fate(run(start_from_predicted_density(finer.make(silicon), given))["static"])
    assert provenance.read_by_vasp
    assert provenance.initial_density.density_source == "superposition"
    assert provenance.initial_density.grid != given.grid
    assert "interpolated" in provenance.initial_density.warnings[0]


def test_a_density_that_an_interrupted_run_left_is_not_inherited(
    silicon, vasp, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    maker = start_from_predicted_density(cheap(StaticMaker()), Superposition())
    inputs = RunInputs.from_generator(silicon, maker.input_set_generator)
    start = InitialDensity(Superposition()).write(inputs, tmp_path)
    RunProvenance(icharg=1, initial_density=start).write(tmp_path)
    document = maker.make.original(maker, silicon).output
    assert fate(document.model_dump()).read_by_vasp
    # Without that record it is somebody's density, and wins.
    (tmp_path / "mlcharge.json").unlink()
    (tmp_path / "CHGCAR").write_text("of an earlier run\n")
    document = maker.make.original(maker, silicon).output
    assert fate(document.model_dump()).existing_density_reason == "CHGCAR inherited"


def test_an_inherited_density_that_fits_is_used(silicon, vasp, tmp_path, monkeypatch):
    """Without ICHARG in the input set, VASP would begin from free atoms beside it."""
    monkeypatch.chdir(tmp_path)
    maker = start_from_predicted_density(cheap(StaticMaker()), Superposition())
    inputs = RunInputs.from_generator(silicon, maker.input_set_generator)
    InitialDensity(Superposition()).write(inputs, tmp_path)
    result = replace(read_chgcar(tmp_path / "CHGCAR"), comment="unknown system")

    def begun(density, **incar):
        for path in tmp_path.iterdir():
            if path.is_file() and not path.name.startswith("vasp_std"):
                path.unlink()
        write_chgcar(tmp_path / "CHGCAR", density)
        run = update_user_incar_settings(maker, incar)
        provenance = fate(run.make.original(run, silicon).output.model_dump())
        assert provenance.existing_density_reason == "CHGCAR inherited"
        return provenance.icharg, provenance.started_from

    assert begun(result) == (1, "chgcar")
    # Of another grid or structure, VASP would drop or misread it.
    coarse = replace(result, total=result.total[::2, ::2, ::2])
    assert begun(coarse) == (None, "atoms")
    shift = np.array([[0.1, 0.0, 0.0], [0.0, 0.0, 0.0]])
    moved = replace(result.crystal, positions=result.crystal.positions + shift)
    assert begun(replace(result, crystal=moved)) == (None, "atoms")
    assert begun(result, METAGGA="R2SCAN") == (None, "atoms")
    assert begun(result, ICHARG=2) == (2, "atoms")


def test_a_full_disk_leaves_no_piece_of_a_density(silicon, run, vasp, monkeypatch, tmp_path):
    def copy(source, target):
        target.write(source.read(100))
        raise OSError(28, "No space left on device")

    maker = cheap(StaticMaker(), LCHARG=False)
    inputs = RunInputs.from_generator(silicon, maker.input_set_generator)
    given = InitialDensity(Superposition()).write(inputs, tmp_path)
    monkeypatch.setattr(staging, "shutil", SimpleNamespace(copyfileobj=copy))
    document = run(start_from_predicted_density(maker.make(silicon), given))["static"]
    assert "No space left" in fate(document).initial_density.failure
    assert fate(document).started_from == "atoms"
    left = folder_of(document).glob("*CHGCAR*")  # VASP leaves an empty one with LCHARG = F
    assert not any(gzip.decompress(path.read_bytes()) for path in left)


def test_a_failed_initial_density_stops_the_run_or_not(silicon, run, vasp, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    missing = InitialDensity(FromFile("none"))
    document = run(start_from_predicted_density(cheap(StaticMaker()), missing).make(silicon))
    provenance = fate(document["static"])
    assert "No such file" in provenance.initial_density.failure
    assert provenance.initial_density.density_source == "file"
    assert (provenance.started_from, provenance.read_by_vasp) == ("atoms", None)
    maker = start_from_predicted_density(cheap(StaticMaker()), missing, on_density_error="raise")
    with pytest.raises(SourceError, match="No such file"):
        maker.make.original(maker, silicon)
