"""Sums over sites by fast Fourier transforms against direct sums over all G vectors, and laws."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the models extra")

from orbital_models import precision  # noqa: E402

from mlcharge_flows.density.crystal import Crystal  # noqa: E402
from mlcharge_flows.models.orbital.elements import FormFactors  # noqa: E402
from mlcharge_flows.models.orbital.equivariant import degree_of_component  # noqa: E402
from mlcharge_flows.models.orbital.fourier_box import FourierBox  # noqa: E402
from mlcharge_flows.models.orbital.g_vectors import GVectors  # noqa: E402
from mlcharge_flows.models.orbital.gaussians import GaussianBasis  # noqa: E402

TRICLINIC = np.array([[5.6, 0.3, -0.2], [1.5, 6.1, 0.4], [-0.6, 1.2, 4.0]])
SHAPE, G_MAX, LMAX = (48, 50, 32), 24.0, 4
"""The third axis ends at the Nyquist frequency of the grid, the others at the sphere."""
TOLERANCE = 1e-6
"""Of the density's change."""


@pytest.fixture
def doubles():
    with precision(torch.float64):
        yield GaussianBasis(0.28, 1.6, 14, LMAX)


def ions(n=5, lattice=TRICLINIC, seed=1):
    positions = np.random.default_rng(seed).uniform(-1, 2, size=(n, 3))
    return Crystal(lattice, ("Na",) * n, positions)


def orthonormal(basis, n, seed=0):
    """Gaussian coefficients of random contractions that are orthonormal on one site.

    As in densities of crystals, high degrees and narrow orbitals have smaller ones.
    """
    generator = torch.Generator().manual_seed(seed)
    random = torch.randn(n, (basis.lmax + 1) ** 2, basis.n_exponents, generator=generator)
    random *= 0.8 ** torch.arange(basis.n_exponents)
    random *= 0.6 ** degree_of_component(basis.lmax)[:, None]
    return basis.uncontracted(random)


def on_grid(basis, crystal, coefficients, shape=SHAPE, kind=FourierBox):
    arguments = (basis.lmax,) if kind is GVectors else ()
    sums = kind.of(crystal, shape, G_MAX, *arguments)
    phases = sums.phases(torch.from_numpy(crystal.positions))
    return sums.to_grid(sums.density(coefficients, phases, basis))


def relative(found, expected):
    return float((found - expected).abs().sum() / expected.abs().sum())


def test_density_and_projections_agree_with_the_direct_sums(doubles):
    crystal, coefficients = ions(), orthonormal(doubles, 5)
    box, direct = FourierBox.of(crystal, SHAPE, G_MAX), GVectors.of(crystal, SHAPE, G_MAX, LMAX)
    positions = torch.from_numpy(crystal.positions)
    phases = direct.phases(positions)
    expected = direct.density(coefficients, phases, doubles)
    found = box.density(coefficients, box.phases(positions), doubles)
    assert relative(box.to_grid(found), direct.to_grid(expected)) < TOLERANCE
    overlaps = doubles.uncontracted(box.projections(found, box.phases(positions), doubles))
    known = doubles.uncontracted(direct.projections(expected, phases, doubles))
    assert relative(overlaps, known) < TOLERANCE


def test_form_factors_agree_with_the_direct_sum(doubles):
    crystal, species = ions(), torch.tensor([0, 2, 2, 0, 2])
    factors = FormFactors(3, G_MAX)
    factors.values = torch.randn(factors.values.shape)
    factors.values[:, 0] = 0.0
    grids = []
    for sums in (FourierBox.of(crystal, SHAPE, G_MAX), GVectors.of(crystal, SHAPE, G_MAX, 0)):
        phases = sums.phases(torch.from_numpy(crystal.positions))
        grids.append(sums.to_grid(factors(species, sums, phases)))
    assert relative(*grids) < TOLERANCE


def test_coefficients_of_a_density_on_the_grid_give_it_back(doubles):
    crystal = ions()
    grid = on_grid(doubles, crystal, orthonormal(doubles, 5))
    for sums in (FourierBox.of(crystal, SHAPE, G_MAX), GVectors.of(crystal, SHAPE, G_MAX, LMAX)):
        torch.testing.assert_close(sums.to_grid(sums.from_grid(grid)), grid)


