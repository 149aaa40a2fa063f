"""Invariances of the predicted density for random weights; each test also breaks the invariance."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.models.charge3net import ChargE3Net, PointModel
from mlcharge_flows.models.charge3net.field import atom_neighbors, atomic_numbers, point_neighbors
from mlcharge_flows.models.charge3net.network import Edges
from mlcharge_flows.models.model import ModelError


@pytest.fixture
def model(network):
    return PointModel(network)


def same(found, expected):
    """Equal up to the rounding of coordinates to single precision."""
    return np.max(np.abs(found - expected)) < 1e-4 * np.std(expected)


def orthogonal_matrix(proper):
    q = np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))[0]
    return q * (1 if (np.linalg.det(q) > 0) == proper else -1)


@pytest.mark.parametrize("proper", [True, False], ids=["rotation", "reflection"])
def test_the_density_rotates_with_the_crystal(model, oblique, points, proper):
    q = orthogonal_matrix(proper)
    rotated = replace(oblique, lattice=oblique.lattice @ q)
    expected = model.density_at(oblique, points)
    assert same(model.density_at(rotated, points @ q), expected)
    assert not same(model.density_at(rotated, points), expected)


def test_the_density_is_translated_with_the_crystal(model, oblique, points):
    shift = np.array([0.31, -0.2, 0.77])
    moved = replace(oblique, positions=oblique.positions + shift)
    expected = model.density_at(oblique, points)
    assert same(model.density_at(moved, points + shift @ oblique.lattice), expected)
    assert not same(model.density_at(moved, points), expected)


def test_the_density_is_periodic(model, oblique, points):
    expected = model.density_at(oblique, points)
    whole = np.array([2, -1, 3]) @ oblique.lattice
    assert same(model.density_at(oblique, points + whole), expected)
    assert not same(model.density_at(oblique, points + whole / 2), expected)


def test_the_order_of_atoms_does_not_matter(model, oblique, points):
    order = [2, 0, 1]
    symbols = [oblique.symbols[i] for i in order]
    expected = model.density_at(oblique, points)
    reordered = Crystal(oblique.lattice, symbols, oblique.positions[order])
    assert same(model.density_at(reordered, points), expected)
    renamed = Crystal(oblique.lattice, symbols, oblique.positions)
    assert not same(model.density_at(renamed, points), expected)


@pytest.mark.parametrize(
    "change", [[[2, 0, 0], [0, 1, 0], [0, 0, 1]], [[1, 1, 0], [0, 1, 0], [0, -1, 1]]]
)
def test_the_choice_of_cell_does_not_matter(model, oblique, points, change):
    structure = Structure(Lattice(oblique.lattice), oblique.symbols, oblique.positions)
    expected = model.density_at(structure, points)
    other = structure.make_supercell(change, in_place=False)
    assert same(model.density_at(other, points), expected)


def test_the_density_is_continuous_at_an_atom(model, oblique):
    """The direction from a probe to an atom at the same place is undefined."""
    at_atoms = oblique.positions @ oblique.lattice
    nudged = at_atoms + 1e-7
    assert same(model.density_at(oblique, nudged), model.density_at(oblique, at_atoms))


def test_the_density_is_constant_beyond_the_cutoff(model, oblique, points):
    box = replace(oblique, lattice=60 * np.eye(3), positions=oblique.positions * 0.05)
    far = model.density_at(box, np.array([[30.0, 30, 30], [25.0, 35, 30]]))
    assert far[0] == far[1]


def test_structures_and_crystals_are_accepted(model, oblique, points):
    structure = Structure(Lattice(oblique.lattice), oblique.symbols, oblique.positions)
    charged = structure.copy().add_oxidation_state_by_element({"Mg": 2, "O": -2, "Ti": 4})
    expected = model.density_at(oblique, points)
    np.testing.assert_allclose(model.density_at(structure, points), expected)
    np.testing.assert_allclose(model.density_at(charged, points), expected)


def test_invalid_input_is_refused(model, oblique):
    disordered = Structure(Lattice.cubic(4), [{"Mg": 0.5, "Ti": 0.5}], [[0, 0, 0]])
    with pytest.raises(ModelError, match="ordered structure"):
        model.density_at(disordered, np.zeros((1, 3)))
    with pytest.raises(ModelError, match="elements only"):
        model.density_at(replace(oblique, symbols=("Mg", "O", "Xx")), np.zeros((1, 3)))
    with pytest.raises(ValueError, match=r"\(3,\), expected \(n, 3\)"):
        model.density_at(oblique, np.zeros(3))
    with pytest.raises(ValueError, match="not finite"):
        model.density_at(oblique, np.full((1, 3), np.nan))
    assert model.density_at(oblique, np.zeros((0, 3))).shape == (0,)


def test_a_batch_equals_its_structures(network, tiny, oblique, points):
    small = Crystal(np.eye(3) * 3.6, ("Si",), np.zeros((1, 3)))
    parts = [
        (
            torch.as_tensor(atomic_numbers(crystal.symbols)),
            Edges.of(atom_neighbors(crystal, tiny.cutoff), dtype=torch.float64),
            Edges.of(point_neighbors(points, crystal, tiny.cutoff), dtype=torch.float64),
        )
        for crystal in (oblique, small)
    ]
    numbers, atoms, probes = zip(*parts, strict=True)
    n_atoms = [len(each) for each in numbers]
    together = network(
        torch.cat(numbers), Edges.batch(atoms, n_atoms), Edges.batch(probes, n_atoms)
    )
    torch.testing.assert_close(together, torch.cat([network(*part) for part in parts]))


def test_a_fresh_network_learns(tiny, oblique, points):
    torch.manual_seed(0)
    network = ChargE3Net(tiny)
    inputs = (
        torch.as_tensor(atomic_numbers(oblique.symbols)),
        Edges.of(atom_neighbors(oblique, tiny.cutoff)),
        Edges.of(point_neighbors(points, oblique, tiny.cutoff)),
    )
    nearest = inputs[2].vectors.norm(dim=-1).masked_fill(~inputs[2].present, 9.0).amin(dim=1)
    target = torch.exp(-nearest)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    losses = []
    for _ in range(40):
        loss = (network(*inputs) - target).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.25 * losses[0]
