import pytest
from jobflow import Flow, JobStore, OnMissing
from jobflow import run_locally as run_flow
from maggma.stores import MemoryStore
from pymatgen.core import Lattice, Structure

from mlcharge_flows.atomate2.flows.compare import CompareDensitiesMaker, comparison_static
from mlcharge_flows.atomate2.sets.comparison import ComparisonSetGenerator
from mlcharge_flows.reports.scf_report import write_report
from mlcharge_flows.scf.comparison import Comparison
from mlcharge_flows.settings import Settings, SetupError
from mlcharge_flows.sources import FromFile, InitialDensity, parse_arms


@pytest.fixture
def helium():
    return Structure(Lattice.cubic(3.0), ["He"], [[0, 0, 0]])


def run(flow, folder):
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    run_flow(flow, log=False, store=store, create_folders=True, root_dir=folder)
    return store.get_output(flow.output.uuid)


def test_unknown_arms_are_named():
    with pytest.raises(ValueError, match="'magic' is no source of densities"):
        parse_arms(["converged", "magic"])


def test_own_initial_densities_are_arms(helium):
    maker = CompareDensitiesMaker(initial_densities={"mine": InitialDensity(FromFile("x"))})
    assert maker.arms == ["default", "mine"]
    assert "mine density" in [job.name for job in maker.make(helium).jobs]


def test_no_arm_can_stop_another(helium):
    flow = CompareDensitiesMaker().make(helium)
    assert {job.config.on_missing_references for job in flow.jobs} == {OnMissing.NONE}
    for job in flow.jobs:
        if job.name.endswith("run"):
            inner = job.maker.maker
            assert inner.run_vasp_kwargs["handlers"] == ()
            assert inner.stop_children_kwargs == {"handle_unsuccessful": False}


def test_all_arms_share_the_fixed_density_steps(helium):
    usual = CompareDensitiesMaker()
    shorter = CompareDensitiesMaker(static_maker=comparison_static(nelmdl=2))
    assert shorter.protocol != usual.protocol
    for job in shorter.make(helium).jobs:
        if job.name.endswith("run"):
            generator = job.maker.maker.input_set_generator
            assert generator.get_input_set(helium, potcar_spec=True)["INCAR"]["NELMDL"] == -2


def test_the_protocol_is_the_settings():
    maker = CompareDensitiesMaker()
    assert maker.protocol == CompareDensitiesMaker(initial_densities={}).protocol
    maker.static_maker.input_set_generator = ComparisonSetGenerator(
        user_incar_settings={"ENCUT": 300}
    )
    assert maker.protocol != CompareDensitiesMaker().protocol


def test_when_everything_fails_there_is_still_a_report(helium, tmp_path, monkeypatch):
    def refuse(self):
        raise SetupError("no executable here")

    monkeypatch.setattr(Settings, "activated", refuse)
    outputs = [run(CompareDensitiesMaker().make(helium, name), tmp_path) for name in ("one", "two")]
    comparison, other = map(Comparison.model_validate, outputs)
    page = write_report([comparison, other], tmp_path / "report")
    assert page == tmp_path / "report" / "report.html"
    assert page.is_file()
    assert set(comparison.arms) == {"default", "superposition", "converged"}
    assert "no executable here" in comparison.arms["default"].failure
    assert "no initial density" in comparison.arms["converged"].failure


@pytest.mark.gpaw
@pytest.mark.slow
def test_one_material_for_real(helium, tmp_path):
    densities = parse_arms(["superposition", "converged", "converged/atomic"])
    densities["broken"] = InitialDensity(FromFile(str(tmp_path / "none")))
    maker = CompareDensitiesMaker(initial_densities=densities)
    maker.static_maker.input_set_generator = ComparisonSetGenerator(
        user_incar_settings={"ENCUT": 250}, user_kpoints_settings={"reciprocal_density": 4}
    )
    flow = maker.make(helium, "helium")
    assert isinstance(flow, Flow)
    comparison = Comparison.model_validate(run(flow, tmp_path))
    broken = comparison.arms.pop("broken")
    assert "cannot be read" in broken.failure
    for arm, counted in comparison.arms.items():
        assert counted.exclusion_reason is None, arm
        assert counted.started_from == ("atoms" if arm == "default" else "chgcar")
        assert counted.energy == pytest.approx(comparison.arms["default"].energy, abs=1e-3)
    default, superposition = comparison.arms["default"], comparison.arms["superposition"]
    assert abs(default.n_total - superposition.n_total) <= 1
    assert comparison.arms["converged"].n_total <= default.n_total
    assert comparison.arms["converged"].preparation_time > 0
