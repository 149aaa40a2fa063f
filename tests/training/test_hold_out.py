"""A material stays on its side."""

from mlcharge_flows.training.hold_out import hold_out

SPLITS = {f"mp-{n}": "validation" if n % 50 == 0 else "train" for n in range(2000)}


def test_sides_are_apart_complete_and_keep_what_the_source_marked():
    train, validation = hold_out(SPLITS, 0.1)
    assert sorted(train + validation) == sorted(SPLITS)
    assert {name for name, split in SPLITS.items() if split == "validation"} <= set(validation)
    assert 0.09 < (len(validation) - 40) / 1960 < 0.11


def test_growth_moves_no_material():
    half = {name: SPLITS[name] for name in list(SPLITS)[::2]}
    assert set(hold_out(half, 0.1)[0]) <= set(hold_out(SPLITS, 0.1)[0])


def test_a_smaller_share_is_a_subset_and_leaves_the_validation_alone():
    sides = [hold_out(SPLITS, 0.1, share) for share in (0.25, 0.5, 1.0)]
    assert set(sides[0][0]) < set(sides[1][0]) < set(sides[2][0])
    assert sides[0][1] == sides[1][1] == sides[2][1]
    assert 0.22 < len(sides[0][0]) / len(sides[2][0]) < 0.28


def test_test_materials_are_on_neither_side():
    marked = {name: "test" if name.endswith("7") else split for name, split in SPLITS.items()}
    sides = hold_out(marked, 0.1)
    assert not any(name.endswith("7") for side in sides for name in side)


def test_what_is_recalled_trains_and_never_judges():
    sides = hold_out(SPLITS, 0.1)
    marked = {name: "recalled" if name.endswith("7") else split for name, split in SPLITS.items()}
    train, validation = hold_out(marked, 0.1)
    assert train == sides[0], "those that were held out are on neither side"
    assert validation == [name for name in sides[1] if not name.endswith("7")]
