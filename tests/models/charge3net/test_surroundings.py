from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.models.charge3net.neighbors import Surroundings

CUBE = Crystal(np.eye(3) * 4.0, ("Po",), np.zeros((1, 3)))


def by_hand(crystal, points, radius, reach=4):
    """Distance to every image, one by one."""
    found = []
    for point in points:
        mine = []
        for atom, *image in product(range(len(crystal)), *[range(-reach, reach + 1)] * 3):
            vector = (crystal.positions[atom] + image) @ crystal.lattice - point
            if np.linalg.norm(vector) <= radius:
                mine.append((atom, *np.round(vector, 9)))
        found.append(sorted(mine))
    return found


def listed(neighbors):
    return [
        sorted((int(a), *np.round(v, 9)) for a, v in zip(atoms[there], vectors[there], strict=True))
        for atoms, vectors, there in zip(*neighbors.padded(), strict=True)
    ]


@pytest.mark.parametrize("radius", [1.0, 4.3])
def test_neighbors_of_points_are_all_images_in_reach(oblique, points, radius):
    near = points[:4] / 4  # within reach of the images that are tried by hand
    found = Surroundings(oblique, radius).of_points(near)
    for mine, expected in zip(listed(found), by_hand(oblique, near, radius), strict=True):
        np.testing.assert_allclose(np.array(mine), np.array(expected))


def test_an_atom_is_its_images_neighbor_but_not_its_own(oblique):
    places = oblique.positions @ oblique.lattice
    found = listed(Surroundings(oblique, 4.3).of_atoms())
    for atom, (mine, expected) in enumerate(zip(found, by_hand(oblique, places, 4.3), strict=True)):
        expected.remove((atom, 0.0, 0.0, 0.0))
        np.testing.assert_allclose(np.array(mine), np.array(expected))


def test_an_atom_at_the_cutoff_counts_from_every_side():
    turn = np.linalg.qr(np.arange(9).reshape(3, 3) + np.eye(3))[0]
    turned = replace(CUBE, lattice=CUBE.lattice @ turn)
    assert Surroundings(turned, 4.0).of_atoms().counts.tolist() == [6]


def test_far_points_and_none_have_no_neighbors():
    assert Surroundings(CUBE, 1.0).of_points(np.full((2, 3), 2.0)).counts.tolist() == [0, 0]
    none = Surroundings(CUBE, 1.0).of_points(np.zeros((0, 3)))
    assert len(none) == 0


def test_padding_is_told_apart():
    neighbors = Surroundings(CUBE, 4.0).of_points(np.array([[0.0, 0, 0], [2.0, 2, 2]]))
    atoms, vectors, present = neighbors.padded(np.array([1, 0]))
    assert present.sum(axis=1).tolist() == [8, 7]
    assert not vectors[~present].any()
    assert not atoms[~present].any()
