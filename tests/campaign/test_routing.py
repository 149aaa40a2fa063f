import pytest
from jobflow import Flow, JobStore, Response, job, run_locally
from maggma.stores import MemoryStore
from pymatgen.core import Lattice, Structure

from mlcharge_flows.atomate2.flows.compare import CompareDensitiesMaker
from mlcharge_flows.atomate2.jobs.initial_density import InitialDensityMaker
from mlcharge_flows.atomate2.sets.comparison import ComparisonSetGenerator
from mlcharge_flows.campaign.fireworks_spec import FireWorksSpec
from mlcharge_flows.campaign.routing import role, route, route_fireworks, route_remote
from mlcharge_flows.sources import parse_arms

HELIUM = Structure(Lattice.cubic(3.0), ["He"], [[0, 0, 0]])


@pytest.fixture
def flow():
    return CompareDensitiesMaker(initial_densities=parse_arms(["superposition"])).make(HELIUM, "He")


def test_every_job_has_a_part(flow):
    parts = {job.name: role(job) for job in flow.jobs}
    assert parts == {
        "default run": "run",
        "default count": "other",
        "superposition density": "density",
        "superposition run": "run",
        "superposition count": "other",
        "compare": "other",
    }
    assert role(InitialDensityMaker().make_batch([HELIUM], ComparisonSetGenerator())) == "density"


def test_fireworks_reads_category_and_priority_from_the_spec(flow):
    pytest.importorskip("fireworks", reason="needs the fireworks extra")
    from jobflow.managers.fireworks import flow_to_workflow

    workflow = flow_to_workflow(route_fireworks(flow, FireWorksSpec()))
    specs = {firework.name: firework.spec for firework in workflow}
    assert specs["superposition density"]["_category"] == "gpu"
    assert {specs[name]["_category"] for name in specs if name != "superposition density"} == {
        "cpu"
    }
    # What ends a material goes before what begins another.
    order = ["compare", "superposition density", "superposition run"]
    priorities = [specs[name]["_priority"] for name in order]
    assert priorities == sorted(priorities, reverse=True)
    assert all(spec["_allow_fizzled_parents"] for spec in specs.values())
    assert not any("_preserve_fworker" in spec for spec in specs.values())


def test_without_shared_files_a_chain_stays_with_its_worker(flow):
    with pytest.raises(ValueError, match=r"give density, run and other the same category"):
        route_fireworks(flow, FireWorksSpec(shared_files=False))
    one = dict.fromkeys(("density", "run", "other"), "all")
    route_fireworks(flow, FireWorksSpec(shared_files=False, categories=one))
    assert all(job.config.manager_config["_preserve_fworker"] for job in flow.jobs)


def test_no_file_is_handed_from_one_chain_to_another():
    """Else `_preserve_fworker` would leave a job between two workers."""
    flow = CompareDensitiesMaker().make(HELIUM)
    (joined,) = (job for job in flow.jobs if job.name == "compare")
    graph = flow.graph
    for one in flow.jobs:
        assert one is joined or graph.in_degree(one.uuid) <= 1, one.name


def test_remote_workers_and_resources(flow):
    route_remote(
        flow,
        workers={"density": "gpu_box", "run": "cluster"},
        resources={"density": {"gpus_per_job": 1}},
        exec_config={"run": "vasp"},
    )
    configs = {job.name: job.config.manager_config for job in flow.jobs}
    assert configs["superposition density"] == {
        "worker": "gpu_box",
        "resources": {"gpus_per_job": 1},
    }
    assert configs["default run"] == {"worker": "cluster", "exec_config": "vasp"}
    assert configs["compare"] == {}, "left to the project's default worker"


@job
def make_more():
    inner = say()
    return Response(replace=Flow([inner], output=inner.output))


@job
def say():
    return "here"


def test_jobs_that_are_made_later_run_where_vasp_runs():
    first = route(make_more(), {"other": {"worker": "login"}, "run": {"worker": "cluster"}})
    assert first.config.manager_config == {"worker": "login"}
    store = JobStore(MemoryStore())
    store.connect()
    replaced = first.run(store=store).replace
    seen = [made.config.manager_config for made in replaced.jobs]
    assert {"worker": "cluster"} in seen
    assert {"worker": "login"} not in seen


def test_settings_that_a_job_has_already_stay(flow):
    flow.update_config({"manager_config": {"_queueadapter": {"walltime": "1:00"}}})
    route_fireworks(flow, FireWorksSpec())
    for made in flow.jobs:
        assert made.config.manager_config["_queueadapter"] == {"walltime": "1:00"}
        assert "_category" in made.config.manager_config


def test_routing_changes_nothing_else(flow):
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    routed = route_remote(make_more(), {"run": "cluster"})
    run_locally(routed, store=store, log=False)
    assert store.get_output(routed.uuid) == "here"
