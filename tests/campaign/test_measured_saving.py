"""Savings by element from few pairs: laws of the estimate, and the order of rounds."""

import random
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from mlcharge_flows.campaign.measured_saving import MIN_NOISE, Pair, SavingModel
from mlcharge_flows.campaign.round_order import control_share, elements_of, next_rounds
from mlcharge_flows.campaign.rounds_spec import RoundsSpec
from mlcharge_flows.structures import Material


def pairs(**savings):
    """Pairs by their elements, such as ``Mg_O=[0.3, 0.2]``."""
    return [Pair(frozenset(key.split("_")), s) for key, found in savings.items() for s in found]


def test_one_element_gives_the_mean_and_its_standard_error():
    found = SavingModel(pairs(Si=[0.3, 0.2, 0.25, 0.25])).estimate(["Si"], 0.9)
    assert found.mean == pytest.approx(0.25, abs=0.01)
    assert found.high - found.mean == pytest.approx(1.645 * MIN_NOISE / 2, rel=0.1)
    assert found.n_pairs == 4


def test_an_element_without_pairs_inherits_the_campaigns_evidence():
    model = SavingModel(pairs(Mg_O=[0.3, 0.2], Ca_S=[0.3, 0.25], Na_Cl=[0.2, 0.3]))
    new = model.estimate(["Fe", "Se"])
    assert new.n_pairs == 0
    assert new.low > 0
    assert new.mean == pytest.approx(0.26, abs=0.04)


def test_harm_is_of_the_element_that_harmful_pairs_share():
    model = SavingModel(pairs(Li_O=[-0.5, -0.4], Li_F=[-0.4], Mg_O=[0.4, 0.3], Mg_F=[0.4, 0.4]))
    assert model.estimate(["Li", "O"]).high < 0
    for useful in (["Mg", "O"], ["Mg", "F"]):
        assert model.estimate(useful).low > 0
    assert model.estimate(["O"]).mean > model.estimate(["Li"]).mean


def test_two_pairs_of_each_element_are_enough_to_keep_one_and_drop_the_other():
    model = SavingModel(pairs(Ne=[0.4, 0.4], He=[-0.5, -0.5]))
    assert model.estimate(["Ne"]).low > 0
    assert model.estimate(["He"]).high < 0


@pytest.mark.parametrize("saving", [0.0, -0.1])
def test_a_source_that_saves_nothing_is_not_above_zero(saving):
    assert SavingModel(pairs(Si=[saving, saving, saving])).estimate(["Si"]).low < 0


def test_more_pairs_narrow_the_interval():
    widths = []
    for n in (2, 8, 32):
        found = SavingModel(pairs(Si=[0.2, 0.3] * (n // 2))).estimate(["Si"])
        widths.append(found.high - found.low)
    assert widths[0] > widths[1] > widths[2]


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Savings drawn from the model itself: 90 % intervals of elements that have pairs."""
    rng, inside, total = np.random.default_rng(0), 0, 0
    for _ in range(40):
        effects = dict(zip("ABCDEF", rng.normal(0, 0.15, 6), strict=True))
        drawn = []
        for _ in range(16):
            chosen = rng.choice(list(effects), 2, replace=False).tolist()
            truth = 0.2 + sum(effects[e] for e in chosen)
            drawn.append(Pair(frozenset(chosen), truth + rng.normal(0, 0.1)))
        model = SavingModel(drawn)
        for pair in drawn:
            found = model.estimate(pair.elements, 0.9)
            truth = 0.2 + sum(effects[e] for e in pair.elements)
            inside, total = inside + (found.low <= truth <= found.high), total + 1
    assert 0.85 < inside / total < 0.97


def crystals(count, seed=0):
    rng, found = random.Random(seed), []
    for number in range(count):
        symbols = rng.sample(["Li", "Mg", "Ca", "O", "F", "N", "S", "Al"], 2)
        lattice = Lattice.cubic(4 + 0.01 * number)
        structure = Structure(lattice, symbols, [[0, 0, 0], [0.5, 0.5, 0.5]])
        found.append(Material(f"m{number}", structure, Path("test")))
    return found


def names(chunks):
    return [[material.id for material in chunk] for chunk in chunks]


def test_rounds_hold_every_material_once_and_cover_the_elements_first():
    materials = crystals(23)
    chunks = list(next_rounds(materials, RoundsSpec(number=4)))
    assert [len(chunk) for chunk in chunks] == [6, 6, 6, 5]
    assert sorted(m.id for chunk in chunks for m in chunk) == sorted(m.id for m in materials)
    everything = {e for m in materials for e in elements_of(m)}
    assert {e for m in chunks[0] for e in elements_of(m)} == everything


def test_rounds_do_not_depend_on_the_order_of_files_nor_on_where_a_campaign_goes_on():
    materials, spec = crystals(23), RoundsSpec(number=4)
    whole = names(next_rounds(materials, spec))
    assert names(next_rounds(materials[::-1], spec)) == whole
    first = [m for m in materials if m.id in whole[0]]
    rest = [m for m in materials if m.id not in whole[0]]
    assert names(next_rounds(rest, spec, 1, first)) == whole[1:]
    assert names(next_rounds(materials, RoundsSpec(number=4, seed=1))) != whole


def test_equal_structures_are_in_one_round():
    materials = crystals(9)
    twin = Material("twin", materials[4].structure, Path("test"))
    chunks = names(next_rounds([*materials, twin], RoundsSpec(size=2)))
    (round_of,) = [chunk for chunk in chunks if "twin" in chunk]
    assert "m4" in round_of


def test_the_control_share_is_random_but_the_same_every_time():
    spec, ids = RoundsSpec(control=0.25), [f"m{n}" for n in range(40)]
    chosen = control_share(ids, spec, 1)
    assert len(chosen) == 10
    assert control_share(ids[::-1], spec, 1) == chosen
    assert control_share(ids, spec, 2) != chosen
    assert len(control_share(ids[:3], spec, 1)) == 2, "an interval needs two"
    assert control_share(ids, RoundsSpec(control=1.0), 1) == set(ids)
