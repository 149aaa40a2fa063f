"""Laws of Fourier interpolation."""

import itertools

import numpy as np
import pytest

from mlcharge_flows.density.grid import frequencies, regrid


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
