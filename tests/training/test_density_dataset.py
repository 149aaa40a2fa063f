import itertools
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from synthetic_samples import PAW, gaussian_atom, packed
from typer.testing import CliRunner

from mlcharge_flows.cli.app import app
from mlcharge_flows.density.paw_dataset import PawDataset
from mlcharge_flows.training.dataset import (
    DatasetError,
    DensityDataset,
    merge_datasets,
    write_dataset,
)
from mlcharge_flows.training.evaluation import summarize

MOLECULES = Path(__file__).parents[2] / "test_files" / "molecules" / "molecules.h5"
"""A data set of version 1."""


def assert_same(found, expected):
    names = ("shape", "n_electrons", "energy", "encut", "id", "n_total", "baseline_nmae")
    for name in (*names, "fingerprint"):
        assert getattr(found, name) == getattr(expected, name)
    assert found.origin.source == expected.origin.source
    assert found.crystal.symbols == expected.crystal.symbols
    np.testing.assert_array_equal(found.energies, expected.energies)
    np.testing.assert_array_equal(found.density().total, expected.density().total)
    np.testing.assert_array_equal(found.superposition().total, expected.superposition().total)
    for symbol, paw_dataset in expected.paw.items():
        assert found.paw[symbol].matches(paw_dataset)


def as_version_1(path, split):
    """Give a written data set the names of version 1."""
    with h5py.File(path, "r+") as file:
        file.attrs["version"] = 1
        for atom in file["paw"].values():
            atom.move("atomic_occupancies", "record")
        for material in file["materials"].values():
            material.attrs["split"] = split
            for new, old in (
                ("baseline_nmae", "start_error"),
                ("coefficients_step", "waves_step"),
                ("augmentation_step", "occupancies_step"),
            ):
                material.attrs[old] = material.attrs[new]
                del material.attrs[new]
            material.move("coefficients", "waves")
            material.move("augmentation", "occupancies")


def test_a_written_sample_is_read_back(tmp_path):
    sample = replace(packed(), encut=350.0)
    (again,) = write_dataset(tmp_path / "one.h5", [sample])
    assert vars(again.origin) == vars(sample.origin)
    assert_same(again, sample)


def test_samples_are_found_by_name_and_split(tmp_path):
    samples = [packed("b", split="validation", seed=1), packed("a")]
    dataset = write_dataset(tmp_path / "two.h5", samples)
    assert len(dataset) == 2
    assert dataset["b"].fingerprint == samples[0].fingerprint
    assert dataset.splits() == {"a": "train", "b": "validation"}
    with pytest.raises(KeyError):
        dataset["c"]


def test_files_of_version_1_are_read_and_merged(tmp_path):
    sample = packed("a", split="pseudo-labeled")
    old = tmp_path / "old.h5"
    write_dataset(old, [sample])
    as_version_1(old, "recalled")
    assert DensityDataset(old).splits() == {"a": "pseudo-labeled"}
    assert_same(DensityDataset(old)["a"], sample)
    write_dataset(tmp_path / "new.h5", [packed("b", seed=1)])
    merged = merge_datasets([old, tmp_path / "new.h5"], tmp_path / "all.h5")
    assert_same(merged["a"], sample)
    assert_same(merged["b"], packed("b", seed=1))
    with h5py.File(merged.path) as file:
        assert file["materials/a"].keys() == file["materials/b"].keys()
        assert file["materials/a"].attrs.keys() == file["materials/b"].attrs.keys()
        assert file["materials/a"].attrs["split"] == "pseudo-labeled"


def test_a_file_of_an_earlier_release_is_read():
    dataset = DensityDataset(MOLECULES)
    with h5py.File(MOLECULES) as file:
        assert file.attrs["version"] == 1
    for sample in dataset:
        assert sample.density().n_electrons == pytest.approx(sample.n_electrons, abs=1e-9)
        assert 0 < sample.baseline_nmae < 100


def test_merging_does_not_depend_on_the_order(tmp_path):
    files = [tmp_path / f"{name}.h5" for name in "abc"]
    write_dataset(files[0], [packed("a"), packed("twice", seed=3)])
    write_dataset(files[1], [packed("b", seed=1)])
    # The same material on another machine: a little different.
    other = packed("twice", seed=3)
    other.packed_augmentation.integers[0] += 1
    write_dataset(files[2], [other])
    merged = [
        [sample.fingerprint for sample in merge_datasets(order, tmp_path / "all.h5")]
        for order in itertools.permutations(files)
    ]
    assert all(fingerprints == merged[0] for fingerprints in merged)
    assert DensityDataset(tmp_path / "all.h5").ids == ("a", "b", "twice")
    some = merge_datasets(files, tmp_path / "some.h5", without=["twice", "c"])
    assert some.ids == ("a", "b")


def test_a_run_replaces_a_pseudo_labeled_sample(tmp_path):
    run, predicted = tmp_path / "run.h5", tmp_path / "predicted.h5"
    for seed in (3, 4):  # whichever fingerprint is the lower one
        write_dataset(run, [packed("a", seed=seed)])
        other = packed("a", seed=seed, split="pseudo-labeled")
        other.packed_augmentation.integers[0] += seed
        write_dataset(predicted, [other])
        for order in ([run, predicted], [predicted, run]):
            assert merge_datasets(order, tmp_path / "all.h5").splits() == {"a": "train"}


