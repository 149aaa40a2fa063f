import numpy as np
import pytest

from mlcharge_flows.training.quantization import coefficients_of, quantize, quantize_grid, to_grid


@pytest.mark.parametrize("tolerance", [1e-1, 1e-2, 1e-4])
def test_the_error_of_numbers_is_bounded(tolerance):
    values = np.random.default_rng(1).standard_normal(200) ** 3
    error = np.abs(quantize(values, tolerance).values - values).sum()
    assert error <= tolerance * np.abs(values).sum()


@pytest.mark.parametrize("tolerance", [1e-1, 1e-2, 1e-4])
@pytest.mark.parametrize("shape", [(8, 8, 8), (6, 9, 10), (7, 4, 5), (2, 1, 3)])
def test_the_error_on_the_grid_is_bounded(shape, tolerance):
    values = np.random.default_rng(2).standard_normal(shape)
    packed = quantize_grid(values, tolerance)
    error = np.abs(to_grid(coefficients_of(packed, shape), shape) - values).sum()
    assert error <= tolerance * np.abs(values).sum() * (1 + 1e-9)


def test_the_step_is_the_coarsest():
    values = np.random.default_rng(3).standard_normal((6, 8, 9))
    packed = quantize_grid(values, 1e-3)
    coefficients = np.fft.rfftn(values) / values.size
    step = 2 * packed.step
    coarse = step * (np.rint(coefficients.real / step) + 1j * np.rint(coefficients.imag / step))
    error = np.abs(to_grid(coarse, values.shape) - values).sum()
    assert error > 1e-3 * np.abs(values).sum()


def test_only_the_box_of_nonzero_coefficients_is_kept():
    x = np.arange(20) / 20
    wave = np.cos(2 * np.pi * 3 * x)[:, None, None] * np.ones((20, 18, 16))
    assert quantize_grid(wave, 1e-6).integers.shape == (2, 7, 1, 1)


def test_zero_is_packed_exactly():
    packed = quantize_grid(np.zeros((4, 4, 4)), 1e-3)
    assert not to_grid(coefficients_of(packed, (4, 4, 4)), (4, 4, 4)).any()


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="not finite"):
        quantize(np.array([1.0, np.nan]), 1e-3)
