import numpy as np
import pytest

from mlcharge_flows.testing.crystals import random_crystal, random_rotation, rotated
from mlcharge_flows.testing.laws import ELECTRONS, PRINTED, ROUNDING


@pytest.mark.parametrize("seed", range(5))
def test_ions_keep_their_distance_in_every_image(seed):
    crystal = random_crystal(np.random.default_rng(seed), ("Mg", "O", "O"), closest=1.5)
    assert crystal.volume == pytest.approx(45.0)
    steps = np.stack(np.meshgrid(*[(-2, -1, 0, 1, 2)] * 3), -1).reshape(-1, 3)
    images = ((crystal.positions[:, None] + steps) @ crystal.lattice).reshape(-1, 3)
    home = crystal.positions @ crystal.lattice
    distances = np.linalg.norm(home[:, None] - images, axis=-1)
    assert distances[distances > 1e-9].min() >= 1.5 - 1e-9


def test_equal_seeds_give_equal_crystals():
    one, other = (random_crystal(np.random.default_rng(4), ("Si", "C")) for _ in range(2))
    assert np.array_equal(one.positions, other.positions)


def test_a_cell_too_small_is_refused():
    with pytest.raises(ValueError, match="no crystal of 4 ions"):
        random_crystal(np.random.default_rng(0), ("H",) * 4, volume_per_ion=2.0, closest=3.0)


@pytest.mark.parametrize("proper", [True, False])
def test_rotations_are_orthogonal_and_keep_the_volume(proper):
    rng = np.random.default_rng(1)
    rotation = random_rotation(rng, proper=proper)
    ROUNDING.assert_close(rotation @ rotation.T, np.eye(3))
    ROUNDING.assert_close(np.linalg.det(rotation), 1.0 if proper else -1.0)
    crystal = random_crystal(rng, ("Na", "Cl"))
    turned = rotated(crystal, rotation)
    ROUNDING.assert_close(turned.volume, crystal.volume)
    ROUNDING.assert_close(turned.lattice @ turned.lattice.T, crystal.lattice @ crystal.lattice.T)


def test_tolerances_tell_equal_from_unequal():
    PRINTED.assert_close(1.0 + 5e-12, 1.0)
    with pytest.raises(AssertionError, match="Mismatched elements"):
        PRINTED.assert_close(1e-12, 0.0)
    with pytest.raises(AssertionError, match="Mismatched elements"):
        ELECTRONS.assert_close([8.0, 4.0], [8.0, 4.0 + 1e-7])
