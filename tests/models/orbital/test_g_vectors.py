"""Orbitals in plane waves against the sum over orbitals and images in real space."""

import itertools
from math import gamma

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the models extra")

from orbital_models import crystal, precision  # noqa: E402

from mlcharge_flows.density.harmonics import real_harmonics  # noqa: E402
from mlcharge_flows.models.orbital.basis import GaussianBasis  # noqa: E402
from mlcharge_flows.models.orbital.g_vectors import GVectors  # noqa: E402

SHAPE = (20, 21, 24)
LMAX = 3
N_EXPONENTS = 3


def in_real_space(crystal, coefficients, exponents):
    """Density by the definition: every orbital of every site and its images, double precision.

    `exponents` has shape (sites, lmax + 1, exponents).
    """
    points = np.stack(np.meshgrid(*[np.arange(n) / n for n in SHAPE], indexing="ij"), -1)
    total = np.zeros(SHAPE)
    for site, position in enumerate(crystal.positions):
        for image in itertools.product(range(-3, 4), repeat=3):
            away = (points - position - image) @ crystal.lattice
            r = np.linalg.norm(away, axis=-1)
            angular = real_harmonics(LMAX, away / np.maximum(r, 1e-12)[..., None])
            for degree in range(LMAX + 1):
                for k, alpha in enumerate(exponents[site, degree]):
                    norm = gamma(degree + 1.5) / (2 * (2 * alpha) ** (degree + 1.5))
                    radial = norm**-0.5 * r**degree * np.exp(-alpha * r**2)
                    own = coefficients[site, degree**2 : (degree + 1) ** 2, k]
                    total += radial * (angular[degree] @ own)
    return total


@pytest.fixture(scope="module")
def sums():
    """The slow reference, once for all tests: plain and with scaled exponents."""
    random = np.random.default_rng(2)
    ions = crystal()
    coefficients = random.standard_normal((3, (LMAX + 1) ** 2, N_EXPONENTS))
    coefficients[:, 0] = 0.0  # the wave G = 0 is not of the plane waves; see the next test
    scales = random.uniform(0.7, 1.4, (3, LMAX + 1, N_EXPONENTS))
    alpha = 0.7 * 1.8 ** np.arange(N_EXPONENTS)
    plain = in_real_space(ions, coefficients, np.broadcast_to(alpha, scales.shape))
    return ions, coefficients, scales, plain, in_real_space(ions, coefficients, scales * alpha)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 3e-6)])
def test_density_agrees_with_the_real_space_sum(sums, dtype, tolerance):
    ions, coefficients, scales, plain, scaled = sums
    with precision(dtype):
        basis = GaussianBasis(0.7, 1.8, N_EXPONENTS, LMAX)
        waves = GVectors.of(ions, SHAPE, 30.0, LMAX)
        phases = waves.phases(torch.from_numpy(ions.positions))
        given = torch.tensor(coefficients, dtype=dtype)
        for factors, expected in ((None, plain), (torch.tensor(scales, dtype=dtype), scaled)):
            grid = waves.to_grid(waves.density(given, phases, basis, factors))
            # The grid's own cutoff is felt where the narrowest Gaussians have not decayed.
            size = np.abs(expected).max()
            assert np.abs(grid.numpy() - expected).max() < max(tolerance, 2e-6) * size


def test_a_monopole_lacks_only_its_mean():
    ions = crystal()
    coefficients = np.zeros((3, (LMAX + 1) ** 2, N_EXPONENTS))
    coefficients[:, 0] = 1.0
    alpha = np.broadcast_to(0.7 * 1.8 ** np.arange(N_EXPONENTS), (3, LMAX + 1, N_EXPONENTS))
    expected = in_real_space(ions, coefficients, alpha)
    with precision(torch.float64):
        basis = GaussianBasis(0.7, 1.8, N_EXPONENTS, LMAX)
        waves = GVectors.of(ions, SHAPE, 30.0, LMAX)
        phases = waves.phases(torch.from_numpy(ions.positions))
        grid = waves.to_grid(waves.density(torch.tensor(coefficients), phases, basis)).numpy()
        charge = float(3 * basis.charges().sum())
    np.testing.assert_allclose(grid.mean(), 0.0, atol=1e-12)
    np.testing.assert_allclose(grid + charge / ions.volume, expected, atol=3e-6)


def test_gradients_are_those_of_finite_differences():
    ions = crystal()
    with precision(torch.float64):
        basis = GaussianBasis(0.7, 1.8, 2, 2)
        waves = GVectors.of(ions, (4, 4, 5), 30.0, 2)
        phases = waves.phases(torch.from_numpy(ions.positions))
        coefficients = torch.rand(3, 9, 2, requires_grad=True)
        scales = (0.5 + torch.rand(3, 3, 2)).requires_grad_()

        def density(c, s):
            return waves.to_grid(waves.density(c, phases, basis, s))

        assert torch.autograd.gradcheck(density, (coefficients, scales))


