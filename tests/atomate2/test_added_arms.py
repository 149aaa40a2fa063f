"""Arms added to finished materials: what is there is kept, what is missing runs once."""

import os
import signal
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import pytest
from jobflow import Maker, job
from pymatgen.core import Lattice, Structure

from mlcharge_flows.atomate2.flows import material as flow
from mlcharge_flows.atomate2.flows.compare import CompareDensitiesMaker, comparison_static
from mlcharge_flows.atomate2.flows.dataset import DensitySampleMaker
from mlcharge_flows.atomate2.sets.comparison import ComparisonSetGenerator
from mlcharge_flows.campaign import local
from mlcharge_flows.campaign import worker as material
from mlcharge_flows.campaign.local import FolderError, finished_materials, read_results, run_locally
from mlcharge_flows.campaign.material_folder import ADDING, RESULT, MaterialFolder
from mlcharge_flows.scf.run import ScfRun
from mlcharge_flows.sources import (
    Converged,
    InitialDensity,
    InitialDensityDocument,
    Source,
    SourceError,
    parse_arms,
)
from mlcharge_flows.structures import Material

RUNS = "runs"


@dataclass
class StandInRun(Maker):
    """Stands for a run: notes in the material's folder that it ran; some kill their process."""

    name: str = "run"
    maker: object = None
    initial_density: object = None
    icharg: int = 1
    on_error: str = "record"
    explicit_kpoints: bool = False

    @job
    def make(self, structure, document=None):
        with Path("..", RUNS).open("a") as file:
            file.write(f"{self.name}\n")
        Path("OUTCAR").write_text(self.name)
        if os.environ.get("KILLER") == f"{Path.cwd().parent.name} {self.name}":
            os.kill(os.getpid(), signal.SIGKILL)
        return {"dir_name": str(Path.cwd())}


@job(output_schema=ScfRun)
def counted(run_dir):
    """Stands for the count of a run, with digits that a careless copy would lose."""
    return ScfRun(folder=run_dir, n_total=9, energy=-1.0 / 3, energies=[-0.1, None, -1.0 / 3])


@dataclass(frozen=True)
class StandInSource(Source):
    """Stands for a source of any kind."""

    sha: str | None = None
    needs_run: bool = False
    word = "stand-in"

    @property
    def checkpoint(self):
        return self.sha

    @property
    def needs_reference_run(self):
        return self.needs_run

    def evaluate(self, inputs, given=None):
        raise SourceError("stands in")


@dataclass
class StandInWriter(Maker):
    """Stands for the job that writes an initial density: notes the earlier run it was given."""

    name: str = "density"
    initial_density: object = None
    on_error: str = "record"

    @job(output_schema=InitialDensityDocument)
    def make(self, structure, generator, prev_dir=None):
        Path("prev").write_text(str(prev_dir))
        return InitialDensityDocument(density_source="stand-in")


def stand_in_material(material_, maker, folder):
    """A material with stand-ins, for a process of its own."""
    flow.RunFromDensityMaker, flow.count = StandInRun, counted
    flow.InitialDensityMaker = StandInWriter
    return material.run_material(material_, maker, folder)


def in_this_process(materials, run, maker, folder, workers):
    yield from ((m, run(m, maker, folder / m.id)) for m in materials)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(flow, "RunFromDensityMaker", StandInRun)
    monkeypatch.setattr(flow, "InitialDensityMaker", StandInWriter)
    monkeypatch.setattr(flow, "count", counted)
    monkeypatch.setattr(local, "run_in_workers", in_this_process)


def crystal(a=3.0, name="a"):
    return Material(name, Structure(Lattice.cubic(a), ["He"], [[0, 0, 0]]), Path("test"))


