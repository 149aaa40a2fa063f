"""Gaussian orbitals."""

from math import pi

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the models extra")

from orbital_models import precision  # noqa: E402
from scipy.special import spherical_jn  # noqa: E402

from mlcharge_flows.models.orbital.gaussians import GaussianBasis  # noqa: E402

R = np.linspace(0.0, 14.0, 4001)
LMAX = 4


@pytest.fixture
def basis():
    with precision(torch.float64):
        return GaussianBasis(0.4, 2.0, 5, LMAX)


def orbitals(basis, degree, scales=1.0):
    """Normalized r^l exp(-a r^2) on the mesh R, by numerical normalization."""
    exponents = basis.exponents.numpy() * scales
    values = R**degree * np.exp(-exponents[:, None] * R**2)
    return values / np.sqrt(np.trapezoid(values**2 * R**2, R))[:, None]


@pytest.mark.parametrize("degree", range(LMAX + 1))
def test_transforms_agree_with_bessel_integrals(basis, degree):
    q = np.array([0.05, 0.7, 2.0, 5.0])
    bessel = spherical_jn(degree, q[:, None] * R)
    expected = 4 * pi * np.trapezoid(orbitals(basis, degree)[:, None] * bessel * R**2, R)
    found = basis.radials(torch.tensor(q))[degree].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("degree", range(LMAX + 1))
def test_scaled_transforms_are_those_of_scaled_exponents(basis, degree):
    q = np.array([0.3, 1.5])
    scales = np.array([0.5, 0.8, 1.0, 1.3, 2.0])
    bessel = spherical_jn(degree, q[:, None] * R)
    expected = 4 * pi * np.trapezoid(orbitals(basis, degree, scales)[:, None] * bessel * R**2, R)
    found = basis.radials(torch.tensor(q), torch.tensor(scales).expand(LMAX + 1, -1))[
        degree
    ].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("degree", range(LMAX + 1))
def test_mixtures_are_orthonormal(basis, degree):
    mixtures = basis.orthonormal[degree].numpy() @ orbitals(basis, degree)
    overlap = np.trapezoid(mixtures[:, None] * mixtures[None] * R**2, R)
    np.testing.assert_allclose(overlap, np.eye(5), atol=1e-7)


def test_charges_are_integrals(basis):
    scales = torch.tensor([0.5, 0.8, 1.0, 1.3, 2.0])
    for given, factor in ((None, 1.0), (scales, scales.numpy())):
        expected = np.trapezoid(orbitals(basis, 0, factor) * R**2, R) * (4 * pi) ** 0.5
        np.testing.assert_allclose(basis.charges(given).numpy(), expected, atol=1e-6)


def test_coefficients_of_mixtures_become_those_of_gaussians(basis):
    coefficients = torch.rand(2, (LMAX + 1) ** 2, 5, dtype=torch.float64)
    plain = basis.uncontracted(coefficients)
    for component, degree in ((0, 0), (2, 1), (20, 4)):
        mixtures = basis.orthonormal[degree].numpy() @ orbitals(basis, degree)
        np.testing.assert_allclose(
            plain[1, component].numpy() @ orbitals(basis, degree),
            coefficients[1, component].numpy() @ mixtures,
            atol=1e-9,
        )
