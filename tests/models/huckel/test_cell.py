"""The primitive cell and its k-points do not depend on how a crystal is written down."""

import numpy as np
import pytest

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.models.huckel.cell import kpoints, primitive

FCC = 2.0 * (np.ones((3, 3)) - np.eye(3))
HEXAGONAL = np.array([[3.0, 0, 0], [-1.5, 1.5 * 3**0.5, 0], [0, 0, 5.0]])
CENTRED = np.array([[2.0, 1.5, 0], [-2.0, 1.5, 0], [0.3, 0, 6.0]])


def one(lattice):
    return Crystal(lattice, ("Po",), np.zeros((1, 3)))


@pytest.mark.parametrize("lattice", [FCC, HEXAGONAL, CENTRED], ids=["fcc", "hcp", "c-centred"])
def test_conventional_and_skewed_cells_are_reduced(lattice):
    crystal = Crystal(lattice, ("Mg", "O"), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]))
    for repeat in ([[1, 1, 0], [0, 1, 0], [0, 0, 1]], [[-1, 1, 1], [1, -1, 1], [1, 1, -1]]):
        shifts = np.indices((5, 5, 5)).reshape(3, -1).T - 2
        places, ions = [], []
        for ion, position in enumerate(crystal.positions):
            found = (position + shifts + 0.01) @ np.linalg.inv(repeat)
            found = found[np.all((found >= 0) & (found < 1), axis=1)]
            places.append(found)
            ions += [ion] * len(found)
        symbols = tuple(crystal.symbols[ion] for ion in ions)
        cell, images = primitive(
            Crystal(np.array(repeat) @ lattice, symbols, np.concatenate(places))
        )
        assert cell.volume == pytest.approx(crystal.volume)
        assert [cell.symbols[image] for image in images] == list(symbols)


@pytest.mark.parametrize("lattice", [FCC, HEXAGONAL, CENTRED], ids=["fcc", "hcp", "c-centred"])
def test_weights_sum_to_one_and_points_are_dense(lattice):
    cell, _ = primitive(one(lattice))
    points, weights = kpoints(cell, 0.5)
    assert weights.sum() == pytest.approx(1)
    zone = (2 * np.pi) ** 3 / cell.volume
    assert zone / (1 / weights.min() * 2) < 0.5**3 * 4
    assert np.abs(points).max() <= np.linalg.norm(cell.reciprocal, axis=1).sum()


@pytest.mark.parametrize(
    ("lattice", "rotation"),
    [
        (FCC, [[0, 1, 0], [0, 0, 1], [1, 0, 0]]),
        (FCC, [[0, -1, 0], [1, 0, 0], [0, 0, 1]]),
        (HEXAGONAL, [[0.5, -(3**0.5) / 2, 0], [3**0.5 / 2, 0.5, 0], [0, 0, 1]]),
        (CENTRED, [[1, 0, 0], [0, -1, 0], [0, 0, 1]]),
    ],
    ids=["threefold", "fourfold", "sixfold", "mirror"],
)
def test_mesh_has_the_symmetry_of_the_lattice(lattice, rotation):
    cell, _ = primitive(one(lattice))
    points, _ = kpoints(cell, 0.55)

    def known(cartesian):
        share = cartesian @ np.linalg.inv(cell.reciprocal)
        return {
            tuple(np.round((sign * place) % 1.0, 6) % 1.0) for place in share for sign in (1, -1)
        }

    assert known(points @ np.array(rotation, dtype=float).T) == known(points)
