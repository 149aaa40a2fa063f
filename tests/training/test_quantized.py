import numpy as np
import pytest

from mlcharge_flows.training.quantized import on_grid, quantize, quantize_waves, waves


@pytest.mark.parametrize("share", [1e-1, 1e-2, 1e-4])
def test_the_error_of_numbers_is_bounded(share):
    values = np.random.default_rng(1).standard_normal(200) ** 3
    error = np.abs(quantize(values, share).values - values).sum()
    assert error <= share * np.abs(values).sum()


@pytest.mark.parametrize("share", [1e-1, 1e-2, 1e-4])
@pytest.mark.parametrize("shape", [(8, 8, 8), (6, 9, 10), (7, 4, 5), (2, 1, 3)])
def test_the_error_on_the_grid_is_bounded(shape, share):
    values = np.random.default_rng(2).standard_normal(shape)
    packed = quantize_waves(values, share)
    error = np.abs(on_grid(waves(packed, shape), shape) - values).sum()
    assert error <= share * np.abs(values).sum() * (1 + 1e-9)


def test_a_coarser_step_would_be_too_coarse():
    values = np.random.default_rng(3).standard_normal((6, 8, 9))
    packed = quantize_waves(values, 1e-3)
    coefficients = np.fft.rfftn(values) / values.size
    step = 2 * packed.step
    coarse = step * (np.rint(coefficients.real / step) + 1j * np.rint(coefficients.imag / step))
    error = np.abs(on_grid(coarse, values.shape) - values).sum()
    assert error > 1e-3 * np.abs(values).sum()


def test_only_the_box_of_waves_that_are_not_zero_is_kept():
    x = np.arange(20) / 20
    wave = np.cos(2 * np.pi * 3 * x)[:, None, None] * np.ones((20, 18, 16))
    assert quantize_waves(wave, 1e-6).integers.shape == (2, 7, 1, 1)


def test_nothing_packs_to_nothing():
    packed = quantize_waves(np.zeros((4, 4, 4)), 1e-3)
    assert not on_grid(waves(packed, (4, 4, 4)), (4, 4, 4)).any()


def test_what_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="not finite"):
        quantize(np.array([1.0, np.nan]), 1e-3)
