"""What half-written files, kills and failing machines cost: one result, or one more try."""

import json
import os
import re
import signal
from pathlib import Path

import pytest
from pymatgen.core import Lattice, Structure

from mlcharge_flows.atomate2.flows.compare import CompareDensitiesMaker
from mlcharge_flows.campaign import local, material_folder, worker
from mlcharge_flows.campaign.local import (
    finished_materials,
    read_results,
    run_locally,
    unreadable_results,
)
from mlcharge_flows.campaign.material_folder import MaterialFolder
from mlcharge_flows.campaign.request import CampaignRequest
from mlcharge_flows.campaign.worker import failed_comparison
from mlcharge_flows.scf.comparison import Comparison
from mlcharge_flows.scf.run import ScfRun
from mlcharge_flows.sources import parse_arms
from mlcharge_flows.structures import Material

ARMS = ("default", "superposition", "converged")


def material(name, a=3.0):
    return Material(name, Structure(Lattice.cubic(a), ["He"], [[0, 0, 0]]), Path("test"))


@pytest.fixture
def maker():
    return CompareDensitiesMaker(initial_densities=parse_arms(["superposition", "converged"]))


def run_material(material, maker, folder):
    """A material in no time; failures by arm, and kills by material, are in the environment."""
    place = MaterialFolder(folder)
    finished = place.read_result()
    place.begin(CampaignRequest.from_maker(maker), material.structure, finished)
    with (folder.parent / "tries").open("a") as file:
        file.write(f"{material.id}\n")
    if material.id in os.environ.get("KILLERS", "").split():
        os.kill(os.getpid(), signal.SIGKILL)
    failures = json.loads(os.environ.get("FAILURES", "{}"))
    arms = dict(finished.arms) if finished else {}
    for arm in maker.arms:
        if arm in arms:
            continue
        run = folder / f"job_{arm}_{len(list(folder.glob('job_*')))}"
        run.mkdir()
        link = folder / f"{arm}-run"
        link.unlink(missing_ok=True)
        link.symlink_to(run.name)
        arms[arm] = ScfRun(folder=str(run), n_total=9, failure=failures.get(arm))
    return Comparison(
        material_id=material.id, formula="He", n_atoms=1, protocol=maker.protocol, arms=arms
    )


def in_this_process(materials, run, maker, folder, workers):
    yield from ((m, run(m, maker, folder / m.id)) for m in materials)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(local, "run_material", run_material)
    monkeypatch.setattr(local, "run_in_workers", in_this_process)


def tries(folder):
    path = folder / "tries"
    found = path.read_text().split() if path.exists() else []
    path.unlink(missing_ok=True)
    return found


@pytest.fixture
def finished(tmp_path, maker):
    """Three materials that are finished, and their folder."""
    materials = [material(name) for name in "abc"]
    run_locally(materials, maker, tmp_path)
    assert tries(tmp_path) == ["a", "b", "c"]
    return materials, tmp_path


BROKEN = {
    "half": lambda text: text[: len(text) // 2],
    "empty": lambda text: b"",
    "zeros": lambda text: bytes(len(text)),
    "another document": lambda text: b"[]",
    "deep": lambda text: b"[" * 100_000,
    "no text": lambda text: b"\xff\xfe\x00",
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_broken_result_is_counted_again_from_its_runs(finished, maker, monkeypatch, broken):
    materials, folder = finished
    before = {path: path.read_bytes() for path in folder.glob("*/comparison.json")}
    path = folder / "b" / "comparison.json"
    path.write_bytes(broken(path.read_bytes()))
    (line,) = unreadable_results(folder)
    assert line.startswith(f"{path}: is half-written")

    def count(run_dir):
        return ScfRun(folder=run_dir, n_total=9)

    monkeypatch.setattr(worker.count, "original", count)
    run_locally(materials, maker, folder)
    assert tries(folder) == [], "no run is done again"
    assert {path: path.read_bytes() for path in folder.glob("*/comparison.json")} == before
    assert (folder / "b" / "comparison.json.unreadable").exists()
    assert unreadable_results(folder) == []


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (r'"n_atoms": \d+', '"n_atoms": ' + "9" * 400, "n_atoms is 999"),
        (r'"n_total": \d+', '"n_total": -5', "n_total is -5"),
        (r'"n_total": \d+', '"n_total": 1000000000', "n_total is 1000000000"),
        (r'"energy": \S+,', '"energy": NaN,', "an energy is not finite"),
        (r'"n_total": \d+', '"n_total": 5, "n_total": 6', "a key stands twice"),
        (r'"n_total": \d+', '"n_total": 10.5', "n_total: Input should be a valid integer"),
    ],
)
def test_a_result_that_contradicts_itself_is_named(finished, old, new, reason):
    _, folder = finished
    path = folder / "b" / "comparison.json"
    text, n = re.subn(old, new, path.read_text(), count=1)
    assert n
    path.write_text(text)
    (line,) = unreadable_results(folder)
    assert line.startswith(f"{path}: is half-written, or no result")
    assert reason in line
    assert [c.material_id for c in read_results(folder)] == ["a", "c"]


