import itertools
from dataclasses import replace

import h5py
import numpy as np
import pytest
from synthetic_records import PAW, packed, paw_dataset

from mlcharge_flows.density.paw_dataset import PawDataset
from mlcharge_flows.training.store import StoreError, merge, open_store, write_store
from mlcharge_flows.training.summary import summarize


def test_what_is_written_is_read(tmp_path):
    record = replace(packed(), encut=350.0)
    store = write_store(tmp_path / "one.h5", [record])
    (again,) = store
    same = (
        "shape",
        "n_electrons",
        "energy",
        "encut",
        "id",
        "n_total",
        "start_error",
        "fingerprint",
    )
    for name in same:
        assert getattr(again, name) == getattr(record, name)
    assert vars(again.origin) == vars(record.origin)
    assert again.crystal.symbols == record.crystal.symbols
    np.testing.assert_array_equal(again.energies, record.energies)
    np.testing.assert_array_equal(again.density().total, record.density().total)
    np.testing.assert_array_equal(again.start().total, record.start().total)
    for symbol, data_set in record.paw.items():
        assert again.paw[symbol].matches(data_set)


def test_records_are_found_by_name_and_split(tmp_path):
    records = [packed("b", split="validation", seed=1), packed("a")]
    store = write_store(tmp_path / "two.h5", records)
    assert len(store) == 2
    assert store["b"].fingerprint == records[0].fingerprint
    assert store.splits() == {"a": "train", "b": "validation"}
    with pytest.raises(KeyError):
        store["c"]


def test_merging_does_not_depend_on_the_order(tmp_path):
    files = [tmp_path / f"{name}.h5" for name in "abc"]
    write_store(files[0], [packed("a"), packed("twice", seed=3)])
    write_store(files[1], [packed("b", seed=1)])
    # The same material, run on another machine: a little different.
    other = packed("twice", seed=3)
    other.packed_occupancies.integers[0] += 1
    write_store(files[2], [other])
    merged = [
        [record.fingerprint for record in merge(order, tmp_path / "all.h5")]
        for order in itertools.permutations(files)
    ]
    assert all(fingerprints == merged[0] for fingerprints in merged)
    assert open_store(tmp_path / "all.h5").ids == ("a", "b", "twice")
    assert merge(files, tmp_path / "some.h5", without=["twice", "c"]).ids == ("a", "b")


def test_a_run_takes_the_place_of_a_prediction(tmp_path):
    run, recalled = tmp_path / "run.h5", tmp_path / "recalled.h5"
    for seed in (3, 4):  # whichever fingerprint is the lower one
        write_store(run, [packed("a", seed=seed)])
        other = packed("a", seed=seed, split="recalled")
        other.packed_occupancies.integers[0] += seed
        write_store(recalled, [other])
        for order in ([run, recalled], [recalled, run]):
            assert merge(order, tmp_path / "all.h5").splits() == {"a": "train"}


def test_a_store_merges_into_itself(tmp_path):
    write_store(tmp_path / "a.h5", [packed("a")])
    write_store(tmp_path / "b.h5", [packed("b", seed=1)])
    merge([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path / "a.h5")
    assert open_store(tmp_path / "a.h5").ids == ("a", "b")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"protocol": "q"}, "b is of protocol q, the others of p"),
        ({"paw": {**PAW, "Cl": paw_dataset("Cl", "PAW_PBE Cl_h")}}, "PAW_PBE Cl_h"),
        ({"paw": {**PAW, "Cl": paw_dataset("Cl", width=0.6)}}, "different PAW data sets"),
        (
            {"paw": {s: PawDataset(s, d.titel, None, d.channels) for s, d in PAW.items()}},
            "different PAW",
        ),
    ],
)
def test_what_does_not_belong_together_does_not_merge(tmp_path, other, message):
    write_store(tmp_path / "a.h5", [packed("a")])
    write_store(tmp_path / "b.h5", [packed("b", **other)])
    with pytest.raises(StoreError, match=message):
        merge([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path / "all.h5")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "b.h5"]


def test_different_crystals_of_one_name_do_not_merge(tmp_path):
    write_store(tmp_path / "a.h5", [packed("a")])
    write_store(tmp_path / "b.h5", [packed("a", a=4.1)])
    with pytest.raises(StoreError, match="different crystals named a"):
        merge([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path / "all.h5")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.h5"
    write_store(path, [packed("a")])
    before = path.read_bytes()
    with pytest.raises(StoreError, match="occurs twice"):
        write_store(path, [packed("b"), packed("b")])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_store_is_refused_in_one_line(tmp_path):
    path = tmp_path / "a.h5"
    with pytest.raises(StoreError, match="no such file"):
        open_store(path)
    path.write_text("POSCAR")
    with pytest.raises(StoreError, match="not a whole store"):
        open_store(path)
    h5py.File(path, "w").close()
    with pytest.raises(StoreError, match="not an mlcharge data set"):
        open_store(path)
    with pytest.raises(StoreError, match="nothing to write"):
        write_store(path, [])


def test_the_summary_counts(tmp_path):
    records = [packed("b", split="validation", seed=1), replace(packed("a"), encut=520.0)]
    summary = summarize(write_store(tmp_path / "two.h5", records))
    assert summary["ENCUT"] == "520 eV 1, not known 1"
    assert summary["materials"] == "2"
    assert summary["splits"] == "train 1, validation 1"
    assert summary["elements"] == "2: Cl 2, Na 2"
    assert summary["median steps from atoms"] == "3"


def test_the_summary_does_not_guess_steps(tmp_path):
    records = [packed("a"), replace(packed("b", seed=1), energies=())]
    assert summarize(write_store(tmp_path / "one.h5", records))["median steps from atoms"] == "3"
    without = write_store(tmp_path / "none.h5", records[1:])
    assert summarize(without)["median steps from atoms"] == "not known"
