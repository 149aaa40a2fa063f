"""Graphs of ions and virtual sites."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the models extra")
pytest.importorskip("torch", reason="needs the models extra")

from orbital_models import crystal, network, precision, salt  # noqa: E402

from mlcharge_flows.density.crystal import Crystal, NeighborList  # noqa: E402
from mlcharge_flows.models.orbital.graph import (  # noqa: E402
    Graph,
    bond_midpoints,
    interstitial_sites,
    virtual_sites,
)


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


FINDERS = [bond_midpoints, interstitial_sites]


def silicon():
    lattice = 5.43 / 2 * np.array([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]])
    return Crystal(lattice, ("Si", "Si"), np.array([[0.0, 0, 0], [0.25, 0.25, 0.25]]))


def assert_same_sites(found, expected, lattice):
    assert len(found) == len(expected)
    for site in found:
        away = site - expected
        away = (away - np.round(away)) @ lattice
        assert np.linalg.norm(away, axis=1).min() < 1e-6


def test_silicon_has_four_bonds_and_two_kinds_of_interstitial_sites():
    found = bond_midpoints(silicon())
    expected = np.array([[1, 1, 1], [5, 1, 1], [1, 5, 1], [1, 1, 5]]) / 8
    assert_same_sites(found, expected, silicon().lattice)
    # Two tetrahedral sites, and four hexagonal ones half-way between them.
    tetrahedral = np.array([[4.0, 4, 4], [6, 6, 6]]) / 8
    hexagonal = np.array([[5.0, 5, 5], [5, 5, 1], [5, 1, 5], [1, 5, 5]]) / 8
    expected = np.concatenate([tetrahedral, hexagonal])
    assert_same_sites(interstitial_sites(silicon()), expected, silicon().lattice)


def test_rock_salt_has_six_bonds_and_the_cube_centers():
    found = bond_midpoints(salt())
    assert len(found) == 6
    assert_same_sites(
        interstitial_sites(salt()), np.array([[0.25] * 3, [0.75] * 3]), salt().lattice
    )


@pytest.mark.parametrize("find", FINDERS)
def test_sites_translate_rotate_and_repeat_with_the_crystal(find):
    ions = crystal()
    sites = find(ions)
    assert len(sites)
    shift = np.array([0.3, -0.45, 0.11])
    moved = Crystal(ions.lattice, ions.symbols, ions.positions + shift)
    assert_same_sites(find(moved), sites + shift, ions.lattice)

    turn, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))
    turned = Crystal(ions.lattice @ turn.T, ions.symbols, ions.positions)
    assert_same_sites(find(turned), sites, turned.lattice)

    step = np.array([1.0, 0.0, 0.0])
    half = np.array([0.5, 1.0, 1.0])
    twice = Crystal(
        ions.lattice / half[:, None],
        ions.symbols * 2,
        np.vstack([ions.positions, ions.positions + step]) * half,
    )
    expected = np.vstack([sites, sites + step]) * half
    assert_same_sites(find(twice), expected, twice.lattice)


def test_kinds_follow_the_order_of_the_sites():
    sites, kinds = virtual_sites(silicon(), "both")
    assert kinds == [0] * 4 + [1] * 6
    np.testing.assert_allclose(sites[:4], bond_midpoints(silicon()))
    assert virtual_sites(silicon(), "none")[0].shape == (0, 3)
