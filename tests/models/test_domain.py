import re
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.models.domain import (
    Domain,
    GeometryBounds,
    OutOfDomainError,
    _Environment,
)

SALT = Crystal(np.eye(3) * 3.0, ("Mg", "O"), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]))
OBLIQUE = Crystal(
    np.array([[3.1, 0.2, -0.4], [-1.2, 3.3, 0.1], [0.7, 0.9, 4.2]]),
    ("Mg", "O", "O"),
    np.array([[0.1, 0.2, 0.3], [0.6, 0.5, 0.9], [0.2, 0.8, 0.7]]),
)


@pytest.fixture
def known():
    return GeometryBounds.of([SALT, OBLIQUE], [(28, 28, 28)] * 2)


def by_hand(crystal, radius, reach=4):
    """All distances from the images of the cell, one by one."""
    n = len(crystal)
    counts, nearest, pairs = [0] * n, [np.inf] * n, {}
    for i, j, *image in product(range(n), range(n), *[range(-reach, reach + 1)] * 3):
        if i == j and not any(image):
            continue
        apart = crystal.positions[j] + image - crystal.positions[i]
        distance = np.linalg.norm(apart @ crystal.lattice)
        if distance > radius:
            continue
        counts[i] += 1
        nearest[i] = min(nearest[i], distance)
        pair = "-".join(sorted((crystal.symbols[i], crystal.symbols[j])))
        pairs[pair] = min(distance, pairs.get(pair, np.inf))
    return counts, nearest, pairs


@pytest.mark.parametrize("crystal", [SALT, OBLIQUE])
def test_distances_are_those_of_all_images(crystal):
    seen = _Environment(crystal, 6.0)
    counts, nearest, pairs = by_hand(crystal, 6.0)
    assert seen.neighbors.tolist() == counts
    np.testing.assert_allclose(seen.nearest, nearest)
    assert {pair: distance for pair, (distance, _, _) in seen.pairs.items()} == pytest.approx(pairs)


def test_bounds_do_not_depend_on_cell_order_or_orientation(known):
    doubled = Crystal(
        SALT.lattice * [[2.0], [1.0], [1.0]],
        SALT.symbols * 2,
        np.vstack([SALT.positions * [0.5, 1, 1], SALT.positions * [0.5, 1, 1] + [0.5, 0, 0]]),
    )
    turned = Crystal(
        OBLIQUE.lattice @ np.linalg.qr(OBLIQUE.lattice + np.eye(3))[0],
        OBLIQUE.symbols[::-1],
        OBLIQUE.positions[::-1] + np.array([0.3, -1.0, 2.0]),
    )
    grids = [(56, 28, 28), (28, 28, 28)]
    assert GeometryBounds.of([doubled, turned], grids) == known


def test_what_was_trained_on_is_within(known):
    for crystal in (SALT, OBLIQUE):
        assert known.violation(crystal, (28, 28, 28)) is None
        # Strain of a few percent, as in an elastic constant, is ordinary work.
        strained = replace(crystal, lattice=crystal.lattice @ np.diag([1.06, 0.97, 1.0]))
        assert known.violation(strained) is None


def test_bounds_survive_their_card(known):
    assert GeometryBounds.model_validate_json(known.model_dump_json()) == known


@pytest.mark.parametrize(
    ("crystal", "reason"),
    [
        (
            replace(SALT, positions=np.array([[0, 0, 0], [0.2, 0.2, 0.2]])),
            r"ions 1 \(Mg\) and 2 \(O\) are 1.04 angstrom apart; the closest trained on are at ",
        ),
        (
            Crystal(np.eye(3) * 12.0, ("Mg",), np.zeros((1, 3))),
            r"ion 1 \(Mg\) is isolated: its nearest neighbor is farther than 6 angstrom",
        ),
        (
            Crystal(np.eye(3) * 5.0, ("O",), np.zeros((1, 3))),
            r"ion 1 \(O\) is isolated: its nearest neighbor is at 5.00 angstrom; up to ",
        ),
        (
            replace(SALT, lattice=np.diag([3.0, 3.0, 12.0]), positions=SALT.positions / [1, 1, 4]),
            "the cell has 54.0 angstrom\\^3 per atom; 13.5 to ",
        ),
    ],
)
def test_what_lies_outside_is_named(known, crystal, reason):
    assert re.match(reason, known.violation(crystal))


