"""A material keeps its split."""

from mlcharge_flows.training.split import PSEUDO_LABELED, canonical_split, split_materials

SPLITS = {f"mp-{n}": "validation" if n % 50 == 0 else "train" for n in range(2000)}


def test_the_splits_are_disjoint_complete_and_respect_the_source():
    train, validation = split_materials(SPLITS, 0.1)
    assert sorted(train + validation) == sorted(SPLITS)
    assert {name for name, split in SPLITS.items() if split == "validation"} <= set(validation)
    assert 0.09 < (len(validation) - 40) / 1960 < 0.11


def test_a_growing_data_set_moves_no_material():
    half = {name: SPLITS[name] for name in list(SPLITS)[::2]}
    assert set(split_materials(half, 0.1)[0]) <= set(split_materials(SPLITS, 0.1)[0])


def test_a_smaller_train_fraction_is_a_subset_with_the_same_validation_set():
    sets = [split_materials(SPLITS, 0.1, fraction) for fraction in (0.25, 0.5, 1.0)]
    assert set(sets[0][0]) < set(sets[1][0]) < set(sets[2][0])
    assert sets[0][1] == sets[1][1] == sets[2][1]
    assert 0.22 < len(sets[0][0]) / len(sets[2][0]) < 0.28


def test_test_materials_are_in_neither_set():
    marked = {name: "test" if name.endswith("7") else split for name, split in SPLITS.items()}
    sets = split_materials(marked, 0.1)
    assert not any(name.endswith("7") for one in sets for name in one)


def test_pseudo_labeled_materials_are_never_in_the_validation_set():
    sets = split_materials(SPLITS, 0.1)
    marked = {
        name: PSEUDO_LABELED if name.endswith("7") else split for name, split in SPLITS.items()
    }
    train, validation = split_materials(marked, 0.1)
    assert train == sets[0], "those of the validation set are in neither"
    assert validation == [name for name in sets[1] if not name.endswith("7")]


def test_the_old_name_of_pseudo_labeled_is_read():
    assert canonical_split("recalled") == PSEUDO_LABELED
    assert canonical_split("train") == "train"
