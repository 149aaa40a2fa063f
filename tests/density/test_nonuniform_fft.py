"""Windows and grids of non-uniform Fourier transforms."""

import numpy as np

from mlcharge_flows.density.nonuniform_fft import (
    MAX_DERIVATIVE,
    WIDTH,
    SpreadingGrid,
    corners,
)


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