def test_surfaces_have_too_few_neighbors(known):
    cramped = known.model_copy(update={"volume": (1.0, 1000.0)})
    chain = Crystal(np.diag([20.0, 20.0, 2.6]), ("Mg",), np.zeros((1, 3)))
    assert "ion 1 (Mg) has 4 neighbors within 6 angstrom; " in cramped.violation(chain)


def test_a_pair_not_trained_on_is_bounded_by_its_elements():
    oxide = Crystal(np.eye(3) * 3.0, ("Mg", "O"), SALT.positions)
    sulfide = Crystal(np.eye(3) * 3.0, ("Mg", "S"), SALT.positions)
    known = GeometryBounds.of([oxide, sulfide])
    assert known.violation(Crystal(np.eye(3) * 2.9, ("O", "S"), SALT.positions)) is None
    near = np.array([[0, 0, 0], [0.4, 0.4, 0.4]])
    assert "apart" in known.violation(Crystal(np.eye(3) * 3.0, ("O", "S"), near))
    # Seen only far apart, the same pair may bond as its elements do.
    apart = Crystal(
        np.eye(3) * 4.3, ("Mg", "Mg", "O", "S"), [[0, 0, 0], [0.5] * 3, [0.5, 0, 0], [0, 0.5, 0.5]]
    )
    wide = GeometryBounds.of([apart])
    assert wide.pairs["O-S"] > 2.9
    bonded = Crystal(np.eye(3) * 3.0, ("O", "S"), SALT.positions)
    assert "apart" not in (wide.violation(bonded) or "")


def test_a_coarse_grid(known):
    line = known.violation(SALT, (28, 28, 9))
    assert line.startswith(
        "the grid 28 x 28 x 9 is too coarse: its points are 0.333 angstrom apart"
    )
    assert known.violation(SALT, (16, 16, 16)) is None
    assert GeometryBounds.of([SALT]).violation(SALT, (2, 2, 2)) is None


def test_bounds_need_crystals():
    with pytest.raises(ValueError, match="need crystals"):
        GeometryBounds.of([])
    with pytest.raises(ValueError, match="a grid for each"):
        GeometryBounds.of([SALT], [(2, 2, 2)] * 2)


@pytest.fixture
def domain(known, tiny):
    paw = {"Mg": tiny.atom("Mg", 2.0), "O": tiny.atom("O", 6.0)}
    return Domain("m", paw, "tests", known, (350.0, 400.0))


def test_what_lies_inside_passes(domain):
    domain.check(SALT)
    domain.check(SALT, (28, 28, 28), 8.0, domain.paw)
    domain.check(SALT, paw={"O": replace(domain.paw["O"], form_factor=None)})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"titel": "PAW_PBE O_s"}, "TITEL is PAW_PBE O test, the run's is PAW_PBE O_s"),
        ({"channels": (0, 1), "atomic_occupancies": None}, "channels is"),
        ({"zval": 5.0}, "ZVAL is 6.0, the run's is 5.0"),
        ({"atomic_occupancies": np.ones(33)}, "the occupancies of its free atom differs"),
    ],
)
def test_other_paw_data_sets_are_outside(domain, change, reason):
    other = {**domain.paw, "O": replace(domain.paw["O"], **change)}
    with pytest.raises(OutOfDomainError, match=re.escape(reason)) as error:
        domain.check(SALT, paw=other)
    assert "the model m was trained with other PAW data for O (tests): " in str(error.value)


def test_unknown_elements_charge_and_geometry_are_outside(domain):
    silicon = replace(SALT, symbols=("Si", "O"))
    with pytest.raises(OutOfDomainError, match="m does not know Si; it knows Mg, O"):
        domain.check(silicon)
    with pytest.raises(OutOfDomainError, match=r"charged \(NELECT = 9, the atoms have 8 "):
        domain.check(SALT, n_electrons=9.0)
    with pytest.raises(OutOfDomainError, match="outside what the model m was trained on: the grid"):
        domain.check(SALT, (28, 28, 9))


def test_only_another_cutoff_is_warned_of(domain):
    for encut in (None, 350.0, 375.0, 400.5):
        assert domain.encut_warning(encut) is None
    for encut in (520.0, 348.0):
        warning = domain.encut_warning(encut)
        assert f"was trained at ENCUT = 350 to 400 eV, the run has {encut:g} eV" in warning
    assert replace(domain, encut=None).encut_warning(520.0) is None
