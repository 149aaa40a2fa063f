"""Laws of Fourier interpolation."""

import itertools

import numpy as np
import pytest

from mlcharge_flows.density.grid import frequencies, regrid, to_other_cell


def band_limited(shape, highest, rng):
    """A real function with |frequency| <= highest, as samples on a grid and the wave list."""
    axes = [np.arange(n) / n for n in shape]
    x = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    values = np.full(shape, 0.7)
    for h in itertools.product(range(-highest, highest + 1), repeat=3):
        phase = np.random.default_rng([17, *(k + 50 for k in h)]).uniform(0, 2 * np.pi)
        values += np.cos(2 * np.pi * x @ np.array(h) + phase)
    return values


@pytest.mark.parametrize("target", [(9, 12, 10), (7, 7, 7), (24, 8, 11), (8, 8, 8)])
def test_exact_on_band_limited_functions(target):
    source = band_limited((10, 9, 8), 3, None)
    np.testing.assert_allclose(regrid(source, target), band_limited(target, 3, None), atol=1e-10)


@pytest.mark.parametrize("target", [(5, 4, 3), (6, 6, 6), (12, 17, 20)])
@pytest.mark.parametrize("shape", [(8, 8, 8), (7, 8, 9)])
def test_integral_is_kept(shape, target):
    values = np.random.default_rng(0).standard_normal(shape)
    assert regrid(values, target).mean() == pytest.approx(values.mean(), abs=1e-14)


@pytest.mark.parametrize("fine", [(16, 16, 16), (9, 11, 13), (9, 9, 10), (15, 20, 8)])
def test_refining_then_restricting_is_identity_even_at_nyquist(fine):
    values = np.random.default_rng(1).standard_normal((8, 9, 8))
    np.testing.assert_allclose(regrid(regrid(values, fine), values.shape), values, atol=1e-12)


def test_translation_by_grid_points_commutes():
    values = np.random.default_rng(2).standard_normal((6, 8, 10))
    moved = np.roll(values, (3, 2, 5), axis=(0, 1, 2))
    np.testing.assert_allclose(
        regrid(moved, (12, 16, 20)),
        np.roll(regrid(values, (12, 16, 20)), (6, 4, 10), axis=(0, 1, 2)),
        atol=1e-12,
    )


def test_original_points_are_interpolated():
    values = np.random.default_rng(3).standard_normal((6, 5, 4))
    np.testing.assert_allclose(regrid(values, (12, 15, 8))[::2, ::3, ::2], values, atol=1e-12)


def test_equal_shape_is_an_independent_copy():
    values = np.random.default_rng(4).standard_normal((4, 5, 6))
    copy = regrid(values, (4, 5, 6))
    np.testing.assert_array_equal(copy, values)
    assert not np.shares_memory(copy, values)


def test_frequencies_follow_the_fft():
    for n in (1, 2, 5, 8):
        np.testing.assert_array_equal(frequencies(n), np.fft.fftfreq(n, 1 / n))


@pytest.mark.parametrize("shape", [(4, 4), (4, 0, 4)])
def test_bad_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="cannot regrid"):
        regrid(np.zeros((4, 4, 4)), shape)


def by_waves(values, points):
    """A periodic function at points of shape (n, 3), as the sum of its waves: slow and obvious."""
    found = np.zeros(len(points))
    components = np.fft.fftn(values) / values.size
    sides = [range(-(n // 2), n // 2 + 1) for n in values.shape]
    for h in itertools.product(*sides):
        weight = np.prod(np.where(2 * np.abs(h) == values.shape, 0.5, 1.0))
        found += weight * (components[h] * np.exp(2j * np.pi * points @ np.array(h))).real
    return found


@pytest.mark.parametrize(
    "cells",
    [
        np.eye(3, dtype=int),
        np.diag([2, 1, 3]),
        np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]),
        np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]]),
        np.array([[1, 0, 2], [0, -1, 0], [0, 0, 1]]),
    ],
    ids=str,
)
@pytest.mark.parametrize("shape", [(5, 3, 4), (4, 4, 6)])
def test_another_cell_is_the_sum_of_the_same_waves(cells, shape):
    values = np.random.default_rng(5).standard_normal(shape)
    target = tuple(int(n) for n in np.abs(cells).sum(axis=1) * 9)  # holds all frequencies
    moved = to_other_cell(values, target, cells, translation=(0.1, 0.2, 0.7))
    points = np.stack(np.meshgrid(*[np.arange(n) / n for n in target], indexing="ij"), axis=-1)
    points = (points.reshape(-1, 3) - [0.1, 0.2, 0.7]) @ cells
    np.testing.assert_allclose(moved.ravel(), by_waves(values, points), atol=1e-12)
    assert moved.mean() == pytest.approx(values.mean(), abs=1e-14)


def test_the_same_cell_is_regridded_and_a_grid_vector_rolls_the_grid():
    values = np.random.default_rng(6).standard_normal((4, 5, 6))
    same = to_other_cell(values, (4, 5, 6), np.eye(3, dtype=int))
    np.testing.assert_array_equal(same, values)
    for shape in [(8, 5, 7), (3, 3, 3)]:
        fine = to_other_cell(values, shape, np.eye(3, dtype=int), (1.0, 0.0, 0.0))
        np.testing.assert_allclose(fine, regrid(values, shape), atol=1e-12)
    rolled = to_other_cell(values, (4, 5, 6), np.eye(3, dtype=int), (1 / 4, 2 / 5, -3 / 6))
    np.testing.assert_allclose(rolled, np.roll(values, (1, 2, -3), (0, 1, 2)), atol=1e-12)


def test_a_cell_without_volume_is_refused():
    with pytest.raises(ValueError, match="no volume"):
        to_other_cell(np.ones((2, 2, 2)), (2, 2, 2), np.diag([1, 1, 0]))
    with pytest.raises(ValueError, match="cannot express"):
        to_other_cell(np.ones((2, 2, 2)), (2, 0, 2), np.eye(3, dtype=int))