def test_a_pipe_in_place_of_a_result_is_named(finished):
    _, folder = finished
    path = folder / "b" / "comparison.json"
    path.unlink()
    os.mkfifo(path)
    (line,) = unreadable_results(folder)
    assert "named pipe" in line


def test_a_broken_result_without_its_runs_costs_that_material_alone(finished, maker):
    materials, folder = finished
    (folder / "b" / "comparison.json").write_text("{")
    for link in (folder / "b").glob("*-run"):
        link.unlink()
    run_locally(materials, maker, folder)
    assert tries(folder) == ["b"]


def test_a_result_that_the_file_system_refuses_to_read_is_left_alone(finished, maker):
    materials, folder = finished
    path = folder / "b" / "comparison.json"
    whole = path.read_bytes()
    path.unlink()
    path.mkdir()  # as a file that may not be read, for a test that may read everything
    found = run_locally(materials, maker, folder)
    assert tries(folder) == []
    assert [c.arms["default"].failure is None for c in found] == [True, False, True]
    assert "comparison.json: cannot be read (Is a directory)" in found[1].arms["default"].failure
    assert len(list((folder / "b").glob("job_*"))) == len(ARMS), "its runs are there"
    path.rmdir()
    path.write_bytes(whole)
    run_locally(materials, maker, folder)
    assert tries(folder) == []


def clearing(folder):
    """States in which a kill can leave a folder that is being removed or made."""
    yield "structure is gone", lambda: (folder / "structure.json").unlink()
    yield "links are gone", lambda: [p.unlink() for p in folder.glob("*-run")]

    def half():
        (folder / "structure.json").unlink()
        (folder / "default-run").unlink()
        (folder / "job_default_0").rmdir()

    yield "half of it is gone", half
    yield "empty", lambda: [half(), [p.unlink() for p in folder.iterdir() if p.is_symlink()]]
    yield "half-written structure", lambda: (folder / "structure.json").write_text("{")
    yield "partial file", lambda: [half(), (folder / ".77-0badcafe.partial").write_text("{")]


@pytest.mark.parametrize("state", [name for name, _ in clearing(Path("x"))])
def test_a_kill_while_a_run_is_cleared_is_resumed(finished, maker, state):
    materials, folder = finished
    (folder / "b" / "comparison.json").unlink()
    dict(clearing(folder / "b"))[state]()
    run_locally(materials, maker, folder)
    assert tries(folder) == ["b"]
    assert len(finished_materials(materials, maker, folder)) == 3


def test_folders_disappear_and_appear_whole(finished, maker, monkeypatch):
    """Neither a kill in the middle of a removal nor one in that of a beginning leaves a part."""
    materials, folder = finished
    (folder / "b" / "comparison.json").unlink()

    class Killed(BaseException):
        pass

    def killed(*args, **kwargs):
        raise Killed

    monkeypatch.setattr(material_folder.shutil, "rmtree", killed)
    with pytest.raises(Killed):
        run_locally(materials, maker, folder)
    assert not (folder / "b").exists()
    monkeypatch.undo()
    monkeypatch.setattr(local, "run_material", run_material)
    monkeypatch.setattr(local, "run_in_workers", in_this_process)
    monkeypatch.setattr(material_folder, "atomic_write", killed)
    with pytest.raises(Killed):
        run_locally(materials, maker, folder)
    assert not (folder / "b").exists()
    (folder / ".begun-0").mkdir()
    monkeypatch.undo()
    monkeypatch.setattr(local, "run_material", run_material)
    monkeypatch.setattr(local, "run_in_workers", in_this_process)
    run_locally(materials, maker, folder)
    left = sorted(path.name for path in folder.iterdir() if path.is_dir())
    assert left == ["a", "b", "c"]


