"""Sums of orbitals over G vectors against the sum over orbitals and images in real space."""

import itertools
from math import gamma

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the models extra")

from orbital_models import crystal, precision  # noqa: E402

from mlcharge_flows.density.harmonics import real_harmonics  # noqa: E402
from mlcharge_flows.models.orbital.g_vectors import GVectors  # noqa: E402
from mlcharge_flows.models.orbital.gaussians import GaussianBasis  # noqa: E402

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
    coefficients[:, 0] = 0.0  # G = 0 is left out; see the next test
    scales = random.uniform(0.7, 1.4, (3, LMAX + 1, N_EXPONENTS))
    alpha = 0.7 * 1.8 ** np.arange(N_EXPONENTS)
    plain = in_real_space(ions, coefficients, np.broadcast_to(alpha, scales.shape))
    return ions, coefficients, scales, plain, in_real_space(ions, coefficients, scales * alpha)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 3e-6)])
def test_density_agrees_with_the_real_space_sum(sums, dtype, tolerance):
    ions, coefficients, scales, plain, scaled = sums
    with precision(dtype):
        basis = GaussianBasis(0.7, 1.8, N_EXPONENTS, LMAX)
        g_vectors = GVectors.of(ions, SHAPE, 30.0, LMAX)
        phases = g_vectors.phases(torch.from_numpy(ions.positions))
        given = torch.tensor(coefficients, dtype=dtype)
        for factors, expected in ((None, plain), (torch.tensor(scales, dtype=dtype), scaled)):
            grid = g_vectors.to_grid(g_vectors.density(given, phases, basis, factors))
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
        g_vectors = GVectors.of(ions, SHAPE, 30.0, LMAX)
        phases = g_vectors.phases(torch.from_numpy(ions.positions))
        grid = g_vectors.to_grid(
            g_vectors.density(torch.tensor(coefficients), phases, basis)
        ).numpy()
        charge = float(3 * basis.charges().sum())
    np.testing.assert_allclose(grid.mean(), 0.0, atol=1e-12)
    np.testing.assert_allclose(grid + charge / ions.volume, expected, atol=3e-6)


def test_gradients_are_those_of_finite_differences():
    ions = crystal()
    with precision(torch.float64):
        basis = GaussianBasis(0.7, 1.8, 2, 2)
        g_vectors = GVectors.of(ions, (4, 4, 5), 30.0, 2)
        phases = g_vectors.phases(torch.from_numpy(ions.positions))
        coefficients = torch.rand(3, 9, 2, requires_grad=True)
        scales = (0.5 + torch.rand(3, 3, 2)).requires_grad_()

        def density(c, s):
            return g_vectors.to_grid(g_vectors.density(c, phases, basis, s))

        assert torch.autograd.gradcheck(density, (coefficients, scales))


def test_a_finer_grid_holds_the_coarser_one():
    ions = crystal()
    with precision(torch.float64):
        basis = GaussianBasis(0.7, 1.8, 2, 2)
        coefficients = torch.rand(3, 9, 2)
        grids = []
        for shape in ((30, 32, 34), (60, 64, 68)):
            g_vectors = GVectors.of(ions, shape, 30.0, 2)
            phases = g_vectors.phases(torch.from_numpy(ions.positions))
            grids.append(g_vectors.to_grid(g_vectors.density(coefficients, phases, basis)).numpy())
    np.testing.assert_allclose(grids[1][::2, ::2, ::2], grids[0], atol=1e-6)


def test_low_g_components_fit_on_a_coarser_grid():
    """There they are the filtered density of the whole grid."""
    ions = crystal()
    with precision(torch.float64):
        g_vectors = GVectors.of(ions, (30, 32, 36), 30.0, LMAX)
        density = torch.randn(len(g_vectors.q), dtype=torch.complex128)
        density = torch.where(g_vectors.miller[:, 2] == 0, 0, density)  # real in any case
        low = g_vectors.up_to(12.0)
        kept = g_vectors.to_grid(torch.where(g_vectors.q <= 12.0, density, 0))
        coarse = low.to_grid(density[: len(low.q)])
    assert 0 < len(low.q) < len(g_vectors.q)
    assert coarse.numel() < kept.numel()
    assert float((coarse**2).mean()) == pytest.approx(float((kept**2).mean()))
    spectra = [np.fft.rfftn(grid.numpy(), norm="forward") for grid in (kept, coarse)]
    x, y, z = low.miller.long().numpy().T
    np.testing.assert_allclose(spectra[0][x, y, z], spectra[1][x, y, z], atol=1e-12)


def test_projections_are_the_adjoint_of_the_density():
    """Their overlap with any coefficients is the integral of both densities over the cell."""
    ions = crystal()
    with precision(torch.float64):
        basis = GaussianBasis(0.7, 1.8, 2, LMAX)
        g_vectors = GVectors.of(ions, SHAPE, 30.0, LMAX)
        phases = g_vectors.phases(torch.from_numpy(ions.positions))
        one, other = torch.randn(2, 3, (LMAX + 1) ** 2, 2)
        densities = [g_vectors.density(c, phases, basis) for c in (one, other)]
        grids = [g_vectors.to_grid(density) for density in densities]
        integral = (grids[0] * grids[1]).mean() * ions.volume
        overlap = (other * g_vectors.projections(densities[0], phases, basis)).sum()
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
        g_vectors = GVectors.of(ions, SHAPE, 30.0, LMAX)
        phases = g_vectors.phases(torch.from_numpy(ions.positions))
        density = g_vectors.density(torch.randn(3, (LMAX + 1) ** 2, N_EXPONENTS), phases, basis)
        expected = (orbital * g_vectors.to_grid(density).numpy()).mean() * ions.volume
        found = g_vectors.projections(density, phases, basis)[1, 7, 2].item()
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_orbitals_left_out_of_a_shell_are_rounding(dtype, monkeypatch):
    """Wide orbitals are left out of the sums at high |G|; with one shell nothing is."""
    ions = crystal()
    with precision(dtype):
        torch.manual_seed(0)
        basis = GaussianBasis(0.28, 1.6, 12, LMAX)
        g_vectors = GVectors.of(ions, (40, 42, 48), 24.0, LMAX)
        assert (g_vectors.q.diff() >= 0).all()
        phases = g_vectors.phases(torch.from_numpy(ions.positions))
        coefficients = torch.randn(3, (LMAX + 1) ** 2, 12)
        found = []
        for shells in (3, 1):
            monkeypatch.setattr("mlcharge_flows.models.orbital.g_vectors.N_SHELLS", shells)
            density = g_vectors.density(coefficients, phases, basis)
            found.append((density, g_vectors.projections(density, phases, basis)))
        eps = torch.finfo(dtype).eps
        for one, other in zip(*found, strict=True):
            assert (one - other).abs().max() < 30 * eps * other.abs().max()
