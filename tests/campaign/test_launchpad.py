"""Submitting, counting and finding results; no worker runs here."""

import threading
from contextlib import closing

import pytest
from cluster import write_spec, write_structures
from jobflow import JobStore, run_locally
from maggma.stores import MemoryStore
from mongo_server import Server
from pymatgen.core import Lattice, Structure
from pymongo.collection import Collection
from typer.testing import CliRunner

from mlcharge_flows.atomate2.flows.compare import CompareDensitiesMaker
from mlcharge_flows.atomate2.jobs.comparison import compare, outcome
from mlcharge_flows.campaign.documents import find_results, finish_times, labeled_flow
from mlcharge_flows.campaign.fireworks_spec import FireWorksSpec
from mlcharge_flows.campaign.launchpad import (
    LaunchPadError,
    campaign_state,
    open_launchpad,
    submit,
)
from mlcharge_flows.campaign.recovery import recover, retry
from mlcharge_flows.cli.app import app
from mlcharge_flows.scf.comparison import Comparison
from mlcharge_flows.scf.run import ScfRun
from mlcharge_flows.sources import parse_arms
from mlcharge_flows.structures import Material

pytest.importorskip("fireworks", reason="needs the fireworks extra")


def material(name, a=3.0):
    return Material(name, Structure(Lattice.cubic(a), ["He"], [[0, 0, 0]]), None)


@pytest.fixture
def maker():
    return CompareDensitiesMaker(initial_densities=parse_arms(["superposition"]))


@pytest.fixture
def launchpad_file(tmp_path):
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        path = tmp_path / "my_launchpad.yaml"
        path.write_text(f"host: 127.0.0.1\nport: {server.port}\nname: fireworks\n")
        yield path
        server.shutdown()


@pytest.fixture
def launchpad(launchpad_file):
    from fireworks import LaunchPad

    empty = LaunchPad.from_file(str(launchpad_file))
    empty.reset(None, require_password=False)
    with (
        closing(empty.connection),
        closing((launchpad := open_launchpad(launchpad_file)).connection),
    ):
        yield launchpad


def test_a_material_is_submitted_once(launchpad, maker):
    both = [material("a"), material("b")]
    settings = FireWorksSpec()
    assert submit(launchpad, "first", both[:1], maker, settings) == 1
    seen = []
    assert submit(launchpad, "first", both, maker, settings, seen.append) == 1
    assert submit(launchpad, "first", both, maker, settings) == 0
    assert seen == [1]
    assert launchpad.workflows.count_documents({}) == 2
    assert launchpad.fireworks.count_documents({}) == 12
    # Another campaign is its own.
    assert submit(launchpad, "second", both, maker, settings) == 2


def test_a_name_stands_for_one_campaign(launchpad, maker):
    settings = FireWorksSpec()
    submit(launchpad, "first", [material("a")], maker, settings)
    with pytest.raises(LaunchPadError, match="a is submitted already with another structure"):
        submit(launchpad, "first", [material("a", 3.1)], maker, settings)
    with pytest.raises(LaunchPadError, match="another choice of arms; choose another name"):
        submit(launchpad, "first", [material("a")], CompareDensitiesMaker(), settings)
    assert launchpad.workflows.count_documents({}) == 1


def test_nothing_is_submitted_where_categories_do_not_fit(launchpad, maker):
    with pytest.raises(ValueError, match="shared_files"):
        submit(launchpad, "x", [material("a")], maker, FireWorksSpec(shared_files=False))
    assert launchpad.workflows.count_documents({}) == 0


def test_jobs_are_counted_by_category_and_state(launchpad, maker):
    submit(launchpad, "first", [material("a"), material("b")], maker, FireWorksSpec())
    found = campaign_state(launchpad, "first")
    assert found.workflows == {"READY": 2}
    assert found.jobs == {("gpu", "READY"): 2, ("cpu", "READY"): 2, ("cpu", "WAITING"): 8}
    assert found.lost == []
    assert campaign_state(launchpad, "none").workflows.total() == 0


def test_the_state_is_counted_in_the_database(launchpad, maker, monkeypatch):
    """No document but those of running jobs is read, whatever the number of materials."""
    from fireworks import FWorker

    submit(launchpad, "first", [material(f"m{n}") for n in range(5)], maker, FireWorksSpec())
    find, read = Collection.find, []

    def recorded(self, *args, **options):
        read.extend(find(self, *args, **options))
        return find(self, *args, **options)

    monkeypatch.setattr(Collection, "find", recorded)
    assert campaign_state(launchpad, "first").jobs.total() == 30
    assert read == []
    numbers = [job["fw_id"] for job in find(launchpad.fireworks, {"state": "READY"})]
    launchpad.checkout_fw(FWorker(), ".", numbers[0])
    read.clear()
    found = campaign_state(launchpad, "first")
    assert (found.jobs["gpu", "RUNNING"] + found.jobs["cpu", "RUNNING"], found.lost) == (1, [])
    assert {document.get("fw_id") for document in read} == {numbers[0]}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("INCAR", "ENCUT = 350\n"),
        ("launchpad.yaml", "[]\n"),
        ("launchpad.yaml", ""),
        ("launchpad.yaml", "host: [\n"),
        ("launchpad.yaml", "host: 3\nport: many\nname: []\n"),
        ("launchpad.json", "{"),
    ],
)
def test_a_file_that_is_no_launchpad_is_named_in_one_line(tmp_path, name, text):
    pytest.importorskip("fireworks", reason="needs the fireworks extra")
    (tmp_path / name).write_text(text)
    with pytest.raises(LaunchPadError, match=rf"^{tmp_path / name}: not a LaunchPad file \(.+\)$"):
        open_launchpad(tmp_path / name)


