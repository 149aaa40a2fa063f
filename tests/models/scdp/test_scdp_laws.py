"""What every prediction for a molecule obeys, whatever the weights."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the models extra")

from scdp_models import ATOMS, SIDE, boxed, model, network, placed  # noqa: E402

from mlcharge_flows.density.augmentation import rotate  # noqa: E402
from mlcharge_flows.density.crystal import Crystal  # noqa: E402
from mlcharge_flows.density.superposition import superpose  # noqa: E402
from mlcharge_flows.models.checkpoint import (  # noqa: E402
    Checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from mlcharge_flows.models.registry import Registry  # noqa: E402
from mlcharge_flows.models.scdp import load  # noqa: E402
from mlcharge_flows.models.scdp.molecule import NotAMoleculeError  # noqa: E402

SHAPE = (20, 20, 20)
OPTIONS = [
    {},
    {"virtual": "bonds"},
    {"virtual": "bonds", "scaling": True, "lmax": 3, "n_interactions": 1},
]


pytestmark = pytest.mark.usefixtures("double")


@pytest.fixture(params=OPTIONS, ids=["plain", "virtual", "scaled"])
def predict(request, double):
    return model(**request.param).predict


def orthogonal(seed, sign):
    matrix, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))
    return matrix * np.sign(np.linalg.det(matrix)) * sign


def turned(records, rotation):
    symbols = boxed(placed()).symbols
    return tuple(
        rotate(record, ATOMS[symbol].channels, rotation)
        for symbol, record in zip(symbols, records, strict=True)
    )


def same(found, expected, tolerance=1e-9):
    np.testing.assert_allclose(found.total, expected.total, atol=tolerance)
    same_records(found.augmentation, expected.augmentation, tolerance)


def same_records(found, expected, tolerance=1e-9):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=tolerance)


def test_the_network_matters(predict):
    molecule = boxed(placed())
    start, found = superpose(molecule, ATOMS, SHAPE), predict(molecule, SHAPE)
    assert np.abs(found.total - start.total).max() > 1e-2
    for one in found.augmentation:
        assert np.abs(one).max() > 1e-3


@pytest.mark.parametrize("sign", [1, -1])
def test_turning_molecule_and_box_turns_the_occupancies_alone(predict, sign):
    rotation = orthogonal(4, sign)
    molecule = boxed(placed())
    expected = predict(molecule, SHAPE)
    found = predict(replace(molecule, lattice=molecule.lattice @ rotation.T), SHAPE)
    same(found, replace(expected, augmentation=turned(expected.augmentation, rotation)))


def sizes(predict, molecule):
    """Norm over the components of a degree, of every orbital: what no rotation changes."""
    made = predict.__self__.network
    with torch.inference_mode():
        coefficients = made(made.graph(molecule))[0].coefficients.numpy()
    degrees = range(round(coefficients.shape[1] ** 0.5))
    shells = [coefficients[:, l**2 : (l + 1) ** 2] for l in degrees]
    return np.stack([np.linalg.norm(shell, axis=1) for shell in shells])


@pytest.mark.parametrize("sign", [1, -1])
def test_turning_the_molecule_in_its_box_turns_its_orbitals(predict, sign):
    """The box is not seen: only the grid knows it."""
    rotation = orthogonal(5, sign)
    expected = sizes(predict, boxed(placed()))
    assert expected.max() > 1e-2
    np.testing.assert_allclose(sizes(predict, boxed(placed() @ rotation.T)), expected, atol=1e-9)


def test_a_quarter_turn_in_a_cubic_box_turns_the_grid(predict):
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    center = (0.5, 0.5, 0.5)
    expected = predict(boxed(placed(), center=center), SHAPE)
    found = predict(boxed(placed() @ quarter.T, center=center), SHAPE)
    # Index i of the turned grid was j, and j was -i, about the middle of the box.
    back = np.roll(np.flip(np.swapaxes(expected.total, 0, 1), axis=0), 1, axis=0)
    same(found, replace(expected, total=back, augmentation=turned(expected.augmentation, quarter)))


def test_translation_by_grid_points_rolls_the_grid(predict):
    molecule = boxed(placed())
    moved = replace(molecule, positions=molecule.positions + np.array([7, -2, 13]) / 20)
    expected = predict(molecule, SHAPE)
    rolled = np.roll(expected.total, (7, -2, 13), axis=(0, 1, 2))
    same(predict(moved, SHAPE), replace(expected, total=rolled))


@pytest.mark.parametrize("seed", range(4))
def test_walls_and_wrapping_do_not_matter(predict, seed):
    random = np.random.default_rng(seed)
    corner = boxed(placed(), center=(0.02, 0.98, 0.5))
    expected = predict(corner, SHAPE)
    wrapped = corner.positions % 1.0 if seed == 0 else corner.positions
    jumps = random.integers(-2, 3, corner.positions.shape)
    same(predict(replace(corner, positions=wrapped + jumps), SHAPE), expected)


def test_the_size_of_the_box_does_not_matter(predict):
    expected = sizes(predict, boxed(placed()))
    np.testing.assert_allclose(sizes(predict, boxed(placed(), side=11.0)), expected, atol=1e-9)
    # Only within the cell: no copy is near enough to be heard, although the cutoff reaches it.
    assert network().config.cutoff > SIDE / 2


def test_permutation_of_ions_permutes_records_only(predict):
    order = [2, 0, 3, 1]
    ions = boxed(placed())
    permuted = Crystal(ions.lattice, tuple(ions.symbols[i] for i in order), ions.positions[order])
    expected = predict(ions, SHAPE)
    records = tuple(expected.augmentation[i] for i in order)
    same(predict(permuted, SHAPE), replace(expected, augmentation=records))


def test_electrons_are_exact(predict):
    for shape in (SHAPE, (12, 15, 11)):
        assert predict(boxed(placed()), shape).n_electrons == pytest.approx(14.0, abs=1e-9)


def test_an_untrained_network_gives_the_superposition():
    made = model(scaling=True, virtual="bonds")
    torch.nn.init.zeros_(made.network.readout)
    molecule = boxed(placed())
    same(made.predict(molecule, SHAPE), superpose(molecule, ATOMS, SHAPE), tolerance=1e-12)


def test_a_crystal_and_a_crowded_box_are_refused():
    predict = model().predict
    with pytest.raises(
        NotAMoleculeError, match="not an isolated molecule: ions of two periodic images"
    ):
        predict(boxed(placed(), side=3.0), SHAPE)
    made = model(periodic=True, virtual="bonds")
    shift = np.array([7, -2, 13]) / 20
    crowded = boxed(placed(), side=3.0)
    expected = made.predict(crowded, SHAPE)
    found = made.predict(replace(crowded, positions=crowded.positions + shift), SHAPE)
    same(found, replace(expected, total=np.roll(expected.total, (7, -2, 13), axis=(0, 1, 2))))


def test_a_checkpoint_needs_no_library_of_basis_sets(tmp_path, monkeypatch):
    torch.set_default_dtype(torch.float32)
    made = model(virtual="bonds", scaling=True)
    path = tmp_path / "random.safetensors"
    write_checkpoint(path, Checkpoint(made.card, ATOMS, made.network.state_dict()))
    monkeypatch.setitem(__import__("sys").modules, "basis_set_exchange", None)
    molecule = boxed(placed())
    expected = made.predict(molecule, SHAPE)
    same(load(read_checkpoint(path)).predict(molecule, SHAPE), expected, tolerance=0)
    same(Registry(tmp_path).load("random").model.predict(molecule, SHAPE), expected, tolerance=0)
