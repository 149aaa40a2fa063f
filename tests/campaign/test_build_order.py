from pathlib import Path

from pymatgen.core import Lattice, Structure

from mlcharge_flows.campaign.build_order import build_order
from mlcharge_flows.structures import Material


def material(name, a, *elements):
    places = [[i / len(elements)] * 3 for i in range(len(elements))]
    return Material(name, Structure(Lattice.cubic(a), elements, places), Path("test"))


SOME = [
    material("salt", 4, "Na", "Cl"),
    material("large salt", 6, "Na", "Cl"),
    material("sodium", 4, "Na"),
    material("triple", 5, "Na", "Na", "Cl"),
    material("helium", 3, "He"),
    material("large helium", 4, "He"),
]


def names(materials):
    return [m.id for m in build_order(materials)]


def test_every_material_has_one_place_whatever_the_order_of_the_file():
    assert sorted(names(SOME)) == sorted(m.id for m in SOME)
    assert names(SOME[::-1]) == names(SOME)


def test_pairs_of_elements_and_elements_alone_take_turns():
    assert names(SOME)[:3] == ["salt", "helium", "sodium"]


def test_a_rare_pair_goes_before_another_material_of_a_frequent_one():
    frequent = [material(f"salt {n}", 4 + 0.1 * n, "Na", "Cl") for n in range(5)]
    rare = material("large ternary", 9, "K", "Na", "Cl")
    assert names([*frequent, rare])[1] == "salt 0"
    assert names([*frequent, rare])[0] == "large ternary", "it alone holds K-Na and Cl-K"


def test_a_new_type_goes_before_a_known_one_of_about_the_same_cost():
    known = [material("a", 4, "Na", "Cl"), material("b", 4.1, "Na", "Cl")]
    assert names([*known, material("c", 4.3, "Na", "Na", "Cl")]) == ["a", "c", "b"]


def test_shares_of_several_machines_are_everything_once():
    ordered = names(SOME)
    shares = [ordered[offset::2] for offset in range(2)]
    assert sorted(shares[0] + shares[1]) == sorted(ordered)


def test_what_is_there_counts_and_has_no_place():
    assert names(SOME)[:2] == ["salt", "helium"]
    there = ["helium", "salt", "no such material"]
    assert [m.id for m in build_order(SOME, there)] == [
        "sodium",
        "triple",
        "large helium",
        "large salt",
    ]


def test_going_on_from_a_beginning_gives_the_rest():
    ordered = names(SOME)
    for n in range(len(ordered)):
        assert [m.id for m in build_order(SOME, ordered[:n])] == ordered[n:]
