"""The density object."""

from dataclasses import replace

import numpy as np
import pytest

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.density import Density, Magnetization

CRYSTAL = Crystal(np.diag([3.0, 4.0, 5.0]), ("Li",), np.zeros((1, 3)))


@pytest.fixture
def density():
    total = np.random.default_rng(0).uniform(size=(3, 4, 5))
    spin = Magnetization(total / 10, None, np.zeros(1))
    return Density(CRYSTAL, total, (np.arange(15.0),), spin)


def test_electrons_are_mean_times_volume(density):
    assert density.n_electrons == pytest.approx(density.total.mean() * 60.0)


def test_scaling_sets_the_integral_and_nothing_else(density):
    scaled = density.scaled_to(3.0)
    assert scaled.n_electrons == pytest.approx(3.0, abs=1e-14)
    assert scaled.augmentation is density.augmentation
    assert scaled.magnetization is density.magnetization


def test_nothing_cannot_be_scaled():
    with pytest.raises(ValueError, match="cannot be scaled"):
        Density(CRYSTAL, np.zeros((2, 2, 2))).scaled_to(1.0)


def test_fingerprint_follows_content_not_comment_or_memory_order(density):
    same = replace(density, comment="other", total=np.asfortranarray(density.total))
    assert same.fingerprint == density.fingerprint
    changed = [
        replace(density, total=density.total + 1e-12),
        replace(density, augmentation=(np.arange(15.0) + 1e-12,)),
        replace(density, augmentation=None),
        replace(density, magnetization=None),
        replace(density, crystal=Crystal(CRYSTAL.lattice, ("Na",), CRYSTAL.positions)),
    ]
    assert len({density.fingerprint, *(d.fingerprint for d in changed)}) == 6


def test_mismatches_are_refused(density):
    with pytest.raises(ValueError, match="2 dimensions"):
        Density(CRYSTAL, np.zeros((2, 2)))
    with pytest.raises(ValueError, match="occupancies of 2 ions, the crystal has 1"):
        Density(CRYSTAL, density.total, (np.zeros(1), np.zeros(1)))
    with pytest.raises(ValueError, match="different grids"):
        Density(CRYSTAL, np.zeros((2, 2, 2)), magnetization=density.magnetization)
