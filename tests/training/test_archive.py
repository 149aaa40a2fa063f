"""Archives as they are: compressed files, POTCAR.spec, job stores, interruptions, large numbers."""

import bz2
import gzip
import json
import shutil
import tracemalloc
from hashlib import md5, sha256
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from synthetic_potcar import SILICON, potcar

pytest.importorskip("h5py", reason="needs the train extra")

from mlcharge_flows.cli.app import app
from mlcharge_flows.training.archive import Archive, count_reasons, find_runs, identity
from mlcharge_flows.training.dataset import DensityDataset
from mlcharge_flows.training.finished_run import RunError, read_finished_run
from mlcharge_flows.training.job_store import JobStoreError, run_folders
from mlcharge_flows.training.origin import Origin
from mlcharge_flows.training.packing import Packing
from mlcharge_flows.vasp.potcar import PotcarSearch


@pytest.fixture
def run(vasp_samples, tmp_path):
    """A function: a folder of the silicon run with files under other names and compressions."""

    def run(place, suffix="", pack=None, ending=""):
        folder = tmp_path / "archive" / place
        folder.mkdir(parents=True)
        for name in ("CHGCAR", "OUTCAR"):
            content = gzip.decompress((vasp_samples / "si2_aiida" / f"{name}.gz").read_bytes())
            (folder / f"{name}{suffix}{ending}").write_bytes(pack(content) if pack else content)
        return folder

    return run


@pytest.fixture
def library(silicon_library):
    return silicon_library


def pack(*words):
    result = CliRunner().invoke(app, ["dataset", "pack", *map(str, words), "--protocol", "PBE"])
    return result.exit_code, " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("suffix", "compress", "ending"),
    [
        ("", None, ""),
        ("", gzip.compress, ".gz"),
        ("", bz2.compress, ".bz2"),
        (".relax2", gzip.compress, ".gz"),
        (".relax2", bz2.compress, ".bz2"),
    ],
)
def test_every_form_of_a_run_gives_the_same_sample(
    run, vasp_samples, tmp_path, suffix, compress, ending
):
    folder = run("block_1/launcher_2", suffix, compress, ending)
    if suffix:  # what the first of two relaxations left is not taken
        (folder / f"CHGCAR.relax1{ending}").write_bytes(b"no density")
        (folder / f"OUTCAR.relax1{ending}").write_bytes(b"no run")
    out = tmp_path / "all.h5"
    status, error = pack(tmp_path / "archive", "--out", out)
    assert status == 0, error
    (sample,) = DensityDataset(out)
    expected = read_finished_run(vasp_samples / "si2_aiida", Origin("x", "PBE"))
    assert sample.fingerprint == expected.fingerprint
    assert not (tmp_path / "all.h5.parts").exists()


def test_data_sets_of_runs_without_potcar_come_from_the_library(run, library, tmp_path):
    folder = run("static")
    (folder / "POTCAR.spec").write_text("Si")
    status, error = pack(tmp_path / "archive", "--potcars", library, "--out", tmp_path / "a.h5")
    assert status == 0, error
    (sample,) = DensityDataset(tmp_path / "a.h5")
    assert sample.has_free_atoms
    (folder / "POTCAR").write_text(potcar())
    with_potcar = read_finished_run(folder, Origin("static", "PBE"))
    assert sample.fingerprint == with_potcar.fingerprint
    assert sample.baseline_nmae > 0


def test_a_library_that_lacks_the_data_set_is_told(run, library, tmp_path):
    run("static")
    shutil.rmtree(library / "POT_GGA_PAW_PBE")
    status, error = pack(tmp_path / "archive", "--potcars", library, "--out", tmp_path / "a.h5")
    assert status == 2
    assert f"there is no POTCAR, and none of {SILICON} in the library (--potcars)" in error
    assert pack(tmp_path / "archive", "--potcars", tmp_path / "no")[0] == 2


