"""Intel's transforms, where they are: the same numbers."""

import numpy as np
import pytest
from scipy import fft

from mlcharge_flows.gpaw_vasp import command
from mlcharge_flows.gpaw_vasp.command import use_mkl_transforms


@pytest.fixture
def afterwards():
    """Leave scipy as it was."""
    yield
    fft.set_global_backend("scipy")


def test_without_them_everything_stays(monkeypatch):
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    assert not use_mkl_transforms()


@pytest.mark.usefixtures("afterwards")
def test_transforms_agree_with_numpy():
    pytest.importorskip("mkl_fft", reason="needs the mkl extra")
    pytest.importorskip("mkl", reason="needs the mkl extra")
    assert use_mkl_transforms()
    random = np.random.default_rng(0)
    shape = (12, 15, 16)
    values = random.standard_normal(shape) + 1j * random.standard_normal(shape)
    expected = np.fft.fftn(values)
    np.testing.assert_allclose(fft.fftn(values), expected, atol=1e-11)
    given = values.copy()
    there = fft.ifftn(fft.fftn(given, overwrite_x=True), norm="forward", overwrite_x=True)
    np.testing.assert_allclose(there / values.size, values, atol=1e-12)
    np.testing.assert_allclose(fft.rfftn(values.real), np.fft.rfftn(values.real), atol=1e-11)
    back = fft.irfftn(fft.rfftn(values.real), s=shape)
    np.testing.assert_allclose(back, values.real, atol=1e-12)