def test_a_finer_grid_holds_the_coarser_one():
    ions = crystal()
    with precision(torch.float64):
        basis = GaussianBasis(0.7, 1.8, 2, 2)
        coefficients = torch.rand(3, 9, 2)
        grids = []
        for shape in ((30, 32, 34), (60, 64, 68)):
            waves = GVectors.of(ions, shape, 30.0, 2)
            phases = waves.phases(torch.from_numpy(ions.positions))
            grids.append(waves.to_grid(waves.density(coefficients, phases, basis)).numpy())
    np.testing.assert_allclose(grids[1][::2, ::2, ::2], grids[0], atol=1e-6)


def test_long_waves_fit_on_a_coarser_grid():
    """There they are what a filter leaves of the density on the whole grid."""
    ions = crystal()
    with precision(torch.float64):
        waves = GVectors.of(ions, (30, 32, 36), 30.0, LMAX)
        density = torch.randn(len(waves.q), dtype=torch.complex128)
        density = torch.where(waves.miller[:, 2] == 0, 0, density)  # real in any case
        long = waves.up_to(12.0)
        kept = waves.to_grid(torch.where(waves.q <= 12.0, density, 0))
        coarse = long.to_grid(density[: len(long.q)])
    assert 0 < len(long.q) < len(waves.q)
    assert coarse.numel() < kept.numel()
    assert float((coarse**2).mean()) == pytest.approx(float((kept**2).mean()))
    spectra = [np.fft.rfftn(grid.numpy(), norm="forward") for grid in (kept, coarse)]
    x, y, z = long.miller.long().numpy().T
    np.testing.assert_allclose(spectra[0][x, y, z], spectra[1][x, y, z], atol=1e-12)


def test_projections_are_the_adjoint_of_the_density():
    """Their overlap with any coefficients is the integral of both densities over the cell."""
    ions = crystal()
    with precision(torch.float64):
        basis = GaussianBasis(0.7, 1.8, 2, LMAX)
        waves = GVectors.of(ions, SHAPE, 30.0, LMAX)
        phases = waves.phases(torch.from_numpy(ions.positions))
        one, other = torch.randn(2, 3, (LMAX + 1) ** 2, 2)
        densities = [waves.density(c, phases, basis) for c in (one, other)]
        grids = [waves.to_grid(density) for density in densities]
        integral = (grids[0] * grids[1]).mean() * ions.volume
        overlap = (other * waves.projections(densities[0], phases, basis)).sum()
        torch.testing.assert_close(overlap, integral)


def test_a_projection_is_the_integral_with_the_orbital():
    ions = crystal()
    alpha = 0.7 * 1.8 ** np.arange(N_EXPONENTS)
    broad = np.broadcast_to(alpha, (3, LMAX + 1, N_EXPONENTS))
    coefficients = np.zeros((3, (LMAX + 1) ** 2, N_EXPONENTS))
    coefficients[1, 7, 2] = 1.0  # one orbital with its images
    orbital = in_real_space(ions, coefficients, broad)
    with precision(torch.float64):
        basis = GaussianBasis(0.7, 1.8, N_EXPONENTS, LMAX)
        waves = GVectors.of(ions, SHAPE, 30.0, LMAX)
        phases = waves.phases(torch.from_numpy(ions.positions))
        density = waves.density(torch.randn(3, (LMAX + 1) ** 2, N_EXPONENTS), phases, basis)
        expected = (orbital * waves.to_grid(density).numpy()).mean() * ions.volume
        found = waves.projections(density, phases, basis)[1, 7, 2].item()
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_what_drops_out_of_a_shell_is_rounding(dtype, monkeypatch):
    """Wide orbitals do not reach the short waves; at once, nothing drops out."""
    ions = crystal()
    with precision(dtype):
        torch.manual_seed(0)
        basis = GaussianBasis(0.28, 1.6, 12, LMAX)
        waves = GVectors.of(ions, (40, 42, 48), 24.0, LMAX)
        assert (waves.q.diff() >= 0).all()
        phases = waves.phases(torch.from_numpy(ions.positions))
        coefficients = torch.randn(3, (LMAX + 1) ** 2, 12)
        found = []
        for shells in (3, 1):
            monkeypatch.setattr("mlcharge_flows.models.orbital.g_vectors.N_SHELLS", shells)
            density = waves.density(coefficients, phases, basis)
            found.append((density, waves.projections(density, phases, basis)))
        eps = torch.finfo(dtype).eps
        for one, other in zip(*found, strict=True):
            assert (one - other).abs().max() < 30 * eps * other.abs().max()
