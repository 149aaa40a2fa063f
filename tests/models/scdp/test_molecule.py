"""One copy of a molecule, found however its box cuts it."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the models extra")

from scdp_models import boxed, placed

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.models.scdp.network import NotAMoleculeError, bond_midpoints, one_copy

SKEWED = np.array([[9.0, 0, 0], [4.0, 8.5, 0], [-3.0, 2.0, 9.0]])


def chain(n, lattice, seed=0):
    """A random walk with steps of 1.4 angstrom, longer than half the box."""
    random = np.random.default_rng(seed)
    steps = random.standard_normal((n, 3)) * 0.25 + np.array([0.6, 0.5, 0.6])
    cart = np.cumsum(1.4 * steps / np.linalg.norm(steps, axis=1, keepdims=True), axis=0)
    return cart, Crystal(lattice, ("C",) * n, cart @ np.linalg.inv(lattice))


@pytest.mark.parametrize("lattice", [np.eye(3) * 9.0, SKEWED], ids=["cube", "skewed"])
def test_a_copy_has_the_shape_of_the_molecule(lattice):
    cart, crystal = chain(6, lattice)
    jumps = np.random.default_rng(1).integers(-3, 4, (6, 3))
    for positions in (crystal.positions % 1.0, crystal.positions + jumps):
        found = one_copy(Crystal(lattice, crystal.symbols, positions))
        np.testing.assert_allclose(found - found[0], cart - cart[0], atol=1e-9)
        # Moved by a lattice vector as a whole.
        shift = (found[0] - cart[0]) @ np.linalg.inv(lattice)
        np.testing.assert_allclose(shift, np.round(shift), atol=1e-9)


def test_an_atom_is_a_molecule_and_a_crystal_is_not():
    alone = Crystal(np.eye(3) * 5, ("H",), np.zeros((1, 3)))
    np.testing.assert_allclose(one_copy(alone), np.zeros((1, 3)))
    salt = Crystal(np.eye(3) * 3, ("Na", "Cl"), np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]]))
    with pytest.raises(NotAMoleculeError, match=r"are 2\.60 angstrom apart, gaps .* up to 2\.60"):
        one_copy(salt)


def test_bonds_are_between_bonded_atoms_only():
    positions = one_copy(boxed(placed()))
    middles = bond_midpoints(("O", "O", "H", "H"), positions)
    expected = [(positions[i] + positions[j]) / 2 for i, j in ((0, 1), (0, 2), (1, 3))]
    np.testing.assert_allclose(middles, expected)
    # Bonds to hydrogen do not hide those that are longer: ethane has all seven.
    ethane = np.array([[0.0, 0, 0.76], [0, 0, -0.76]])
    angles = np.arange(3) * 2 * np.pi / 3
    ring = 1.02 * np.stack([np.cos(angles), np.sin(angles), np.zeros(3)], axis=1)
    up = np.array([0, 0, 1.16])
    atoms = np.vstack([ethane, ring + up, -ring - up])
    assert len(bond_midpoints(["C", "C", *["H"] * 6], atoms)) == 7
    assert bond_midpoints(["He", "He"], ethane * 2).shape == (0, 3)
