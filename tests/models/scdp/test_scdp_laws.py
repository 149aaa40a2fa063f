"""Laws that every prediction for a molecule obeys, whatever the weights."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the models extra")

from scdp_models import ATOMS, SIDE, boxed, model, network, placed  # noqa: E402

from mlcharge_flows.density.augmentation import rotate  # noqa: E402
from mlcharge_flows.density.density import superpose  # noqa: E402
from mlcharge_flows.models.checkpoint import (  # noqa: E402
    Checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from mlcharge_flows.models.registry import Registry  # noqa: E402
from mlcharge_flows.models.scdp import load  # noqa: E402
from mlcharge_flows.models.scdp.network import NotAMoleculeError  # noqa: E402
from mlcharge_flows.testing.laws import (  # noqa: E402
    Tolerance,
    assert_integrates_to,
    assert_permutation_equivariant,
    assert_rotation_equivariant,
    assert_same_density,
    assert_translation_equivariant,
)

SHAPE = (20, 20, 20)
DOUBLE = Tolerance(relative=1e-9, absolute=1e-9)
EXACT = Tolerance(relative=0.0, absolute=0.0)
OPTIONS = [
    {},
    {"virtual": "bonds"},
    {"virtual": "bonds", "scaling": True, "lmax": 3, "n_interactions": 1},
]


pytestmark = pytest.mark.usefixtures("double")


@pytest.fixture(params=OPTIONS, ids=["plain", "virtual", "scaled"])
def made(request, double):
    return model(**request.param)


@pytest.fixture
def predict(made):
    return made.predict


def orthogonal(seed, sign):
    matrix, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))
    return matrix * np.sign(np.linalg.det(matrix)) * sign


def turned(changes, rotation):
    symbols = boxed(placed()).symbols
    return tuple(
        rotate(occupancies, ATOMS[symbol].channels, rotation)
        for symbol, occupancies in zip(symbols, changes, strict=True)
    )


def same(found, expected, tolerance=DOUBLE):
    assert_same_density(found, expected, tolerance)


def test_the_network_matters(predict):
    molecule = boxed(placed())
    start, found = superpose(molecule, ATOMS, SHAPE), predict(molecule, SHAPE)
    assert np.abs(found.total - start.total).max() > 1e-2
    for one in found.augmentation:
        assert np.abs(one).max() > 1e-3


@pytest.mark.parametrize("sign", [1, -1])
def test_rotating_molecule_and_box_rotates_the_occupancies_alone(made, sign):
    assert_rotation_equivariant(made, boxed(placed()), SHAPE, orthogonal(4, sign), tolerance=DOUBLE)


def sizes(predict, molecule):
    """Norm over the components of a degree, of every orbital: what no rotation changes."""
    network = predict.__self__.network
    with torch.inference_mode():
        coefficients = network(network.graph(molecule))[0].coefficients.numpy()
    degrees = range(round(coefficients.shape[1] ** 0.5))
    shells = [coefficients[:, l**2 : (l + 1) ** 2] for l in degrees]
    return np.stack([np.linalg.norm(shell, axis=1) for shell in shells])


@pytest.mark.parametrize("sign", [1, -1])
def test_rotating_the_molecule_in_its_box_rotates_its_orbitals(predict, sign):
    """The network does not depend on the box, only the grid does."""
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


def test_translation_by_grid_points_rolls_the_grid(made):
    assert_translation_equivariant(made, boxed(placed()), SHAPE, (7, -2, 13), tolerance=DOUBLE)


@pytest.mark.parametrize("seed", range(4))
def test_periodic_boundaries_do_not_matter(predict, seed):
    random = np.random.default_rng(seed)
    corner = boxed(placed(), center=(0.02, 0.98, 0.5))
    expected = predict(corner, SHAPE)
    wrapped = corner.positions % 1.0 if seed == 0 else corner.positions
    jumps = random.integers(-2, 3, corner.positions.shape)
    same(predict(replace(corner, positions=wrapped + jumps), SHAPE), expected)


def test_the_size_of_the_box_does_not_matter(predict):
    expected = sizes(predict, boxed(placed()))
    np.testing.assert_allclose(sizes(predict, boxed(placed(), side=11.0)), expected, atol=1e-9)
    # The cutoff reaches the periodic images, which have no edges.
    assert network().config.cutoff > SIDE / 2


def test_permutation_of_ions_permutes_the_occupancies_alone(made):
    assert_permutation_equivariant(made, boxed(placed()), SHAPE, [2, 0, 3, 1], tolerance=DOUBLE)


def test_electrons_are_exact(predict):
    for shape in (SHAPE, (12, 15, 11)):
        assert_integrates_to(predict(boxed(placed()), shape), 14.0)


def test_monopoles_cancel_within_the_molecule(made):
    """G = 0 is left out of the sum over G vectors, so the integral on the grid cannot show it."""
    network = made.network
    graph = network.graph(boxed(placed()))
    with torch.inference_mode():
        neutral = monopoles(network, graph)
        assert neutral.sum().abs() < 1e-12 * neutral.abs().sum()
        network._neutral = lambda coefficients, *_: coefficients
        assert monopoles(network, graph).sum().abs() > 1e-2, "the correction matters"


def monopoles(network, graph):
    """Integral over all space of each orbital of degree zero, electrons."""
    coefficients, scales = network.coefficients(graph)
    charges = network.basis.of(graph.species).charges(None if scales is None else scales[:, 0])
    return coefficients[:, 0] * charges


def test_an_untrained_network_gives_the_superposition():
    made = model(scaling=True, virtual="bonds")
    torch.nn.init.zeros_(made.network.readout)
    molecule = boxed(placed())
    same(made.predict(molecule, SHAPE), superpose(molecule, ATOMS, SHAPE), Tolerance(0.0, 1e-12))


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
    write_checkpoint(path, Checkpoint(made.card, made.network.state_dict()))
    monkeypatch.setitem(__import__("sys").modules, "basis_set_exchange", None)
    molecule = boxed(placed())
    expected = made.predict(molecule, SHAPE)
    same(load(read_checkpoint(path)).predict(molecule, SHAPE), expected, EXACT)
    same(Registry(tmp_path).load("random").model.predict(molecule, SHAPE), expected, EXACT)
