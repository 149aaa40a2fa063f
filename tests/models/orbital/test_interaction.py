"""Interactions: sums over pairs against sums over edges, and updates that are zero at first."""

import pytest

torch = pytest.importorskip("torch", reason="needs the models extra")

from orbital_models import crystal, network, precision, salt  # noqa: E402

from mlcharge_flows.models.orbital.equivariant import Coupling  # noqa: E402
from mlcharge_flows.models.orbital.graph import Graph  # noqa: E402
from mlcharge_flows.models.orbital.network import OrbitalNetwork  # noqa: E402


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
