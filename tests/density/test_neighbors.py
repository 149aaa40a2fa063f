"""The neighbor list, against a sum over images."""

from itertools import product

import numpy as np
import pytest

from mlcharge_flows.density.crystal import Crystal, NeighborList

LATTICES = {
    "cubic": 3.0 * np.eye(3),
    "triclinic": np.array([[4.1, 0.3, -0.2], [0.5, 3.8, 0.4], [-0.6, 0.2, 4.4]]),
    "skewed": np.array([[3.0, 0, 0], [2.5, 1.2, 0], [0.3, 2.0, 9.0]]),
    "left-handed": np.array([[0, 3.0, 0], [3.0, 0, 0], [0, 0, 5.0]]),
}


def slow(centers, sites, cutoff, lattice, reach=6):
    """All pairs within a cutoff, by trying every image."""
    images = np.array(list(product(range(-reach, reach + 1), repeat=3)))
    found = []
    for i, center in enumerate(centers):
        for j, site in enumerate(sites):
            home = np.rint(np.linalg.solve(lattice.T, center - site))
            vectors = site + (home + images) @ lattice - center
            near = vectors[np.linalg.norm(vectors, axis=1) < cutoff]
            found += [(i, j, *vector) for vector in near.tolist()]
    return np.array(sorted(found)).reshape(-1, 5)


def listed(pairs):
    rows = np.column_stack([pairs.centers, pairs.others, pairs.vectors])
    return np.array(sorted(map(tuple, rows))).reshape(-1, 5)


@pytest.mark.parametrize("name", LATTICES)
@pytest.mark.parametrize("cutoff", [0.7, 4.0])
def test_ions_see_every_image(name, cutoff):
    lattice = LATTICES[name]
    positions = np.random.default_rng(2).normal(size=(12, 3)) * 2  # some outside the cell
    pairs = NeighborList.of_ions(Crystal(lattice, ("H",) * 12, positions), cutoff)
    sites = positions @ lattice
    expected = slow(sites, sites, cutoff, lattice)
    expected = expected[np.linalg.norm(expected[:, 2:], axis=1) > 1e-9]
    assert len(expected) > 1
    np.testing.assert_allclose(listed(pairs), expected, atol=1e-12)
    np.testing.assert_allclose(pairs.distances, np.linalg.norm(pairs.vectors, axis=1), atol=1e-12)


@pytest.mark.parametrize("name", LATTICES)
def test_points_anywhere_see_every_image(name):
    lattice = LATTICES[name]
    rng = np.random.default_rng(3)
    crystal = Crystal(lattice, ("H",) * 3, rng.normal(size=(3, 3)))
    points = rng.normal(size=(5, 3)) * 9
    pairs = NeighborList.of_points(points, crystal, 4.0)
    sites = crystal.positions @ lattice
    np.testing.assert_allclose(listed(pairs), slow(points, sites, 4.0, lattice), atol=1e-12)
    counts = [np.sum(pairs.centers == i) for i in range(5)]
    assert pairs.counts.tolist() == counts


def test_an_ion_at_a_point_counts_and_an_ion_is_not_its_own_neighbor():
    po = Crystal(3.0 * np.eye(3), ("Po",), np.zeros((1, 3)))
    at_ion = NeighborList.of_points(np.array([[3.0, 0.0, 0.0]]), po, 2.9)
    assert at_ion.distances.tolist() == [0.0]
    assert len(NeighborList.of_ions(po, 2.9)) == 0
    assert NeighborList.of_ions(po, 3.1).others.tolist() == [0] * 6


def test_a_molecule_has_no_images():
    sites = np.random.default_rng(4).uniform(0, 3, size=(6, 3))
    pairs = NeighborList.of_sites(sites, 1.5)
    far = np.linalg.norm(sites[:, None] - sites, axis=-1)
    expected = [(i, j) for i, j in product(range(6), repeat=2) if i != j and far[i, j] < 1.5]
    assert list(zip(pairs.centers, pairs.others, strict=True)) == expected
    np.testing.assert_allclose(pairs.vectors, sites[pairs.others] - sites[pairs.centers])


def test_pairs_are_sorted():
    crystal = Crystal(LATTICES["triclinic"], ("H",) * 3, np.random.default_rng(5).random((3, 3)))
    pairs = NeighborList.of_ions(crystal, 6.0)
    images = np.rint((pairs.vectors @ np.linalg.inv(crystal.lattice)) * 1e6)
    rows = np.column_stack([pairs.centers, pairs.others, images])
    assert [tuple(row) for row in rows] == sorted(tuple(row) for row in rows)


def test_nothing_has_no_neighbors():
    po = Crystal(3.0 * np.eye(3), ("Po",), np.zeros((1, 3)))
    none = NeighborList.of_points(np.zeros((0, 3)), po, 3.0)
    assert (len(none), none.n_centers, none.counts.tolist()) == (0, 0, [])