def test_no_charge_is_added(doubles):
    """The mean is zero to 1e-9 of the density's size, also where monopoles do not cancel."""
    grid = on_grid(doubles, ions(), orthonormal(doubles, 5))
    assert abs(float(grid.mean())) < 1e-9 * float(grid.abs().mean())


def test_gradients_are_the_adjoint(doubles):
    crystal = ions(3)
    box = FourierBox.of(crystal, (8, 9, 6), G_MAX)
    basis = GaussianBasis(0.7, 1.8, 2, 2)
    sites = torch.from_numpy(crystal.positions)
    coefficients = torch.rand(3, 9, 2, requires_grad=True)
    assert torch.autograd.gradcheck(lambda c: box.density(c, sites, basis), (coefficients,))
    density = box.density(torch.rand(3, 9, 2), sites, basis).requires_grad_()
    assert torch.autograd.gradcheck(lambda d: box.projections(d, sites, basis), (density,))


def test_gradients_agree_with_those_of_the_direct_sum(doubles):
    crystal, gradients = ions(), []
    target = on_grid(doubles, crystal, orthonormal(doubles, 5, seed=3))
    for kind in (FourierBox, GVectors):
        coefficients = orthonormal(doubles, 5).requires_grad_()
        ((on_grid(doubles, crystal, coefficients, kind=kind) - target) ** 2).sum().backward()
        gradients.append(coefficients.grad)
    assert relative(*gradients) < TOLERANCE


def test_translation_by_grid_points_rolls_the_density(doubles):
    crystal, coefficients = ions(), orthonormal(doubles, 5)
    shift = np.array([3, -1, 7]) / SHAPE
    moved = Crystal(crystal.lattice, crystal.symbols, crystal.positions + shift)
    rolled = on_grid(doubles, crystal, coefficients).roll((3, -1, 7), dims=(0, 1, 2))
    assert relative(on_grid(doubles, moved, coefficients), rolled) < TOLERANCE


def test_a_permutation_of_the_axes_permutes_the_density(doubles):
    """Lattice vectors in another order, the same ions: the same density on permuted axes."""
    crystal, coefficients = ions(), orthonormal(doubles, 5)
    order = [2, 0, 1]
    turned = Crystal(crystal.lattice[order], crystal.symbols, crystal.positions[:, order])
    shape = tuple(SHAPE[axis] for axis in order)
    found = on_grid(doubles, turned, coefficients, shape)
    assert relative(found, on_grid(doubles, crystal, coefficients).permute(order)) < TOLERANCE


def test_inversion_changes_the_sign_of_odd_degrees(doubles):
    crystal, coefficients = ions(), orthonormal(doubles, 5)
    inverted = Crystal(crystal.lattice, crystal.symbols, -crystal.positions)
    parity = torch.cat([torch.full((2 * degree + 1,), (-1.0) ** degree) for degree in range(5)])
    found = on_grid(doubles, inverted, coefficients * parity[:, None])
    expected = on_grid(doubles, crystal, coefficients).flip((0, 1, 2)).roll((1, 1, 1), (0, 1, 2))
    assert relative(found, expected) < TOLERANCE


def test_a_supercell_repeats_the_density(doubles):
    crystal, coefficients = ions(), orthonormal(doubles, 5)
    doubled = crystal.lattice * np.array([[2], [1], [1]])
    positions = np.concatenate([crystal.positions, crystal.positions + np.array([1, 0, 0])]) / [
        2,
        1,
        1,
    ]
    supercell = Crystal(doubled, crystal.symbols * 2, positions)
    found = on_grid(doubles, supercell, torch.cat([coefficients] * 2), (96, 50, 32))
    # The cell's own grid ends at |h| = 15 along the third axis; the supercell's as well.
    expected = on_grid(doubles, crystal, coefficients).repeat(2, 1, 1)
    assert relative(found, expected) < TOLERANCE


def test_a_finer_grid_holds_the_coarser_one(doubles):
    crystal, coefficients = ions(), orthonormal(doubles, 5)
    coarse = on_grid(doubles, crystal, coefficients, (49, 51, 35))
    fine = on_grid(doubles, crystal, coefficients, (98, 102, 70))
    assert relative(fine[::2, ::2, ::2], coarse) < TOLERANCE
