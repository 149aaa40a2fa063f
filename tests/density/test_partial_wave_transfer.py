from dataclasses import replace

import numpy as np
import pytest

from mlcharge_flows.density.augmentation import n_occupancies, rotate
from mlcharge_flows.density.partial_wave_transfer import carry_occupancies, transfer_matrix
from mlcharge_flows.density.paw_dataset import PartialWaves, PawDataset

CHANNELS = (0, 0, 1, 1)


def dataset(channels=CHANNELS, seed=0, all_electron=None, radius=1.2):
    """A data set whose pseudo waves leave the all-electron ones inside a sphere."""
    rng = np.random.default_rng(seed)
    r = np.geomspace(1e-4, 3.0, 600)
    if all_electron is None:
        k = rng.uniform(1.0, 5.0, len(channels))
        all_electron = np.sin(np.outer(k, r)) * r
    pseudo = all_electron + 0.3 * np.clip(1 - r / radius, 0.0, None) ** 2 * r
    charges = np.zeros((2 * max(channels) + 1, len(r)))
    waves = PartialWaves(r, all_electron, pseudo, charges)
    return PawDataset("X", f"PAW_PBE X {seed}", 4.0, channels, partial_waves=waves)


def test_the_same_partial_waves_change_nothing():
    known = dataset()
    assert transfer_matrix(known, known) == pytest.approx(np.eye(4), abs=1e-9)


def test_a_change_of_basis_is_recovered():
    known = dataset()
    mix = np.array([[0.8, 0.3, 0, 0], [-0.2, 1.1, 0, 0], [0, 0, 1.3, -0.4], [0, 0, 0.2, 0.9]])
    waves = known.partial_waves
    other = dataset(all_electron=mix @ waves.all_electron, seed=1, radius=1.0)
    found = transfer_matrix(known, other)
    # phi^B = mix phi^A, so that phi^A = mix^-1 phi^B.
    assert found.T @ mix == pytest.approx(np.eye(4), abs=1e-6)
    occupancies = np.random.default_rng(2).standard_normal(n_occupancies(CHANNELS))
    back = transfer_matrix(other, known)
    there = carry_occupancies(occupancies, CHANNELS, CHANNELS, found)
    assert carry_occupancies(there, CHANNELS, CHANNELS, back) == pytest.approx(
        occupancies, abs=1e-5
    )


def test_waves_that_the_other_data_set_lacks_are_left_out():
    known = dataset()
    shared = known.partial_waves.all_electron[[1, 2, 3]]
    other = dataset(channels=(0, 1, 1), all_electron=shared, seed=1)
    found = transfer_matrix(known, other)
    assert found[0] == pytest.approx([0.0, 1.0, 0.0, 0.0], abs=1e-6)
    assert found[1:, 2:] == pytest.approx(np.eye(2), abs=1e-6)


def test_carrying_commutes_with_rotations():
    rng = np.random.default_rng(3)
    rotation = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    target = (0, 1, 1, 2)
    transfer = np.zeros((4, 4))
    transfer[0, :2], transfer[1, 2:], transfer[2, 2:] = rng.standard_normal((3, 2))
    occupancies = rng.standard_normal(n_occupancies(CHANNELS))
    carried = carry_occupancies(occupancies, CHANNELS, target, transfer)
    rotated = carry_occupancies(rotate(occupancies, CHANNELS, rotation), CHANNELS, target, transfer)
    assert rotate(carried, target, rotation) == pytest.approx(rotated, abs=1e-10)


def test_unknown_partial_waves_and_other_shapes_are_refused():
    known = dataset()
    with pytest.raises(ValueError, match="PAW_PBE X 0: its partial waves are not known"):
        transfer_matrix(known, replace(known, partial_waves=None))
    with pytest.raises(ValueError, match=r"shape \(4, 4\), channels need \(2, 4\)"):
        carry_occupancies(np.zeros(n_occupancies(CHANNELS)), CHANNELS, (0, 1), np.eye(4))
