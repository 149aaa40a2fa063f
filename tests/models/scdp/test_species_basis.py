"""Orbitals that differ from species to species, against the sum over orbitals in real space."""

import itertools
from math import gamma, pi

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the models extra")

from scdp_models import SHELLS, boxed, network, placed  # noqa: E402

from mlcharge_flows.density.harmonics import real_harmonics  # noqa: E402
from mlcharge_flows.models.orbital.g_vectors import GVectors  # noqa: E402
from mlcharge_flows.models.scdp.basis import MIN_EIGENVALUE, SpeciesBasis  # noqa: E402

SHAPE = (24, 25, 27)
RATIO = 1.8


def norm(alpha, degree):
    return (gamma(degree + 1.5) / (2 * (2 * alpha) ** (degree + 1.5))) ** -0.5


def in_real_space(crystal, sites, shells, coefficients, scales):
    """Density by the definition: every orbital of every site and image, in double precision."""
    points = np.stack(np.meshgrid(*[np.arange(n) / n for n in SHAPE], indexing="ij"), -1)
    total = np.zeros(SHAPE)
    for site, position in enumerate(sites):
        for image in itertools.product(range(-1, 2), repeat=3):
            away = (points - position - image) @ crystal.lattice
            r = np.linalg.norm(away, axis=-1)
            angular = real_harmonics(4, away / np.maximum(r, 1e-12)[..., None])
            for degree, (smallest, n) in enumerate(shells[site]):
                for k in range(n):
                    alpha = smallest * RATIO**k * scales[site, degree, k]
                    radial = norm(alpha, degree) * r**degree * np.exp(-alpha * r**2)
                    own = coefficients[site, degree**2 : (degree + 1) ** 2, k]
                    total += radial * (angular[degree] @ own)
    return total


@pytest.mark.parametrize("scaled", [False, True])
def test_single_precision_agrees_with_the_real_space_sum(scaled):
    molecule = boxed(placed(), center=(0.1, 0.9, 0.5))
    made = network(virtual="bonds", scaling=scaled, ratio=RATIO)
    graph = made.graph(molecule)
    with torch.inference_mode():
        prediction = made(graph)[0]
        g_vectors = GVectors.of(molecule, SHAPE, 30.0, made.basis.lmax)
        grid = g_vectors.to_grid(
            g_vectors.density(
                prediction.coefficients,
                g_vectors.phases(graph.positions),
                made.basis.of(graph.species),
                prediction.scales,
            )
        )
    assert grid.dtype == torch.float32
    coefficients = prediction.coefficients.double().numpy()
    scales = np.ones((len(graph.species), 5, made.basis.n_exponents))
    if scaled:
        scales = prediction.scales.double().numpy()
        assert scales.min() < 0.8
        assert scales.max() > 1.2
    shells = [SHELLS[made.config.species[kind]] for kind in graph.species]
    assert len(shells) == 4 + 3  # three bonds
    expected = in_real_space(molecule, graph.positions.numpy(), shells, coefficients, scales)
    size = np.abs(expected).max()
    assert size > 0.1
    # No net charge: the missing wave G = 0 is zero.
    assert abs(expected.mean()) * molecule.volume < 1e-4 * size
    assert np.abs(grid.numpy() - expected).max() < 2e-5 * size


def test_contractions_are_orthonormal_unless_nearly_dependent():
    torch.set_default_dtype(torch.float64)
    try:
        for ratio, exact in ((2.5, True), (1.3, False)):
            basis = SpeciesBasis([[(0.4, 6), (0.5, 2)], [(0.3, 4)]], ratio)
            alpha = basis.exponents[0, 0].numpy()
            overlap = (2 * np.sqrt(np.outer(alpha, alpha)) / np.add.outer(alpha, alpha)) ** 1.5
            contractions = basis.contractions[0, 0].numpy()
            values = np.linalg.eigvalsh(contractions @ overlap @ contractions.T)
            if exact:
                np.testing.assert_allclose(values, 1.0, atol=1e-9)
            else:
                assert values.min() > 0
                assert values.min() < 1e-3
                np.testing.assert_allclose(values.max(), 1.0, atol=1e-9)
                assert np.abs(contractions).max() < MIN_EIGENVALUE**-0.5
    finally:
        torch.set_default_dtype(torch.float32)


def test_what_a_species_does_not_have_is_zero():
    basis = SpeciesBasis([[(0.4, 3), (0.5, 2)], [(0.3, 1)]], 2.0)
    orbitals = basis.of(torch.tensor([1, 0]))
    coefficients = orbitals.uncontracted(torch.ones(2, 4, 3))
    assert coefficients[0, 0, 0] != 0
    assert coefficients[0, 0, 1:].eq(0).all()
    assert coefficients[0, 1:].eq(0).all()
    assert coefficients[1, 1, :2].ne(0).all()
    assert coefficients[1, 1, 2:].eq(0).all()
    integral = (pi / 0.3) ** 1.5 * norm(0.3, 0) / (4 * pi) ** 0.5
    torch.testing.assert_close(orbitals.charges()[0], torch.tensor([integral, 0.0, 0.0]))