def test_a_data_set_merges_into_itself(tmp_path):
    write_dataset(tmp_path / "a.h5", [packed("a")])
    write_dataset(tmp_path / "b.h5", [packed("b", seed=1)])
    merge_datasets([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path / "a.h5")
    assert DensityDataset(tmp_path / "a.h5").ids == ("a", "b")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"protocol": "q"}, "b is of protocol q, the others of p"),
        ({"paw": {**PAW, "Cl": gaussian_atom("Cl", "PAW_PBE Cl_h")}}, "PAW_PBE Cl_h"),
        (
            {"paw": {**PAW, "Cl": gaussian_atom("Cl", width=0.6)}},
            "of Cl than the others: the density",
        ),
        (
            {"paw": {s: PawDataset(s, d.titel, None, d.channels) for s, d in PAW.items()}},
            "different PAW",
        ),
    ],
)
def test_samples_of_different_settings_do_not_merge(tmp_path, other, message):
    write_dataset(tmp_path / "a.h5", [packed("a")])
    write_dataset(tmp_path / "b.h5", [packed("b", **other)])
    with pytest.raises(DatasetError, match=message):
        merge_datasets([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path / "all.h5")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "b.h5"]


def test_different_crystals_of_one_name_do_not_merge(tmp_path):
    write_dataset(tmp_path / "a.h5", [packed("a")])
    write_dataset(tmp_path / "b.h5", [packed("a", a=4.1)])
    with pytest.raises(DatasetError, match="different crystals named a"):
        merge_datasets([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path / "all.h5")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.h5"
    write_dataset(path, [packed("a")])
    before = path.read_bytes()
    with pytest.raises(DatasetError, match="occurs twice"):
        write_dataset(path, [packed("b"), packed("b")])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_other_files_are_refused_in_one_line(tmp_path):
    path = tmp_path / "a.h5"
    with pytest.raises(DatasetError, match="no such file"):
        DensityDataset(path)
    path.write_text("POSCAR")
    with pytest.raises(DatasetError, match="not a whole data set"):
        DensityDataset(path)
    h5py.File(path, "w").close()
    with pytest.raises(DatasetError, match="not an mlcharge data set"):
        DensityDataset(path)
    with pytest.raises(DatasetError, match="nothing to write"):
        write_dataset(path, [])


def damaged(path, where):
    """A data set of two samples, the second of them damaged in its arrays or attributes."""
    write_dataset(path, [packed(), replace(packed(), origin=replace(packed().origin, id="second"))])
    if where == "array":
        with h5py.File(path) as file:
            array = file["materials/second/coefficients"].id
            place, size = array.get_chunk_info(0).byte_offset, array.get_chunk_info(0).size
    else:
        place, size = path.read_bytes().index(b"baseline_nmae"), 8
    content = bytearray(path.read_bytes())
    content[place : place + size] = b"\xff" * size
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("where", ["array", "attribute"])
def test_a_damaged_sample_is_named_whatever_is_read(tmp_path, where):
    path = damaged(tmp_path / "bad.h5", where)
    dataset = DensityDataset(path)
    named = rf"^{path}: the sample of second is damaged \(.+\)$"
    assert dataset[packed().id].id == packed().id
    for read in (list, summarize, lambda found: found["second"]):
        with pytest.raises(DatasetError, match=named):
            read(dataset)
    with pytest.raises(DatasetError, match=named):
        merge_datasets([path], tmp_path / "merged.h5")
    assert not (tmp_path / "merged.h5").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("split", "--only", "bogus"), "--only bogus: {path} holds no such material; its splits"),
        (("merge", "--without", "nope"), "--without nope: no data set holds this material"),
    ],
)
def test_names_that_a_data_set_does_not_hold(tmp_path, words, message):
    path = tmp_path / "a.h5"
    write_dataset(path, [packed("a")])
    out = ["--out", str(tmp_path / "b.h5")] if words[0] == "merge" else []
    result = CliRunner().invoke(app, ["dataset", words[0], str(path), *words[1:], *out])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"mlcharge: {message.format(path=path)}")
    assert not (tmp_path / "b.h5").exists()


def test_the_summary_counts(tmp_path):
    samples = [packed("b", split="validation", seed=1), replace(packed("a"), encut=520.0)]
    summary = summarize(write_dataset(tmp_path / "two.h5", samples))
    assert summary["ENCUT"] == "520 eV 1, not known 1"
    assert summary["materials"] == "2"
    assert summary["splits"] == "train 1, validation 1"
    assert summary["elements"] == "2: Cl 2, Na 2"
    assert summary["median steps from atoms"] == "3"


def test_unknown_steps_do_not_enter_the_summary(tmp_path):
    samples = [packed("a"), replace(packed("b", seed=1), energies=())]
    assert summarize(write_dataset(tmp_path / "one.h5", samples))["median steps from atoms"] == "3"
    without = write_dataset(tmp_path / "none.h5", samples[1:])
    assert summarize(without)["median steps from atoms"] == "not known"
