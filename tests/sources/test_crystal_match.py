"""Ions of almost the same crystal are found again, whatever was done to it."""

from dataclasses import replace

import numpy as np
import pytest

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.sources.crystal_match import MAX_DISPLACEMENT, CrystalMatch, MatchError
from mlcharge_flows.testing.crystals import random_crystal, random_rotation, rotated


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.fixture
def crystal(rng):
    return random_crystal(rng, ("Mg", "O", "O", "Mg", "O"))


def supercell(crystal, cells):
    """Repeat a crystal: each ion in each cell of a large box that lies within the supercell."""
    lattice = cells @ crystal.lattice
    steps = np.stack(np.meshgrid(*[np.arange(-9, 10)] * 3, indexing="ij"), -1).reshape(-1, 3)
    symbols, positions = [], []
    for symbol, position in zip(crystal.symbols, crystal.positions, strict=True):
        places = (position + steps) @ np.linalg.inv(cells)
        inside = places[np.all((places > -1e-9) & (places < 1 - 1e-9), axis=1)]
        symbols += [symbol] * len(inside)
        positions.append(inside)
    return Crystal(lattice, tuple(symbols), np.concatenate(positions))


def displaced(crystal, rng, size=0.1):
    moves = rng.normal(size=(len(crystal), 3))
    moves *= size / np.linalg.norm(moves, axis=1)[:, None]
    return replace(crystal, positions=crystal.positions + moves @ np.linalg.inv(crystal.lattice))


def places(match, reference, crystal):
    """Distance of each ion from the image of its ion of the reference, by the match's formula."""
    found = reference.positions[match.ions] @ np.linalg.inv(match.cells) + match.translation
    apart = (crystal.positions - found) @ match.cells
    return np.linalg.norm(
        (apart - np.rint(apart)) @ np.linalg.inv(match.cells) @ crystal.lattice, axis=1
    )


CELLS = [
    np.eye(3, dtype=int),
    np.diag([2, 1, 2]),
    np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]),
    np.array([[1, 0, 0], [1, 1, 0], [0, 2, 3]]),
]


@pytest.mark.parametrize("cells", CELLS, ids=str)
@pytest.mark.parametrize("proper", [True, False, None])
def test_all_changes_at_once_are_found(crystal, cells, proper, rng):
    other = displaced(supercell(crystal, cells), rng, 0.03)
    order = rng.permutation(len(other))
    other = Crystal(
        other.lattice, tuple(np.array(other.symbols)[order]), other.positions[order] + rng.random(3)
    )
    other = replace(other, lattice=other.lattice @ (np.eye(3) + 0.02 * np.diag([1, -1, 0.5])))
    rotation = np.eye(3) if proper is None else random_rotation(rng, proper=proper)
    other = rotated(other, rotation)
    match = CrystalMatch.of(crystal, other)
    assert match.n_cells == abs(round(np.linalg.det(cells)))
    assert [crystal.symbols[ion] for ion in match.ions] == list(other.symbols)
    assert np.bincount(match.ions).tolist() == [match.n_cells] * len(crystal)
    assert match.strain == pytest.approx(0.02, abs=1e-9)
    assert match.displacements.max() < 0.07
    assert not match.is_unmoved
    np.testing.assert_allclose(match.rotation, rotation, atol=2e-2)
    np.testing.assert_allclose(places(match, crystal, other), match.displacements, atol=1e-9)


def test_the_crystal_itself_is_unmoved(crystal, rng):
    for other in (crystal, supercell(crystal, CELLS[2]), rotated(crystal, random_rotation(rng))):
        match = CrystalMatch.of(crystal, other)
        assert match.is_unmoved
        assert places(match, crystal, other).max() < 1e-9
    assert CrystalMatch.of(crystal, crystal).ions.tolist() == [0, 1, 2, 3, 4]


def test_one_displaced_ion_does_not_move_the_others(crystal):
    positions = crystal.positions.copy()
    positions[2] += np.array([0.3, 0, 0]) @ np.linalg.inv(crystal.lattice)
    match = CrystalMatch.of(crystal, replace(crystal, positions=positions))
    np.testing.assert_allclose(match.displacements, [0, 0, 0.3, 0, 0], atol=1e-9)
    np.testing.assert_allclose(match.translation, 0, atol=1e-12)


def test_where_nothing_turns_equivalent_lattice_vectors_stay(silicon):
    """A cubic lattice maps onto itself in 48 ways, and each of them fits silicon."""
    cell = Crystal.from_structure(silicon)
    match = CrystalMatch.of(cell, displaced(cell, np.random.default_rng(0), 0.02))
    np.testing.assert_array_equal(match.cells, np.eye(3))
    np.testing.assert_array_equal(match.rotation, np.eye(3))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda c: replace(c, symbols=("Mg", "O", "O", "O", "O")),
            "another composition, Mg2O3",
        ),
        (lambda c: Crystal(c.lattice, c.symbols[:3], c.positions[:3]), "another composition"),
        (lambda c: replace(c, lattice=c.lattice * 1.2), "another lattice"),
        (
            lambda c: replace(c, positions=c.positions * [1.4, 0.7, 1]),
            f"than {MAX_DISPLACEMENT}",
        ),
    ],
)
def test_another_crystal_is_refused(crystal, change, reason):
    with pytest.raises(MatchError, match=reason) as error:
        CrystalMatch.of(crystal, change(crystal))
    assert "\n" not in str(error.value)