def test_two_releases_of_one_titel_are_told_apart_by_their_hash(run, library):
    from pymatgen.io.vasp.inputs import PotcarSingle

    folder = run("static")
    other = library / "POT_GGA_PAW_PBE_54"
    other.mkdir()
    (other / "POTCAR.Si").write_text(potcar(width=18.0))
    search = PotcarSearch([library])
    with pytest.raises(RunError, match="has 2 different data sets PAW_PBE Si 05Jan2001"):
        read_finished_run(folder, Origin("x", "PBE"), search)
    statistics = PotcarSingle(potcar(width=18.0)).spec()
    soft = potcar(width=18.0).encode()
    for spec in (
        {"titel": SILICON, "hash": md5(soft).hexdigest()},
        {"titel": SILICON, "hash": sha256(soft).hexdigest()},
        {"titel": SILICON, "hash": None, "summary_stats": statistics["summary_stats"]},
    ):
        (folder / "POTCAR.spec").write_text(json.dumps([spec]))
        (dataset,) = read_finished_run(folder, Origin("x", "PBE"), search).paw.values()
        found = dataset.form_factor_at(np.array([3.0]))[0]
        assert found == pytest.approx(4.0 * np.exp(-9.0 / 18.0), rel=1e-4)
    wrong = {
        "keywords": {"header": ["x"], "data": ["y"]},
        "stats": statistics["summary_stats"]["stats"],
    }
    spec = {"titel": SILICON, "hash": None, "summary_stats": wrong}
    (folder / "POTCAR.spec").write_text(json.dumps([spec]))
    with pytest.raises(RunError, match=r"is not the one that POTCAR\.spec names"):
        read_finished_run(folder, Origin("x", "PBE"), search)


def test_a_job_store_names_the_folders(run, tmp_path):
    folder = run("job_1")
    documents = [
        {"uuid": "a", "index": 1, "output": {"dir_name": f"node7.cluster:{folder}"}},
        {"uuid": "b", "index": 1, "output": {"dir_name": f"node7:{tmp_path}/archive/gone"}},
        {"uuid": "c", "index": 1, "output": {"other": 1}},
        {"uuid": "d", "index": 1, "output": {"dir_name": f"node8:{folder}"}},
    ]
    (tmp_path / "outputs.json").write_text(json.dumps(documents))
    store = tmp_path / "jobflow.yaml"
    store.write_text(
        "JOB_STORE:\n  docs_store:\n    type: JSONStore\n    key: uuid\n"
        f"    paths: [{tmp_path}/outputs.json]\n"
    )
    assert run_folders(store) == [folder, tmp_path / "archive" / "gone"]
    status, error = pack("--job-store", store, "--skip-bad", "--out", tmp_path / "all.h5")
    assert status == 0, error
    assert "archive/gone: there is no such folder" in error
    assert DensityDataset(tmp_path / "all.h5").ids == ("job_1",)
    for content in ("docs_store: {type: none}\n", "[1, 2\n"):
        store.write_text(content)
        with pytest.raises(JobStoreError, match="no JobStore of jobflow"):
            run_folders(store)
    with pytest.raises(JobStoreError, match="there is no such file"):
        run_folders(tmp_path / "none.yaml")


def test_an_interrupted_packing_goes_on_where_it_stopped(run, tmp_path, monkeypatch):
    """Also after the whole was refused for a run that cannot be used."""
    for place in ("a/static", "b/static", "c/static"):
        run(place)
    (tmp_path / "archive/b/static/OUTCAR").unlink()
    out = tmp_path / "all.h5"
    read = []
    original = read_finished_run

    def counted(folder, *rest, **options):
        read.append(Path(folder).parts[-2])
        return original(folder, *rest, **options)

    monkeypatch.setattr("mlcharge_flows.training.archive.read_finished_run", counted)
    packing = Packing(Archive([tmp_path / "archive"], protocol="PBE"), out, protocol="PBE")
    steps = packing.run()
    next(steps)
    steps.close()  # as if it were killed
    with (tmp_path / "all.h5.parts/journal.jsonl").open("a") as journal:
        journal.write('{"source": "cut')
    packing = Packing(Archive([tmp_path / "archive"], protocol="PBE"), out, protocol="PBE")
    list(packing.run())
    assert read == ["a", "b", "c"]
    assert packing.n_known == 1
    assert len(packing.problems) == 2  # b lacks OUTCAR, c is a again
    (tmp_path / "archive/c/static/OUTCAR").write_text("another file now")
    packing = Packing(Archive([tmp_path / "archive"], protocol="PBE"), out, protocol="PBE")
    list(packing.run())
    assert read == ["a", "b", "c", "c"]
    dataset = packing.write(allow_mixed=False, left_out=None)
    assert dataset.ids == ("a-static",)
    assert not packing.folder.exists()
    packing = Packing(Archive([tmp_path / "archive"], protocol="PS"), out, protocol="PS")
    assert packing.n_known == 0