MACHINE = [
    "OSError: [Errno 28] No space left on device: '/scratch/CHGCAR'",
    "MemoryError: ",
    "no initial density: OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
    "FileNotFoundError: [Errno 2] No such file or directory: 'srun'",
    "SetupError: VASP_CMD: 'mpirun' is not an executable on this machine; correct it",
    "did not finish: killed, or still running",
    "did not start: slurmstepd: error: Detected 1 oom-kill event(s) in step 12.0",
    "ReturnCodeError: Job return code is -9. Terminating...",
    "its worker process was killed",
    "the arm left no document",
    "the executable wrote nothing",
    "no electronic step",
]
PHYSICS = [
    "not converged: 100 steps, NELM = 100",
    "stopped: ERROR: charge density could not be read from file CHGCAR for ICHARG>10",
    "no initial density: the model knows no Xe",
    "no electronic step: POSMAP internal error: symmetry equivalent atom not found",
    "did not finish: no OUTCAR; ReturnCodeError: Job return code is 1. Terminating...",
]


@pytest.mark.parametrize("cause", MACHINE)
def test_failures_of_the_machine_are_never_final(tmp_path, maker, monkeypatch, cause):
    monkeypatch.setenv("FAILURES", json.dumps({"superposition": cause}))
    (failed,) = run_locally([material("a")], maker, tmp_path)
    assert failed.arms["superposition"].failed_by_machine
    monkeypatch.delenv("FAILURES")
    (found,) = run_locally([material("a")], maker, tmp_path)
    assert found.arms["superposition"].failure is None
    for arm in ("default", "converged"):
        assert found.arms[arm] == failed.arms[arm], "what has a result stays"
    assert tries(tmp_path) == ["a", "a"]


@pytest.mark.parametrize("cause", PHYSICS)
def test_failures_of_the_material_are_final_unless_another_try_is_asked_for(
    tmp_path, maker, monkeypatch, cause
):
    monkeypatch.setenv("FAILURES", json.dumps({"converged": cause}))
    (failed,) = run_locally([material("a")], maker, tmp_path)
    monkeypatch.delenv("FAILURES")
    assert run_locally([material("a")], maker, tmp_path) == [failed]
    assert tries(tmp_path) == ["a"]
    runs = {arm: ScfRun(folder="", n_total=9, started_from="atoms") for arm in ARMS}
    counted = failed.model_copy(update={"arms": {**runs, "converged": failed.arms["converged"]}})
    MaterialFolder(tmp_path / "a").write_result(counted, material("a").structure)
    (found,) = run_locally([material("a")], maker, tmp_path, retry_failed=True)
    assert found.arms["converged"].failure is None
    assert found.arms["default"] == counted.arms["default"]
    assert tries(tmp_path) == ["a"]


def test_an_arm_without_its_reference_is_retried_with_it(maker):
    lost = ScfRun(folder="", failure="MemoryError: ")
    needs = ScfRun(folder="", failure="no initial density: the earlier run is gone")
    arms = {"default": lost, "superposition": ScfRun(folder="", n_total=9), "converged": needs}
    failed = failed_comparison(material("a"), maker, "").model_copy(update={"arms": arms})
    request = CampaignRequest.from_maker(maker)
    assert request.arms_to_retry(failed) == {"default", "converged"}


def test_a_killed_worker_is_blamed_on_its_own_material(tmp_path, maker, monkeypatch):
    """Neighbors that run at the same time are neither blamed nor disturbed."""
    monkeypatch.undo()
    monkeypatch.setattr(local, "run_material", run_material)
    monkeypatch.setenv("KILLERS", "b")
    found = run_locally([material(name) for name in "abcd"], maker, tmp_path, workers=2)
    causes = {c.material_id: c.arms["default"].failure for c in found}
    assert causes == {"a": None, "b": "its worker process was killed", "c": None, "d": None}
    counted = tries(tmp_path)
    assert [counted.count(name) for name in "abcd"] == [1, local.MAX_WORKER_CRASHES, 1, 1]
    monkeypatch.delenv("KILLERS")
    assert run_locally([material("b")], maker, tmp_path)[0].arms["default"].failure is None
