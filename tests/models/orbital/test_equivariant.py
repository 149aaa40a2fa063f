"""Equivariant layers, compared with e3nn and with sums over single neighbors."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the models extra")

from orbital_models import crystal, network, precision, salt  # noqa: E402

from mlcharge_flows.models.orbital.coupling import Coupling  # noqa: E402
from mlcharge_flows.models.orbital.equivariant import EquivariantLinear, GauntProduct  # noqa: E402
from mlcharge_flows.models.orbital.graph import Graph, harmonics  # noqa: E402
from mlcharge_flows.models.orbital.network import OrbitalNetwork  # noqa: E402

CYCLIC = [1, 2, 0]
"""e3nn's polar axis is y."""
DEGREES = list(range(5))


@pytest.fixture
def o3():
    return pytest.importorskip("e3nn.o3", reason="needs the models extra")


def irreps(o3):
    return o3.Irreps([(1, (degree, (-1) ** degree)) for degree in DEGREES])


def rotation(o3, sign=1):
    return sign * o3.rand_matrix(dtype=torch.float64)


def test_harmonics_are_e3nns(o3):
    vectors = np.random.default_rng(0).standard_normal((20, 3))
    with precision(torch.float64):
        found = harmonics(vectors, 4)
        turned = torch.tensor(vectors[:, CYCLIC])
        expected = o3.spherical_harmonics(DEGREES, turned, True, "integral")
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("n_factors", [2, 3, 4])
def test_products_on_the_sphere_are_equivariant(o3, n_factors, sign):
    torch.manual_seed(0)
    with precision(torch.float64):
        product = GauntProduct(4, n_factors)
        matrix = irreps(o3).D_from_matrix(rotation(o3, sign))
        factors = torch.randn(2, 25, n_factors, 3)
        turned = torch.einsum("ab,nbfc->nafc", matrix, factors)
        for one, other in zip(product(turned), product(factors), strict=True):
            torch.testing.assert_close(one, torch.einsum("ab,nbc->nac", matrix, other))


def test_a_product_of_two_is_the_gaunt_coupling(o3):
    """Between fixed degrees a product on the sphere can only be the Clebsch-Gordan product."""
    torch.manual_seed(0)
    with precision(torch.float64):
        left, right = torch.randn(3), torch.randn(5)
        factors = torch.zeros(1, 25, 2, 1)
        factors[0, 1:4, 0, 0], factors[0, 4:9, 1, 0] = left, right
        (found,) = GauntProduct(4, 2)(factors)
        coupling = o3.wigner_3j(1, 2, 3)
        expected = torch.einsum("abc,a,b->c", coupling, left, right)
        part = found[0, 9:16, 0]
        ratio = part @ expected / (expected @ expected)
        torch.testing.assert_close(part, ratio * expected)
        assert abs(ratio) > 0.1
        # 1 x 2 couples to 1 and 3 only: 2 has the wrong parity.
        torch.testing.assert_close(found[0, 4:9, 0], torch.zeros(5), atol=1e-12, rtol=0)


def test_linear_maps_treat_components_alike(o3):
    torch.manual_seed(0)
    with precision(torch.float64):
        linear = EquivariantLinear(3, 2, 4)
        matrix = irreps(o3).D_from_matrix(rotation(o3))
        features = torch.randn(2, 25, 3)
        turned = torch.einsum("ab,nbc->nac", matrix, features)
        torch.testing.assert_close(
            linear(turned), torch.einsum("ab,nbc->nac", matrix, linear(features))
        )


@pytest.mark.parametrize("make", [crystal, salt])
def test_couplings_are_sums_over_single_neighbors(make):
    """Images of a neighbor are summed before the product; the loop takes every edge."""
    with precision(torch.float64):
        torch.manual_seed(2)
        config = network().config
        coupling = Coupling(config.lmax, 6, 4)
        graph = Graph.of(make(), config)
        n_sites, n_components = len(graph.species), graph.harmonics.shape[1]
        features = torch.randn(n_sites, n_components, 6)
        weights = torch.randn(len(graph.centers), 6)
        single = weights[:, None] * graph.harmonics[:, :, None]

        slow = torch.zeros(n_sites, n_components, 4)
        values, weighted = coupling.product.values, coupling.product.weighted
        for center, other, directed in zip(graph.centers, graph.neighbors, single, strict=True):
            where = values @ coupling.direction(directed[None])[0]
            what = values @ coupling.feature(features[other][None])[0]
            slow[center] += weighted.T @ (where * what)

        keys = graph.centers * n_sites + graph.neighbors
        bonds, of_pair = keys.unique(return_inverse=True)
        directed = single.new_zeros(len(bonds), n_components, 6).index_add(0, of_pair, single)
        found = coupling(features, directed, bonds // n_sites, bonds % n_sites)
        torch.testing.assert_close(found, coupling.update(slow))
        coupling.zero_init()
        assert not coupling(features, directed, bonds // n_sites, bonds % n_sites).any()


def test_the_coupling_matters():
    with precision(torch.float64):
        made = network(n_coupled=4)
        graph = Graph.of(crystal(), made.config)
        with torch.inference_mode():
            before = made(graph)[0].coefficients.clone()
            made.interactions[1].coupling.zero_init()
            after = made(graph)[0].coefficients
    assert (after - before).abs().max() > 1e-3 * before.abs().max()


def test_later_interactions_change_nothing_before_training():
    made = network(n_interactions=3, n_coupled=4)
    fresh = OrbitalNetwork(made.config)
    graph = Graph.of(crystal(), made.config)
    with torch.inference_mode():
        found = fresh.features(graph)
        del fresh.interactions[1:]
        torch.testing.assert_close(fresh.features(graph), found, rtol=0, atol=0)
