import numpy as np
import torch

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.models.charge3net.field import atom_neighbors, point_neighbors
from mlcharge_flows.models.charge3net.network import Edges

CUBE = Crystal(np.eye(3) * 4.0, ("Po",), np.zeros((1, 3)))


def test_an_atom_at_the_cutoff_is_a_neighbor_whatever_the_rounding():
    rotation = np.linalg.qr(np.arange(9).reshape(3, 3) + np.eye(3))[0]
    rotated = Crystal(CUBE.lattice @ rotation, CUBE.symbols, CUBE.positions)
    assert atom_neighbors(rotated, 4.0).counts.tolist() == [6]


def test_edges_are_those_of_the_neighbor_list_in_the_order_asked_for(oblique, points):
    neighbors = point_neighbors(points, oblique, 4.3)
    order = np.random.default_rng(0).permutation(len(points))[:7]
    edges = Edges.of(neighbors, order, dtype=torch.float64)
    for row, point in enumerate(order):
        here, there = neighbors.centers == point, edges.present[row]
        np.testing.assert_array_equal(edges.senders[row][there], neighbors.others[here])
        np.testing.assert_array_equal(edges.vectors[row][there], neighbors.vectors[here])


def test_padding_is_marked():
    neighbors = point_neighbors(np.array([[0.0, 0, 0], [2.0, 2, 2]]), CUBE, 4.0)
    edges = Edges.of(neighbors, np.array([1, 0]))
    assert edges.present.sum(dim=1).tolist() == [8, 7]
    assert not edges.vectors[~edges.present].any()
    assert not edges.senders[~edges.present].any()


def test_an_edge_of_no_length_has_no_direction():
    neighbors = point_neighbors(np.array([[1e-7, -1e-7, 0.0]]), CUBE, 2.0)
    edges = Edges.of(neighbors)
    assert edges.present.tolist() == [[True]]
    assert not edges.vectors.any()
