"""Every law finds the model that breaks it, and none that does not."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the models extra")

from mlcharge_flows.testing import tiny_model
from mlcharge_flows.testing.crystals import random_crystal, random_rotation
from mlcharge_flows.testing.laws import (
    assert_equivariant_density,
    assert_integrates_to,
    assert_permutation_equivariant,
    assert_rotation_equivariant,
    assert_supercell_consistent,
    assert_translation_equivariant,
)

SHAPE = (9, 11, 13)
CRYSTAL = random_crystal(np.random.default_rng(0), ("Mg", "O", "O"))
ATOMS = {"Mg": tiny_model.atom("Mg", 2.0), "O": tiny_model.atom("O", 6.0)}
ROTATION = random_rotation(np.random.default_rng(1))


def lawful():
    return tiny_model.load(tiny_model.checkpoint(ATOMS, [CRYSTAL]))


class Broken:
    """A lawful model with something added to its densities."""

    def __init__(self, change):
        self.model, self.change = lawful(), change
        self.card = self.model.card

    def predict(self, crystal, shape):
        return self.change(self.model.predict(crystal, shape))


def leaning(density):
    """A vector in the occupancies that points along z in every crystal."""
    first, *others = density.augmentation
    vector = first.copy()
    vector[2] += 0.1  # channel pair (s, p), M = 0
    return replace(density, augmentation=(vector, *others))


def fixed(density):
    """Charge moved between two points of the cell, wherever the ions are."""
    total = density.total.copy()
    total[0, 0, 0] += 0.1
    total[4, 5, 6] -= 0.1
    return replace(density, total=total)


def first_ion(density):
    """Other occupancies for whatever ion comes first."""
    first, *others = density.augmentation
    return replace(density, augmentation=(1.1 * first, *others))


def charged(density):
    return replace(density, total=density.total + 1e-6)


def per_cell(density):
    """Charge that depends on the number of ions in the cell."""
    return replace(density, total=density.total * (1 + 1e-6 * len(density.crystal)))


LAWS = {
    "rotation": lambda model: assert_rotation_equivariant(model, CRYSTAL, SHAPE, ROTATION),
    "translation": lambda model: assert_translation_equivariant(model, CRYSTAL, SHAPE, (1, 0, 5)),
    "permutation": lambda model: assert_permutation_equivariant(model, CRYSTAL, SHAPE, [2, 0, 1]),
    "supercell": lambda model: assert_supercell_consistent(model, CRYSTAL, SHAPE, (1, 1, 2)),
    "charge": lambda model: assert_integrates_to(model.predict(CRYSTAL, SHAPE), 14.0),
}


@pytest.mark.parametrize("law", LAWS)
def test_a_lawful_model_passes(law):
    LAWS[law](lawful())


@pytest.mark.parametrize(
    ("law", "change"),
    [
        ("rotation", leaning),
        ("translation", fixed),
        ("permutation", first_ion),
        ("supercell", per_cell),
        ("charge", charged),
    ],
)
def test_a_broken_law_is_found(law, change):
    with pytest.raises(AssertionError):
        LAWS[law](Broken(change))


@pytest.mark.parametrize("change", [leaning, fixed, first_ion, charged])
def test_all_laws_of_space_at_once(change):
    assert_equivariant_density(lawful(), CRYSTAL)
    with pytest.raises(AssertionError):
        assert_equivariant_density(Broken(change), CRYSTAL)


def test_occupancies_of_atoms_that_are_not_spherical_do_not_rotate():
    tilted = {
        symbol: replace(atom, atomic_occupancies=np.linspace(0.1, 0.5, 33))
        for symbol, atom in ATOMS.items()
    }
    model = tiny_model.load(tiny_model.checkpoint(tilted, [CRYSTAL]))
    with pytest.raises(AssertionError):
        assert_rotation_equivariant(model, CRYSTAL, SHAPE, ROTATION)
    assert_rotation_equivariant(model, CRYSTAL, SHAPE, ROTATION, atoms=model.moved)


def test_a_model_without_occupancies_must_not_gain_them():
    bare = Broken(lambda density: replace(density, augmentation=None))
    assert_equivariant_density(bare, CRYSTAL)
