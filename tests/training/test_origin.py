import pytest

from mlcharge_flows.training.origin import (
    PSEUDO_LABELED,
    RunSettings,
    canonical_split,
    split_materials,
)
from mlcharge_flows.vasp.outcar import Outcar

PBE = RunSettings(
    functional="PE",
    metagga="",
    hybrid=False,
    ispin=1,
    charged=False,
    hubbard={"Fe": (2, 5.3, 0.0), "O": (-1, 0.0, 0.0)},
    occupancy_lmax={"Fe": 4, "O": 2},
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"functional": "PS"}, "GGA = PS instead of PE"),
        ({"metagga": "R2SCAN"}, "METAGGA = R2SCAN instead of none"),
        ({"hybrid": True}, "LHFCALC = True instead of False"),
        ({"ispin": 2}, "ISPIN = 2 instead of 1"),
        ({"charged": True}, "charged cell = True instead of False"),
        ({"hubbard": {"Fe": (2, 4.0, 0.0)}}, "U = 4, J = 0 eV on l = 2 of Fe instead of U = 5.3"),
        ({"hubbard": {"Fe": (-1, 0.0, 0.0)}}, "no U of Fe instead of U = 5.3"),
        ({"occupancy_lmax": {"Fe": 2}}, "occupancies of Fe up to L = 2 instead of 4"),
    ],
)
def test_every_setting_that_differs_is_a_conflict(change, message):
    assert message in PBE.conflict(PBE.model_copy(update=change))


@pytest.mark.parametrize(
    "change",
    [
        {"functional": None, "hybrid": None, "ispin": None, "charged": None, "metagga": None},
        {"hubbard": {"Ni": (2, 6.2, 0.0)}, "occupancy_lmax": {"Ni": 2}},
        {"lmaxmix": 6},
    ],
)
def test_unknown_settings_and_other_elements_are_none(change):
    assert PBE.conflict(PBE.model_copy(update=change)) is None


def test_a_meta_gga_does_not_mix_with_an_unknown_functional():
    scan = PBE.model_copy(update={"metagga": "SCAN"})
    assert scan.conflict(RunSettings()) == "METAGGA = not known instead of SCAN"


def test_joined_settings_are_those_known_of_either():
    nickel = RunSettings(ispin=1, lmaxmix=4, hubbard={"Ni": (2, 6.2, 0.0)})
    joined = PBE.joined(nickel)
    assert (joined.functional, joined.ispin, joined.lmaxmix) == ("PE", 1, 4)
    assert joined.hubbard == {**PBE.hubbard, **nickel.hubbard}
    assert PBE.joined(RunSettings()) == RunSettings().joined(PBE) == PBE


def test_lmaxmix_counts_as_far_as_the_channels_reach():
    """LMAXMIX = 4 keeps all occupancies of s and p channels, and those of d channels."""
    outcar = Outcar(
        titels=("PAW_PBE O", "PAW_PBE Fe"),
        channels=((0, 0, 1, 1), (2, 2, 0, 0)),
        lmaxmix=4,
        gga="--",
        lexch="PE",
        n_electrons=14.5,
    )
    settings = RunSettings.of(outcar, ["O", "Fe"], "None", 14.0)
    assert settings.occupancy_lmax == {"O": 2, "Fe": 4}
    assert (settings.functional, settings.metagga, settings.charged) == ("PE", "", True)
    assert settings.hubbard == {"O": (-1, 0.0, 0.0), "Fe": (-1, 0.0, 0.0)}


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


def test_orders_of_one_crystal_have_one_split():
    names = {f"mp-{n}{order}": "train" for n in range(100) for order in ("", "-afm", "-f")}
    train, validation = split_materials(names, 0.3, 0.5)
    for chosen in (train, validation):
        crystals = {"-".join(name.split("-")[:2]) for name in chosen}
        assert len(chosen) == 3 * len(crystals)


def test_other_names_are_not_cut():
    names = {f"batch-1-{n}": "train" for n in range(100)}
    train, validation = split_materials(names, 0.3)
    assert train
    assert validation
