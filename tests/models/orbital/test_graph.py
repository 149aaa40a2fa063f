"""Images of a neighbor at one distance share an edge; one edge for each is the slow reference."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the models extra")

from orbital_models import crystal, network, precision, salt  # noqa: E402

from mlcharge_flows.density.crystal import NeighborList  # noqa: E402
from mlcharge_flows.models.orbital.graph import Graph  # noqa: E402


def one_by_one(ions, config):
    """The same graph with an edge for every image."""
    pairs = NeighborList.of_ions(ions, config.cutoff)
    return Graph.from_neighbors(ions.symbols, [], ions.positions, pairs, config)


@pytest.mark.parametrize("ions", [salt(), crystal()], ids=["salt", "triclinic"])
def test_merged_images_give_the_same_features(ions):
    with precision(torch.float64):
        made = network(n_interactions=3, n_coupled=4)
        graph = made.graph(ions)
        reference = one_by_one(ions, made.config)
        assert len(graph.centers) < len(reference.centers)
        assert graph.n_neighbors == pytest.approx(len(reference.centers))
        torch.testing.assert_close(made.features(graph), made.features(reference))


def test_shells_of_rock_salt():
    """Up to 3.7 angstrom: 6 of the other kind at 2.1, 12 of its own at 2.97, 8 at 3.64."""
    with precision(torch.float64):
        graph = network(cutoff=3.7).graph(salt())
    for site in (0, 1):
        of_site = graph.centers == site
        shells = graph.distances[of_site].sort()
        counts = (graph.harmonics[of_site, 0] * (4 * np.pi) ** 0.5)[shells.indices]
        np.testing.assert_allclose(shells.values, 2.1 * np.sqrt([1, 2, 3]))
        np.testing.assert_allclose(counts, [6, 12, 8])
        assert graph.neighbors[of_site][shells.indices].tolist() == [1 - site, site, 1 - site]
