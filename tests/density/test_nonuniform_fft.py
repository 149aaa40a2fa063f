"""Structure factors by non-uniform Fourier transforms against sums over all sites."""

import numpy as np
import pytest

from mlcharge_flows.density import density
from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.density import superpose
from mlcharge_flows.density.grid import half_frequencies
from mlcharge_flows.density.nonuniform_fft import (
    MAX_DERIVATIVE,
    WIDTH,
    SpreadingGrid,
    corners,
    structure_factor,
)
from mlcharge_flows.density.paw_dataset import PawDataset

Q = np.arange(1000) * 0.06


def summed(positions, shape):
    axes = half_frequencies(shape)
    phases = [np.exp(-2j * np.pi * np.outer(h, positions[:, i])) for i, h in enumerate(axes)]
    factors = np.einsum("xs,ys,zs->xyz", *phases, optimize=True)
    for axis, n in enumerate(shape):
        if n % 2 == 0:
            np.moveaxis(factors, axis, 0)[n // 2] = 0.0
    return factors


@pytest.mark.parametrize("shape", [(20, 15, 12), (1, 2, 3), (64, 5, 48)])
def test_agrees_with_the_sum_over_sites(shape):
    positions = np.random.default_rng(0).uniform(-1, 2, (40, 3))
    found = structure_factor(positions, shape)
    np.testing.assert_allclose(found, summed(positions, shape), atol=1e-9 * len(positions))
    assert found[0, 0, 0] == len(positions)


def test_derivatives_of_the_window_have_the_transforms_of_multipoles():
    grid = SpreadingGrid.of((12, 0, 3))
    position = np.array([[0.237, 0.0, 0.5]])
    points, values = grid.weights(position, MAX_DERIVATIVE)
    theta = 2 * np.pi / grid.shape[0] * np.arange(13)
    phases = np.exp(-1j * np.outer(theta, points[0, 0]))
    shift = np.exp(-1j * theta * position[0, 0] * grid.shape[0])
    for order in range(5):
        expected = (1j * theta) ** order * grid.transforms()[0] * shift
        error = np.abs(phases @ values[0, 0, order] - expected) / grid.transforms()[0]
        assert error.max() < 1e-4 * max(theta[-1] ** order, 1)
        # Far from the highest frequencies there is hardly an error.
        assert error[:6].max() < 1e-8


def test_corners_hold_every_low_frequency_once():
    counts = np.zeros((9, 7, 5), dtype=int)
    for block in corners((2, 0, 4)):
        counts[block] += 1
    expected = np.zeros_like(counts)
    expected[np.ix_([0, 1, 2, -1, -2], [0], range(5))] = 1
    np.testing.assert_array_equal(counts, expected)


def test_windows_are_as_wide_as_small_cells():
    assert SpreadingGrid.of((0, 0, 0)).shape == (WIDTH,) * 3


def test_superpositions_agree(monkeypatch):
    atom = PawDataset(
        "Na",
        "Na",
        9.0,
        (0, 0, 1),
        q_step=Q[1],
        form_factor=9 * np.exp(-((Q * 0.3) ** 2) / 2),
        atomic_occupancies=np.zeros(15),
    )
    lattice = np.array([[4.1, 0.3, -0.2], [0.5, 3.8, 0.4], [-0.6, 0.2, 4.4]])
    positions = np.random.default_rng(5).uniform(size=(7, 3))
    crystal = Crystal(lattice, ("Na",) * 7, positions)
    for shape in ((30, 27, 32), (5, 6, 7)):
        grids = []
        for largest in (100, 0):
            monkeypatch.setattr(density, "MAX_DIRECT_SITES", largest)
            found = superpose(crystal, {"Na": atom}, shape)
            assert found.n_electrons == pytest.approx(63.0, rel=1e-12)
            grids.append(found.total)
        np.testing.assert_allclose(grids[1], grids[0], atol=1e-8 * grids[0].max())