def test_another_request_reads_everything_again(run, tmp_path):
    run("static")
    for protocol, known in (("PBE", 0), ("PBE", 1), ("other", 0)):
        packing = Packing(
            Archive([tmp_path / "archive"], protocol=protocol), tmp_path / "x.h5", protocol=protocol
        )
        list(packing.run())
        assert packing.n_known == known


def test_what_cannot_be_used_is_counted_by_its_reason(run, tmp_path):
    run("good")
    for place in ("one", "two"):
        (run(place) / "CHGCAR").unlink()
    (run("three") / "OUTCAR").unlink()
    status, error = pack(tmp_path / "archive", "--out", tmp_path / "all.h5")
    assert status == 2
    assert "3 of 4 runs cannot be used (2: there is no CHGCAR, 1: there is no OUTCAR" in error
    assert not (tmp_path / "all.h5").exists()
    status, error = pack(tmp_path / "archive", "--out", tmp_path / "all.h5", "--skip-bad")
    assert status == 0
    assert "4 of 4 runs had been read before" in error
    assert error.count("left out: ") == 3
    assert count_reasons(["/a: is the same crystal as /b/c", "/b: is the same crystal as /d"]) == {
        "is the same crystal": 2
    }


def test_runs_that_a_killed_campaign_was_removing_are_no_runs(tmp_path):
    root = tmp_path / ".hidden"
    for name in ("Si/job_1", ".removed-1/Si/job_1", ".begun-2/Ge"):
        (root / name).mkdir(parents=True)
        (root / name / "OUTCAR").touch()
    assert list(find_runs([root]).values()) == [root / "Si" / "job_1"]


def test_ten_thousand_folders_are_found_and_named_at_once(tmp_path):
    """Names follow from counts of the ends of paths, not from comparing each with each."""
    for number in range(1000):
        folder = tmp_path / f"block_{number % 7}" / f"launcher_{number}" / "static"
        folder.mkdir(parents=True)
        (folder / "OUTCAR.gz").touch()
    found = find_runs([tmp_path])
    assert len(found) == 1000
    assert found["launcher_999-static"].parts[-2] == "launcher_999"


def test_memory_does_not_grow_with_the_number_of_runs(run, tmp_path, monkeypatch):
    """Samples are written as they come; only their hashes are kept."""
    original = read_finished_run(run("a"), Origin("a", "PBE"))
    for number in range(60):
        folder = tmp_path / "many" / f"run_{number}"
        folder.mkdir(parents=True)
        (folder / "OUTCAR").touch()

    def shifted(folder, origin, *rest, **options):
        from dataclasses import replace

        crystal = original.crystal
        moved = replace(crystal, positions=crystal.positions + 0.001 * len(peaks))
        return replace(original, origin=origin, crystal=moved)

    monkeypatch.setattr("mlcharge_flows.training.archive.read_finished_run", shifted)
    packing = Packing(Archive([tmp_path / "many"]), tmp_path / "many.h5")
    peaks = [0]
    tracemalloc.start()
    for _ in packing.run():
        peaks += [tracemalloc.get_traced_memory()[0]]
    tracemalloc.stop()
    assert len(packing.write(allow_mixed=False, left_out=None)) == 60
    size = sum(array.nbytes for array in (original.packed_total.integers,))
    assert peaks[-1] - peaks[20] < 5 * size


def test_a_crystal_is_the_same_whichever_way_its_coordinates_are_wrapped(vasp_samples):
    from dataclasses import replace

    sample = read_finished_run(vasp_samples / "si2_aiida", Origin("x", "PBE"))
    crystal = sample.crystal
    wrapped = replace(sample, crystal=replace(crystal, positions=crystal.positions - 1.0))
    moved = replace(sample, crystal=replace(crystal, positions=crystal.positions + 1e-3))
    assert identity(wrapped) == identity(sample) != identity(moved)
