import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pymatgen.core import Lattice, Structure

from mlcharge_flows.atomate2.flows.compare import CompareDensitiesMaker, comparison_static
from mlcharge_flows.campaign import local
from mlcharge_flows.campaign.local import FolderError, finished_materials, read_results, run_locally
from mlcharge_flows.campaign.worker import failed_comparison
from mlcharge_flows.structures import Material


def material(name, a=3.0):
    return Material(name, Structure(Lattice.cubic(a), ["He"], [[0, 0, 0]]), Path("test"))


@pytest.fixture
def maker():
    return CompareDensitiesMaker(initial_densities={})


def run_material(material, maker, folder):
    """A material in no time; some kill their worker, one of them only at the first try."""
    folder.mkdir(parents=True)
    (folder / "structure.json").write_text(material.structure.to_json())
    again = folder.parent / f".{material.id}"
    if material.id == "killer" or (material.id == "unlucky" and not again.exists()):
        again.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return failed_comparison(material, maker, "stand-in")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(local, "run_material", run_material)


def test_finished_materials_are_not_run_again(tmp_path, maker):
    materials = [material("a"), material("b")]
    seen = []
    run_locally(materials[:1], maker, tmp_path, on_result=seen.append)
    both = run_locally(materials, maker, tmp_path, on_result=seen.append)
    assert [comparison.material_id for comparison in seen] == ["a", "b"]
    assert [comparison.material_id for comparison in both] == ["a", "b"]
    assert read_results(tmp_path) == both


def test_interrupted_materials_are_cleared_and_run_again(tmp_path, maker):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "structure.json").write_text("{")
    (tmp_path / "a" / "leftover").write_text("")
    run_locally([material("a")], maker, tmp_path)
    assert not (tmp_path / "a" / "leftover").exists()


def test_a_half_written_result_is_no_result(tmp_path, maker):
    run_locally([material("a")], maker, tmp_path)
    path = tmp_path / "a" / "comparison.json"
    path.write_text(path.read_text()[:50])
    assert finished_materials([material("a")], maker, tmp_path) == {}


def test_results_of_something_else_are_never_replaced(tmp_path, maker):
    run_locally([material("a")], maker, tmp_path)
    with pytest.raises(FolderError, match="choose another --out"):
        run_locally([material("a", a=3.5)], maker, tmp_path)
    with pytest.raises(FolderError, match="other settings; choose another --out"):
        run_locally(
            [material("a")],
            CompareDensitiesMaker(static_maker=comparison_static(gamma=True)),
            tmp_path,
        )
    assert len(read_results(tmp_path)) == 1


def test_folders_that_are_not_of_a_campaign_are_left_alone(tmp_path, maker):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "thesis.tex").write_text("years of work")
    with pytest.raises(FolderError, match="not of a campaign"):
        run_locally([material("a")], maker, tmp_path)
    assert (tmp_path / "a" / "thesis.tex").exists()


def test_a_file_in_place_of_the_folder(tmp_path, maker):
    (tmp_path / "out").write_text("")
    with pytest.raises(FolderError, match="out: cannot be written"):
        run_locally([material("a")], maker, tmp_path / "out")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(tmp_path, maker):
    tmp_path.chmod(0o555)
    with pytest.raises(FolderError, match="cannot be written"):
        run_locally([material("a")], maker, tmp_path)


def test_two_campaigns_do_not_share_a_folder(tmp_path, maker):
    with (
        local.locked(tmp_path),
        pytest.raises(FolderError, match="another mlcharge is running"),
    ):
        run_locally([material("a")], maker, tmp_path)


def test_a_killed_worker_loses_at_most_its_material(tmp_path, maker):
    names = ["a", "unlucky", "killer", "b"]
    comparisons = run_locally([material(name) for name in names], maker, tmp_path)
    causes = {c.material_id: c.arms["default"].failure for c in comparisons}
    assert causes == {
        "a": "stand-in",
        "unlucky": "stand-in",
        "killer": "its worker process was killed",
        "b": "stand-in",
    }


@pytest.mark.gpaw
@pytest.mark.slow
def test_a_killed_campaign_is_resumed(tmp_path):
    for name, a in (("first", 3.0), ("second", 3.1)):
        crystal = Structure(Lattice.cubic(a), ["He"], [[0, 0, 0]])
        crystal.to(filename=str(tmp_path / f"{name}.cif"))
    out = tmp_path / "out"
    command = [sys.executable, "-c", "from mlcharge_flows.cli.app import main; main()", "compare"]
    command += [str(tmp_path / "first.cif"), str(tmp_path / "second.cif")]
    command += ["--out", str(out), "--workers", "1", "--arms", "superposition"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    until(lambda: (out / "first" / "comparison.json").exists())
    until(lambda: list((out / "second").glob("job_*/vasp.out")))
    process.kill()
    process.wait()
    assert not (out / "second" / "comparison.json").exists()
    done = (out / "first" / "comparison.json").stat().st_mtime_ns
    time.sleep(1)  # the worker notices that its parent is gone
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "1 of 2 materials are finished already" in again.stdout
    assert (out / "first" / "comparison.json").stat().st_mtime_ns == done
    assert [comparison.material_id for comparison in read_results(out)] == ["first", "second"]
    assert (out / "report.html").exists()


def until(condition, seconds=240):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "nothing happened"
        time.sleep(0.1)
