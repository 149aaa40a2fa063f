"""Fourier series that are summed a plane of coefficients at a time."""

import numpy as np
import pytest

from mlcharge_flows.density.inverse_transform import from_planes


@pytest.mark.parametrize("shape", [(1, 1, 1), (4, 5, 6), (3, 2, 7), (8, 9, 1)])
def test_planes_of_a_function_give_it_back(shape):
    expected = np.random.default_rng(0).normal(size=shape)
    spectrum = np.fft.rfftn(expected, norm="forward")
    found = from_planes((spectrum[:, y] for y in range(shape[1])), shape)
    np.testing.assert_allclose(found, expected, atol=1e-14)
    assert found.flags.c_contiguous


def test_what_is_left_out_is_zero():
    shape, spectrum = (6, 5, 8), np.zeros((6, 5, 5), dtype=complex)
    spectrum[:, [0, 1, 4], :3] = np.fft.rfftn(np.random.default_rng(1).normal(size=(6, 3, 4)))
    planes = [None if y in (2, 3) else spectrum[:, y, :3] for y in range(5)]
    expected = np.fft.irfftn(spectrum, s=shape, axes=(0, 1, 2), norm="forward")
    np.testing.assert_allclose(from_planes(planes, shape), expected, atol=1e-13)
