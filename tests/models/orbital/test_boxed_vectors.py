"""Sums in the box at chosen G vectors, as losses take them, against direct sums."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the models extra")

from orbital_models import precision  # noqa: E402

from mlcharge_flows.density.crystal import Crystal  # noqa: E402
from mlcharge_flows.models.orbital.boxed_vectors import BoxedGVectors  # noqa: E402
from mlcharge_flows.models.orbital.g_vectors import GVectors  # noqa: E402
from mlcharge_flows.models.orbital.gaussians import GaussianBasis  # noqa: E402

LATTICE = np.array([[4.6, 0.3, -0.2], [1.1, 5.1, 0.4], [-0.6, 0.9, 3.8]])
CRYSTAL = Crystal(LATTICE, ("Na",) * 4, np.random.default_rng(2).uniform(-1, 2, (4, 3)))
SITES = torch.from_numpy(CRYSTAL.positions)
SHAPE, G_MAX, LMAX = (30, 36, 24), 16.0, 3


@pytest.fixture(params=["all", "thinned"])
def both(request):
    """Direct and boxed G vectors, all or some of them, which then stand for others."""
    with precision(torch.float64):
        pair = [kind.of(CRYSTAL, SHAPE, G_MAX, LMAX) for kind in (GVectors, BoxedGVectors)]
        if request.param == "thinned":
            chosen = torch.arange(3, len(pair[0].q), 5)
            pair = [one.select(chosen) for one in pair]
            pair = [replace(one, multiplicity=one.multiplicity * 5) for one in pair]
        yield pair


def basis():
    return GaussianBasis(0.4, 1.7, 4, LMAX)


def close(found, expected):
    return (found - expected).abs().max() < 1e-6 * expected.abs().max()


def test_coefficients_and_their_gradients_are_those_of_the_direct_sum(both):
    target = torch.randn(len(both[0].q), dtype=torch.complex128)
    densities, gradients = [], []
    for g_vectors in both:
        torch.manual_seed(0)
        coefficients = torch.randn(4, (LMAX + 1) ** 2, 4, requires_grad=True)
        density = g_vectors.density(coefficients, g_vectors.phases(SITES), basis())
        (g_vectors.multiplicity * (density - target).abs() ** 2).sum().backward()
        densities.append(density.detach())
        gradients.append(coefficients.grad)
    assert close(*densities[::-1])
    assert close(*gradients[::-1])


def test_gradients_are_the_adjoint():
    with precision(torch.float64):
        g_vectors = BoxedGVectors.of(CRYSTAL, (6, 7, 6), G_MAX, 1).select(slice(0, 60, 2))
        gaussians = GaussianBasis(0.7, 1.8, 2, 1)
        coefficients = torch.rand(4, 4, 2, requires_grad=True)
        assert torch.autograd.gradcheck(
            lambda c: g_vectors.density(c, SITES, gaussians), (coefficients,)
        )


def test_projections_and_structure_factors_are_those_of_the_direct_sum(both):
    density = torch.randn(len(both[0].q), dtype=torch.complex128)
    kinds = torch.tensor([0, 1, 1, 0])
    overlaps, factors = [], []
    for g_vectors in both:
        phases = g_vectors.phases(SITES)
        overlaps.append(g_vectors.projections(density, phases, basis()))
        factors.append(g_vectors.structure_factors(kinds, 2, phases))
    assert close(*overlaps[::-1])
    assert close(*factors[::-1])


def test_direct_sums_can_be_taken_at_the_same_g_vectors(both):
    expected, found = both[0], both[1].direct()
    assert type(found) is GVectors
    for name in ("miller", "index", "q", "harmonics", "multiplicity"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name))