def test_the_launchpad_that_is_missing(tmp_path, launchpad_file):
    with pytest.raises(LaunchPadError, match="set it up once with 'lpad reset'"):
        open_launchpad(launchpad_file)
    with pytest.raises(LaunchPadError, match=r"none.yaml: not a LaunchPad file"):
        open_launchpad(tmp_path / "none.yaml")
    nowhere = tmp_path / "nowhere.yaml"
    nowhere.write_text("name: fireworks\n")
    with pytest.raises(LaunchPadError, match=r"nowhere.yaml: host is missing; add it"):
        open_launchpad(nowhere)
    closed = tmp_path / "closed.yaml"
    closed.write_text(
        "host: 127.0.0.1\nport: 9\nname: x\nmongoclient_kwargs: {serverSelectionTimeoutMS: 100}\n"
    )
    with pytest.raises(LaunchPadError, match=r"closed.yaml: no database answers"):
        open_launchpad(closed)


@pytest.fixture
def store():
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    store.connect()
    return store


def test_results_are_found_by_the_name_of_the_campaign(store, maker, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # an outcome leaves a file
    run = ScfRun(folder="", n_total=9, energy=-1.0, converged=True, started_from="atoms")

    def finish(name, campaign, kind, **given):
        made = kind(name, "Si", 2, "settings", {"default": run}, **given)
        made.metadata.update(campaign=campaign, material=name, result=True)
        run_locally(made, store=store, log=False)

    finish("b", "first", compare)
    finish("a", "first", outcome)
    finish("c", "second", compare)
    finish("b", "first", compare)  # submitted twice to two LaunchPads: the newest counts
    found = find_results(store, "first")
    assert [result.material_id for result in found] == ["a", "b"]
    assert [type(result).__name__ for result in found] == ["Outcome", "Comparison"]
    assert found[0].arms["default"].n_total == 9
    assert len(finish_times(store, "second")) == 1
    assert find_results(store, "none") == []


def test_one_job_of_a_flow_holds_its_result(maker):
    flow = labeled_flow(material("a"), maker, "first")
    assert {job.metadata["campaign"] for job in flow.jobs} == {"first"}
    (result,) = (job for job in flow.jobs if job.metadata.get("result"))
    assert result.output.uuid == flow.output.uuid


def test_commands_without_a_job_store_say_so(tmp_path, launchpad_file, launchpad):
    write_structures(tmp_path / "structures.json", 1)
    spec = write_spec(tmp_path, name="first", structures="structures.json")

    def campaign(*words):
        return CliRunner().invoke(app, ["campaign", *map(str, words)])

    added = campaign("submit", spec, "--launchpad", launchpad_file)
    assert added.exit_code == 0, added.output
    assert "first: 1 workflows added" in added.output
    left = campaign("status", spec, "--out", tmp_path / "x", "--launchpad", launchpad_file)
    assert left.exit_code == 2
    assert "no job store that outlives a process" in left.stderr


def states(launchpad):
    return {job["name"]: job["state"] for job in launchpad.fireworks.find({})}


def test_a_submission_that_was_killed_is_completed(launchpad, maker):
    settings = FireWorksSpec()
    submit(launchpad, "first", [material("a"), material("b")], maker, settings)
    workflow = launchpad.workflows.find_one({"metadata.material": "b"})
    # Workflows are written before their jobs: killed in between.
    launchpad.fireworks.delete_many({"fw_id": {"$in": sorted(workflow["nodes"])[2:]}})
    assert submit(launchpad, "first", [material("a"), material("b")], maker, settings) == 1
    assert launchpad.workflows.count_documents({}) == 2
    assert launchpad.fireworks.count_documents({}) == 12
    nodes = {node for wf in launchpad.workflows.find({}) for node in wf["nodes"]}
    assert {job["fw_id"] for job in launchpad.fireworks.find({})} == nodes


def test_jobs_of_dead_workers_run_again_and_those_of_living_ones_go_on(launchpad, maker):
    from fireworks import FWorker

    submit(launchpad, "first", [material("a")], maker, FireWorksSpec())
    taken, launch_id = launchpad.checkout_fw(FWorker(), "/nowhere")
    assert recover(launchpad, "first", lost_after=60) == 0
    assert states(launchpad)[taken.name] == "RUNNING"
    assert recover(launchpad, "first", lost_after=0) == 1
    assert states(launchpad)[taken.name] == "READY"
    assert launchpad.launches.find_one({"launch_id": launch_id})["state"] == "FIZZLED"


def test_a_worker_that_died_while_it_took_a_job_leaves_it_to_others(launchpad, maker):
    submit(launchpad, "first", [material("a")], maker, FireWorksSpec())
    launchpad.fireworks.update_one({"name": "default run"}, {"$set": {"state": "RESERVED"}})
    assert recover(launchpad, "first", lost_after=60) == 0
    assert recover(launchpad, "first", lost_after=0) == 1
    assert states(launchpad)["default run"] == "READY"


def test_a_job_that_failed_itself_runs_again(launchpad, maker):
    from fireworks import FWorker

    submit(launchpad, "first", [material("a")], maker, FireWorksSpec())
    taken, launch_id = launchpad.checkout_fw(FWorker(), "/nowhere")
    launchpad.mark_fizzled(launch_id)
    assert states(launchpad)[taken.name] == "FIZZLED"
    assert recover(launchpad, "first") == 1
    assert states(launchpad)[taken.name] == "READY"
    assert recover(launchpad, "another") == 0


def test_a_lock_of_a_dead_worker_is_removed(launchpad, maker, monkeypatch):
    monkeypatch.setattr("mlcharge_flows.campaign.recovery._LOCK_PAUSE", 0.01)
    submit(launchpad, "first", [material("a")], maker, FireWorksSpec())
    launchpad.workflows.update_many({}, {"$set": {"locked": True}})
    recover(launchpad, "first")
    assert launchpad.workflows.count_documents({"locked": {"$exists": True}}) == 0


def finish_all(launchpad):
    for collection in (launchpad.fireworks, launchpad.workflows):
        collection.update_many({}, {"$set": {"state": "COMPLETED"}})
    for workflow in launchpad.workflows.find({}):
        done = dict.fromkeys(workflow["fw_states"], "COMPLETED")
        launchpad.workflows.update_one({"_id": workflow["_id"]}, {"$set": {"fw_states": done}})


@pytest.mark.parametrize(
    ("failure", "retry_failed", "again"),
    [
        ("MemoryError: ", False, {"superposition run"}),
        ("no initial density: OSError: [Errno 28] No space left", False, {"superposition density"}),
        ("not converged: 100 steps", False, set()),
        ("not converged: 100 steps", True, {"superposition run"}),
    ],
)
def test_failed_arms_run_again(launchpad, maker, failure, retry_failed, again):
    submit(launchpad, "first", [material("a"), material("b")], maker, FireWorksSpec())
    finish_all(launchpad)
    good = ScfRun(folder="", n_total=9, started_from="atoms")
    arms = {"default": good, "superposition": ScfRun(folder="", failure=failure)}
    given = {"formula": "He", "n_atoms": 1, "protocol": maker.protocol}
    results = [
        Comparison(material_id="a", arms=arms, **given),
        Comparison(material_id="b", arms=dict.fromkeys(arms, good), **given),
    ]
    assert retry(launchpad, "first", results, maker, retry_failed=retry_failed) == len(again)
    ready = {job["name"] for job in launchpad.fireworks.find({"state": "READY"})}
    assert ready == again
    waiting = {job["name"] for job in launchpad.fireworks.find({"state": "WAITING"})}
    assert ("compare" in waiting) is bool(again)
    assert "default run" not in ready | waiting


def test_a_worker_that_died_before_its_workflow_knew_of_the_end_is_made_up_for(launchpad, maker):
    from fireworks import FWAction, FWorker

    submit(launchpad, "first", [material("a")], maker, FireWorksSpec())
    launchpad.fireworks.update_one(
        {"name": "superposition density"}, {"$set": {"spec._priority": 1}}
    )
    taken, launch_id = launchpad.checkout_fw(FWorker(), "/nowhere")
    workflow = launchpad.workflows.find_one({})
    launchpad.complete_launch(launch_id, FWAction())
    assert states(launchpad)["default count"] == "READY"
    # The job is written as completed, the workflow and the jobs that follow are not.
    launchpad.workflows.replace_one({"_id": workflow["_id"]}, workflow)
    launchpad.fireworks.update_one({"name": "default count"}, {"$set": {"state": "WAITING"}})
    assert recover(launchpad, "first") == 0
    assert states(launchpad)[taken.name] == "COMPLETED"
    assert states(launchpad)["default count"] == "READY"
    noted = launchpad.workflows.find_one({})["fw_states"]
    assert noted[str(taken.fw_id)] == "COMPLETED"
