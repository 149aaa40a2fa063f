"""Electronic structure at fixed initial densities, beside that of the self-consistent run."""

import numpy as np
import pytest
from jobflow import JobStore, OnMissing
from jobflow import run_locally as run_flow
from maggma.stores import MemoryStore
from pymatgen.core import Lattice, Structure

from mlcharge_flows.atomate2.flows.nonscf import CompareNonSCFMaker
from mlcharge_flows.atomate2.jobs.comparison import DOCUMENT
from mlcharge_flows.atomate2.sets.comparison import BandPathSetGenerator, ComparisonSetGenerator
from mlcharge_flows.campaign.worker import run_material
from mlcharge_flows.reports.nonscf_report import write_nonscf_report
from mlcharge_flows.scf.nonscf import NonSCFComparison, summarize_nonscf
from mlcharge_flows.settings import Settings, SetupError
from mlcharge_flows.sources import FromFile, InitialDensity, parse_arms
from mlcharge_flows.structures import Material


@pytest.fixture(scope="module")
def silicon():
    """The conventional cell, for which the lines of the primitive one would be wrong."""
    return Structure.from_spacegroup("Fd-3m", Lattice.cubic(5.43), ["Si"], [[0, 0, 0]])


def test_an_initial_density_is_needed():
    with pytest.raises(ValueError, match="name an initial density"):
        CompareNonSCFMaker(initial_densities={})
    with pytest.raises(ValueError, match="'default' is the self-consistent run"):
        CompareNonSCFMaker(initial_densities={"default": InitialDensity(FromFile("x"))})


def test_no_run_can_stop_another(silicon):
    flow = CompareNonSCFMaker(initial_densities=parse_arms(["superposition"])).make(silicon)
    assert {job.config.on_missing_references for job in flow.jobs} == {OnMissing.NONE}
    runs = [job for job in flow.jobs if job.name.endswith(("run", "bands"))]
    assert [job.maker.icharg for job in runs] == [2, 11, 11, 11]
    assert {job.maker.maker.run_vasp_kwargs["handlers"] for job in runs} == {()}
    kept = [j.maker.maker.input_set_generator.user_incar_settings["LCHARG"] for j in runs]
    assert kept == [True, False, False, False]
    assert flow.jobs[-1].function_args[2] == 2, "the primitive cell"


def test_the_band_path_follows_the_settings_of_the_user(silicon):
    maker = CompareNonSCFMaker()
    before = maker.protocol
    maker.static_maker.input_set_generator.user_incar_settings["ENCUT"] = 200
    lines = maker._along_path().input_set_generator.get_input_set(silicon, potcar_spec=True)
    assert lines["INCAR"]["ENCUT"] == 200
    assert lines["INCAR"]["LCHARG"] is False
    assert maker.protocol != before
    other = CompareNonSCFMaker()
    other.band_path_maker.input_set_generator = BandPathSetGenerator(line_density=7)
    assert other.protocol != before


@pytest.mark.parametrize(("given", "density"), [({}, 20), ({"line_density": 40}, 40)])
def test_the_points_of_a_band_path_are_as_dense_as_asked_for(silicon, given, density):
    cell = silicon.get_primitive_structure()
    inputs = BandPathSetGenerator(**given).get_input_set(cell, potcar_spec=True)
    points = np.array(inputs["KPOINTS"].kpts) @ cell.lattice.reciprocal_lattice.matrix
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    along = steps[
        (steps > 1e-6) & (steps < 1.5 / density)
    ]  # no ends that are named twice, no jumps
    assert len(along) >= len(steps) - 12
    assert density * along.max() == pytest.approx(1, abs=0.05)


def test_when_everything_fails_there_is_still_a_document(silicon, tmp_path, monkeypatch):
    def refuse(self):
        raise SetupError("no executable here")

    monkeypatch.setattr(Settings, "activated", refuse)
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    flow = CompareNonSCFMaker(initial_densities=parse_arms(["superposition"])).make(silicon, "one")
    run_flow(flow, log=False, store=store, create_folders=True, root_dir=tmp_path)
    found = NonSCFComparison.model_validate(store.get_output(flow.output.uuid))
    assert "no executable here" in found.arms["default"].failure
    assert found.errors == found.band_path_errors == {}
    summary = summarize_nonscf([found]).arms["superposition"]
    assert (summary.n_attempted, summary.n_failed) == (1, 1)


@pytest.fixture(scope="module")
def campaign(silicon, tmp_path_factory):
    """Folder and document of one finished material."""
    pytest.importorskip("gpaw", reason="needs the gpaw extra")
    densities = parse_arms(["superposition", "converged"])
    densities["broken"] = InitialDensity(FromFile("/no/such/CHGCAR"))
    maker = CompareNonSCFMaker(initial_densities=densities)
    maker.static_maker.input_set_generator = ComparisonSetGenerator(
        user_incar_settings={"ENCUT": 200, "EDIFF": 1e-5},
        user_kpoints_settings={"reciprocal_density": 4},
    )
    maker.band_path_maker.input_set_generator.line_density = 1
    out = tmp_path_factory.mktemp("bands")
    counted = run_material(Material("Si", silicon, out), maker, out / "Si")
    text = (out / "Si" / "nonscf" / DOCUMENT).read_text()
    found = NonSCFComparison.model_validate_json(text)
    assert counted.arms == found.arms
    return out, found


@pytest.mark.gpaw
@pytest.mark.slow
def test_the_converged_density_gives_the_reference(campaign):
    errors, along = campaign[1].errors["converged"], campaign[1].band_path_errors["converged"]
    assert abs(errors.dE_meV_per_atom) < 0.1
    assert errors.mean_abs_band_meV < 1
    assert errors.fraction_bands_within == along.fraction_bands_within == 1
    assert along.mean_abs_band_meV < 0.2, "the very same run"
    assert abs(errors.direct_gap_error) < 1
    assert errors.max_force_error < 1e-3
    assert along.max_force_error is None, "lines give no forces"


@pytest.mark.gpaw
@pytest.mark.slow
def test_atoms_do_not(campaign):
    errors = campaign[1].errors
    atoms, converged = errors["superposition"], errors["converged"]
    assert abs(atoms.dF_meV_per_atom) > 100 * abs(converged.dF_meV_per_atom)
    assert atoms.mean_abs_band_meV > 10 * converged.mean_abs_band_meV


@pytest.mark.gpaw
@pytest.mark.slow
def test_no_run_at_fixed_density_updates_it(campaign):
    found = campaign[1]
    for run in [found.arms["converged"], found.arms["superposition"], *found.band_paths.values()]:
        if run is not found.band_paths["broken"]:
            assert run.exclusion_reason is None
            assert run.started_from == "chgcar"
            assert set(run.residuals) == {None}
    assert found.arms["default"].started_from == "atoms"
    assert found.arms["converged"].preparation_time > 0


@pytest.mark.gpaw
@pytest.mark.slow
def test_failures_are_listed_and_stop_nothing(campaign):
    starts = summarize_nonscf([campaign[1]]).arms
    assert starts["broken"].failures == {"no initial density": 1}
    assert starts["converged"].n_materials == 1
    assert starts["converged"].wall_ratio > 0


@pytest.mark.gpaw
@pytest.mark.slow
def test_the_report_draws_bands_on_top_of_each_other(campaign):
    out, found = campaign
    page = write_nonscf_report([found], out)
    figure = out / "Si" / "bands.png"
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert "Si/bands.png" in page.read_text()
    written = figure.stat().st_mtime_ns
    write_nonscf_report([found], out)
    assert figure.stat().st_mtime_ns == written, "drawn once"