def maker(*plain, **learned):
    """Maker with arms that no model predicts, and with learned ones by their checkpoints."""
    sources = {arm: StandInSource(needs_run=arm.startswith("converged")) for arm in plain}
    sources |= {arm: StandInSource(sha=sha) for arm, sha in learned.items()}
    return CompareDensitiesMaker(
        initial_densities={arm: InitialDensity(source) for arm, source in sources.items()}
    )


OTHER_SETTINGS = CompareDensitiesMaker(static_maker=comparison_static(gamma=True))


def ran(folder):
    return [line.removesuffix(" run") for line in (folder / RUNS).read_text().splitlines()]


def state(folder):
    """Every file with content and time, and where every link points to."""
    return {
        path.relative_to(folder): (path.stat().st_mtime_ns, path.is_symlink() or path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (RUNS, "flow.log", RESULT)
    }


def test_only_missing_arms_run_and_all_are_in_the_result(quick, tmp_path):
    (first,) = run_locally([crystal()], maker("superposition", old="sha of old"), tmp_path)
    before, log = state(tmp_path / "a"), (tmp_path / "a" / "flow.log").read_text()
    (union,) = run_locally([crystal()], maker("superposition", new="sha of new"), tmp_path)
    assert ran(tmp_path / "a") == ["default", "superposition", "old", "new"]
    assert list(union.arms) == ["default", "superposition", "old", "new"]
    assert union.models == {"old": "sha of old", "new": "sha of new"}
    assert {arm: union.arms[arm] for arm in first.arms} == first.arms
    assert read_results(tmp_path) == [union]
    after = state(tmp_path / "a")
    assert {path: after[path] for path in before} == before
    assert (tmp_path / "a" / "new-run" / "OUTCAR").read_text() == "new run"
    assert (tmp_path / "a" / "flow.log").read_text().startswith(log)
    assert not (tmp_path / "a" / ADDING).exists()


def test_an_arm_of_two_sources_has_folders_of_its_name(quick, tmp_path):
    (found,) = run_locally([crystal()], maker("learned/atomic"), tmp_path)
    assert list(found.arms) == ["default", "learned/atomic"]
    assert (tmp_path / "a" / "learned-atomic-run" / "OUTCAR").is_file()


def test_what_holds_more_is_finished(quick, tmp_path):
    run_locally([crystal()], maker("superposition", "converged"), tmp_path)
    for asked in (maker(), maker("converged"), maker("superposition", "converged")):
        (found,) = run_locally([crystal()], asked, tmp_path)
        assert set(found.arms) == {"default", "superposition", "converged"}
        assert finished_materials([crystal()], asked, tmp_path) == {"a": found}
    assert len(ran(tmp_path / "a")) == 3


def test_a_density_that_needs_the_converged_run_gets_that_of_before(quick, tmp_path):
    (first,) = run_locally([crystal()], maker(), tmp_path)
    run_locally([crystal()], maker("superposition", "converged"), tmp_path)
    assert (tmp_path / "a" / "converged-density" / "prev").read_text() == first.arms[
        "default"
    ].folder
    assert (tmp_path / "a" / "superposition-density" / "prev").read_text() == "None"


def test_a_reference_that_was_lost_is_no_converged_run(quick, tmp_path):
    run_locally([crystal()], maker(), tmp_path)
    MaterialFolder(tmp_path / "a").write_result(
        material.failed_comparison(crystal(), maker(), "no luck"), crystal().structure
    )
    run_locally([crystal()], maker("converged"), tmp_path)
    assert (tmp_path / "a" / "converged-density" / "prev").read_text() == "None"


def test_a_converged_run_that_is_gone_is_named_in_one_line(tmp_path, inputs):
    with pytest.raises(SourceError, match=f"^{tmp_path}/gone: the earlier run is gone") as cause:
        Converged().evaluate(replace(inputs, reference_run=tmp_path / "gone"))
    assert "\n" not in str(cause.value)


@pytest.mark.parametrize(
    ("asked", "a", "obstacle"),
    [
        (maker("superposition", learned="another"), 3.0, "its arm 'learned' is finished with ano"),
        (maker(learned=None, new="new"), 3.0, "its arm 'learned' is finished with another check"),
        (maker("converged"), 3.5, "finished with another structure"),
        (
            CompareDensitiesMaker(static_maker=comparison_static(gamma=True)),
            3.0,
            "finished with other settings",
        ),
        (DensitySampleMaker(), 3.0, r"finished with other arms \(default, learned\)"),
    ],
    ids=["checkpoint", "no checkpoint", "structure", "settings", "data set"],
)
def test_what_is_finished_with_something_else_is_refused(quick, tmp_path, asked, a, obstacle):
    (first,) = run_locally([crystal()], maker(learned="sha"), tmp_path)
    before = state(tmp_path / "a")
    with pytest.raises(FolderError, match=f"a: {obstacle}.*; choose another --out, or remove it$"):
        run_locally([crystal(name="new"), crystal(a)], asked, tmp_path)
    assert finished_materials([crystal(a)], asked, tmp_path) == {}
    assert read_results(tmp_path) == [first]
    assert state(tmp_path / "a") == before
    assert not (tmp_path / "new").exists()


def test_a_packed_run_takes_no_arms(quick, tmp_path):
    run_locally([crystal()], maker(), tmp_path)
    (tmp_path / "a" / "pack").mkdir()
    assert list(finished_materials([crystal()], maker(), tmp_path)) == ["a"]
    with pytest.raises(FolderError, match="of a data set"):
        run_locally([crystal()], maker("superposition"), tmp_path)


def test_a_flow_that_fails_leaves_what_was_there(quick, tmp_path, monkeypatch):
    (first,) = run_locally([crystal()], maker(old="sha of old"), tmp_path)
    before = state(tmp_path / "a")
    monkeypatch.setattr(flow, "RunFromDensityMaker", None)
    (union,) = run_locally([crystal()], maker("converged", new="sha of new"), tmp_path)
    assert {arm: union.arms.pop(arm) for arm in first.arms} == first.arms
    assert {arm: run.failure.partition(":")[0] for arm, run in union.arms.items()} == {
        "converged": "TypeError",
        "new": "TypeError",
    }
    assert union.models == {"old": "sha of old", "new": "sha of new"}
    assert before.items() <= state(tmp_path / "a").items()


@pytest.mark.parametrize("killer", ["a new run", ""], ids=["while it runs", "before its result"])
def test_a_killed_addition_is_taken_up(quick, tmp_path, monkeypatch, killer):
    folder = tmp_path / "a"
    (first,) = run_locally([crystal()], maker("superposition"), tmp_path)
    before = state(folder)
    asked = maker("superposition", "converged", new="sha")
    monkeypatch.setenv("KILLER", killer)
    process = get_context("spawn").Process(
        target=stand_in_material, args=(crystal(), asked, folder)
    )
    process.start()
    process.join()
    assert process.exitcode == (-signal.SIGKILL if killer else 0)
    left = set(folder.iterdir())
    assert read_results(tmp_path) == [first]
    assert finished_materials([crystal()], asked, tmp_path) == {}
    (folder / "thoughts.txt").write_text("of the user")

    monkeypatch.delenv("KILLER")
    (union,) = run_locally([crystal()], asked, tmp_path)
    assert list(union.arms) == ["default", "superposition", "converged", "new"]
    assert before.items() <= state(folder).items()
    assert (folder / "thoughts.txt").exists()
    folders = {path.resolve() for path in folder.iterdir() if path.is_symlink()}
    assert set(folder.glob("job_*")) == folders, "every folder of a job is of an arm"
    assert not any(path.is_dir() and path not in folders for path in left - set(folder.iterdir()))
    assert ran(folder)[:2] == ["default", "superposition"]
    assert ran(folder)[2:] == ["converged", "new"] * 2


def test_a_note_of_an_addition_that_was_finished_removes_nothing(quick, tmp_path, monkeypatch):
    run_locally([crystal()], maker(), tmp_path)
    asked = maker("superposition")
    found = material.run_material(crystal(), asked, tmp_path / "a")
    note = (tmp_path / "a" / ADDING).read_text()
    MaterialFolder(tmp_path / "a").write_result(found, crystal().structure)
    (tmp_path / "a" / ADDING).write_text(note)  # killed between the result and its removal
    before = state(tmp_path / "a")
    (union,) = run_locally([crystal()], maker("superposition", "converged"), tmp_path)
    assert found.arms.items() <= union.arms.items()
    del before[Path(ADDING)]
    assert before.items() <= state(tmp_path / "a").items()


@pytest.mark.slow
def test_an_addition_that_kills_its_worker_is_lost_alone(quick, tmp_path, monkeypatch):
    materials = [crystal(name="a"), crystal(name="b")]
    first = run_locally(materials, maker("superposition"), tmp_path)
    before = state(tmp_path / "a")
    monkeypatch.undo()
    monkeypatch.setattr(local, "run_material", stand_in_material)
    monkeypatch.setenv("KILLER", "a new run")
    seen = []
    found = run_locally(materials, maker("converged", new="x"), tmp_path, 1, seen.append)
    assert seen == found
    for old, union in zip(first, found, strict=True):
        assert old.arms.items() <= union.arms.items()
    cause = "its worker process was killed"
    assert [found[0].arms[arm].failure for arm in ("converged", "new")] == [cause, cause]
    assert [found[1].arms[arm].failure for arm in ("converged", "new")] == [None, None]
    assert before.items() <= state(tmp_path / "a").items()
    assert ran(tmp_path / "a").count("default") == 1
    assert ran(tmp_path / "a").count("new") == local.MAX_WORKER_CRASHES
    assert ran(tmp_path / "b") == ["default", "superposition", "converged", "new"]


def test_an_arm_that_was_taken_out_of_the_result_runs_again(quick, tmp_path):
    (first,) = run_locally([crystal()], maker("superposition"), tmp_path)
    default = {"default": first.arms["default"]}
    only_default = first.model_copy(update={"arms": default})
    MaterialFolder(tmp_path / "a").write_result(only_default, crystal().structure)
    (again,) = run_locally([crystal()], maker("superposition"), tmp_path)
    assert ran(tmp_path / "a") == ["default", "superposition", "superposition"]
    folder = Path(again.arms["superposition"].folder)
    assert (tmp_path / "a" / "superposition-run").resolve() == folder.resolve()


@pytest.mark.gpaw
@pytest.mark.slow
def test_arms_are_added_for_real(tmp_path, monkeypatch):
    pytest.importorskip("gpaw", reason="needs the gpaw extra")
    monkeypatch.setattr(local, "run_in_workers", in_this_process)
    cheap = comparison_static()
    cheap.input_set_generator = ComparisonSetGenerator(
        user_incar_settings={"ENCUT": 250}, user_kpoints_settings={"reciprocal_density": 4}
    )

    def arms(*names):
        return CompareDensitiesMaker(static_maker=cheap, initial_densities=parse_arms(names))

    run_locally([crystal()], arms("superposition"), tmp_path)
    (union,) = run_locally([crystal()], arms("converged"), tmp_path)
    assert {arm: run.exclusion_reason for arm, run in union.arms.items()} == dict.fromkeys(
        ["default", "superposition", "converged"]
    )
    assert union.arms["converged"].n_total <= union.arms["default"].n_total
    (chgcar,) = (tmp_path / "a" / "default-run").glob("CHGCAR*")
    chgcar.unlink()
    (union,) = run_locally([crystal()], arms("converged/atomic"), tmp_path)
    failure = union.arms["converged/atomic"].failure
    assert failure.startswith("no initial density: ")
    assert "CHGCAR: cannot be read (No such file" in failure
