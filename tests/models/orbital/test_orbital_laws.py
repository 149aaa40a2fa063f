"""What every prediction of the orbital model obeys, whatever its weights."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the models extra")

from orbital_models import ATOMS, crystal, model, precision, salt  # noqa: E402

from mlcharge_flows.density.augmentation import labels, rotate  # noqa: E402
from mlcharge_flows.density.crystal import Crystal  # noqa: E402
from mlcharge_flows.density.superposition import superpose  # noqa: E402
from mlcharge_flows.models.checkpoint import Checkpoint, CheckpointError  # noqa: E402
from mlcharge_flows.models.model import ModelError  # noqa: E402
from mlcharge_flows.models.orbital import load  # noqa: E402
from mlcharge_flows.models.orbital.network import OrbitalNetwork  # noqa: E402

SHAPE = (12, 15, 16)
OPTIONS = [
    {},
    {"virtual": "both", "scaling": True, "lmax": 3},
    {"n_interactions": 3, "n_factors": 2, "rank": 1},
    {"n_coupled": 4},
    {"form_factors": True},
]


def identity(options):
    return "-".join(map(str, options)) or "default"


@pytest.fixture(params=OPTIONS, ids=identity)
def predict(request):
    with precision(torch.float64):
        made = model(**request.param)
        yield made.predict


def orthogonal(seed, sign):
    matrix, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))
    return matrix * np.sign(np.linalg.det(matrix)) * sign


def same(found, expected, tolerance=1e-9):
    np.testing.assert_allclose(found.total, expected.total, atol=tolerance)
    for one, other in zip(found.augmentation, expected.augmentation, strict=True):
        np.testing.assert_allclose(one, other, atol=tolerance)


def test_the_network_matters(predict):
    start, found = superpose(crystal(), ATOMS, SHAPE), predict(crystal(), SHAPE)
    assert np.abs(found.total - start.total).max() > 1e-2
    for one, other in zip(found.augmentation, start.augmentation, strict=True):
        assert np.abs(one - other).max() > 1e-3


@pytest.mark.parametrize("options", OPTIONS, ids=identity)
def test_the_occupancies_are_those_of_the_density(options):
    """Whoever predicted it: its own density gets its own occupancies, atoms keep theirs."""
    with precision(torch.float64):
        made = model(**options)
        found = made.predict(crystal(), SHAPE)
        start = superpose(crystal(), ATOMS, SHAPE)
        same(made.complete(replace(found, augmentation=None)), found)
        same(made.complete(replace(start, augmentation=None)), start)
        half = replace(found, total=(found.total + start.total) / 2)
        pairs = zip(found.augmentation, start.augmentation, strict=True)
        records = tuple((one + other) / 2 for one, other in pairs)
        same(made.complete(half), replace(half, augmentation=records))


def test_a_density_that_is_none_of_a_crystal_gets_no_occupancies():
    """One that is far from any in training beside a nucleus would end in no sound state."""
    made = model()
    found = made.predict(crystal(), SHAPE)
    start = superpose(crystal(), ATOMS, SHAPE)
    ion = 1  # oxygen
    change = np.abs(found.augmentation[ion] - start.augmentation[ion]).max()
    made.network.augmentation.largest_1.fill_(change / 2.5)
    refusal = (
        r"random: the density around ion [23] \(O\) is unlike any in training: .* [2-9]\.\d times"
    )
    with pytest.raises(ModelError, match=refusal):
        made.complete(found)
    with pytest.raises(ModelError, match=refusal):
        made.predict(crystal(), SHAPE)
    half = replace(found, total=start.total + 0.2 * (found.total - start.total))
    assert made.complete(half).augmentation


def test_means_of_elements_look_at_no_density():
    made = model()
    for index in range(len(ATOMS)):
        torch.nn.init.normal_(getattr(made.network.augmentation, f"mean_{index}"))
    found = made.predict(crystal(), SHAPE)
    completed = made.with_element_means(found)
    np.testing.assert_array_equal(completed.total, found.total)
    magnesium, oxygen, other_oxygen = completed.augmentation
    np.testing.assert_array_equal(oxygen, other_oxygen)
    expected = ATOMS["Mg"].atomic_occupancies + made.network.augmentation.mean_0.double().numpy()
    np.testing.assert_array_equal(magnesium, expected)


@pytest.mark.parametrize("sign", [1, -1])
def test_turning_or_mirroring_the_crystal_turns_the_occupancies(predict, sign):
    rotation = orthogonal(4, sign)
    turned = replace(crystal(), lattice=crystal().lattice @ rotation.T)
    expected = predict(crystal(), SHAPE)
    records = tuple(
        rotate(record, ATOMS[symbol].channels, rotation) - turned_atom(symbol, rotation)
        for symbol, record in zip(crystal().symbols, expected.augmentation, strict=True)
    )
    same(predict(turned, SHAPE), replace(expected, augmentation=records))


def turned_atom(symbol, rotation):
    """The tests' free atoms are not spherical: what turning them adds."""
    record = ATOMS[symbol].atomic_occupancies
    return rotate(record, ATOMS[symbol].channels, rotation) - record


def test_translation_by_grid_points_rolls_the_grid(predict):
    shift = np.array([5 / 12, -2 / 15, 1 / 16])
    moved = replace(crystal(), positions=crystal().positions + shift)
    expected = predict(crystal(), SHAPE)
    rolled = np.roll(expected.total, (5, -2, 1), axis=(0, 1, 2))
    same(predict(moved, SHAPE), replace(expected, total=rolled))


def test_permutation_of_ions_permutes_records_only(predict):
    order = [2, 0, 1]
    ions = crystal()
    permuted = Crystal(ions.lattice, tuple(ions.symbols[i] for i in order), ions.positions[order])
    expected = predict(ions, SHAPE)
    records = tuple(expected.augmentation[i] for i in order)
    same(predict(permuted, SHAPE), replace(expected, augmentation=records))


def test_a_supercell_repeats_the_cell(predict):
    ions = crystal()
    n = (1, 2, 1)
    cells = np.stack(np.meshgrid(*map(np.arange, n), indexing="ij"), -1).reshape(-1, 3)
    positions = ((ions.positions[None] + cells[:, None]) / n).reshape(-1, 3)
    twice = Crystal(ions.lattice * np.array(n)[:, None], ions.symbols * 2, positions)
    shape = (15, 15, 15)
    expected = predict(ions, shape)
    found = predict(twice, (15, 30, 15))
    # The greater cell has waves between those of the smaller one; they must be empty.
    np.testing.assert_allclose(found.total, np.tile(expected.total, n), atol=1e-9)
    for one, other in zip(found.augmentation, expected.augmentation * 2, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-9)


def test_electrons_are_exact(predict):
    for shape in (SHAPE, (7, 9, 8)):
        assert predict(crystal(), shape).n_electrons == pytest.approx(14.0, abs=1e-9)


def test_what_symmetry_forbids_is_zero(predict):
    # On this grid no wave of the sphere is cut off, so that the sphere has the cubic symmetry.
    found = predict(salt(), (32, 32, 32))
    start = superpose(salt(), ATOMS, (32, 32, 32))
    for symbol, one, other in zip(
        salt().symbols, found.augmentation, start.augmentation, strict=True
    ):
        # On a cubic site only L = 0 and one combination of L = 4 are invariant.
        degrees = np.array([L for _, _, L, _ in labels(ATOMS[symbol].channels)])
        change = one - other
        assert np.abs(change[(degrees > 0) & (degrees < 4)]).max() < 1e-8
        assert np.abs(change[degrees == 0]).min() > 1e-6


def test_an_untrained_network_gives_the_superposition():
    made = model()
    made.network.load_state_dict(OrbitalNetwork(made.network.config).state_dict())
    same(made.predict(crystal(), SHAPE), superpose(crystal(), ATOMS, SHAPE), tolerance=1e-12)


def test_laws_can_fail():
    with precision(torch.float64):
        made = model()
        before = made.predict(salt(), (16, 16, 16))
        # A direction of its own in the weights of a vector: no longer equivariant.
        product = made.network.interactions[0].product
        product.weighted[:, 1] += 0.1
        after = made.predict(salt(), (16, 16, 16))
    degrees = np.array([L for _, _, L, _ in labels(ATOMS["Mg"].channels)])
    assert np.abs((after.augmentation[0] - before.augmentation[0])[degrees == 1]).max() > 1e-6


def test_single_precision_agrees_with_double():
    with precision(torch.float64):
        expected = model().predict(crystal(), SHAPE)
    with precision(torch.float32):
        single = model()
    with precision(torch.float64):
        double = model()
        state = {
            name: tensor.double() if tensor.is_floating_point() else tensor
            for name, tensor in single.network.state_dict().items()
        }
        double.network.load_state_dict(state)
        expected = double.predict(crystal(), SHAPE)
    found = single.predict(crystal(), SHAPE)
    change = np.abs(expected.total - superpose(crystal(), ATOMS, SHAPE).total).max()
    np.testing.assert_allclose(found.total, expected.total, atol=2e-5 * change)
    # Orthonormal combinations of twelve Gaussians lose a digit more.
    for one, other in zip(found.augmentation, expected.augmentation, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-4 * np.abs(other).max())
    assert found.n_electrons == pytest.approx(14.0, abs=1e-6)


def test_weights_of_another_size_are_refused():
    made = model()
    weights = dict(made.network.state_dict())
    weights.pop("readout")
    with pytest.raises(CheckpointError, match="random: its weights do not fit its card"):
        load(Checkpoint(made.card, ATOMS, weights))
    with pytest.raises(CheckpointError, match="random: lacks the free atoms of Mg"):
        load(Checkpoint(made.card, {"O": ATOMS["O"]}, made.network.state_dict()))
    config = {**made.card.config, "n_channels": 0}
    card = made.card.model_copy(update={"config": config})
    with pytest.raises(CheckpointError, match=r"random: no such network \(n_channels: "):
        load(Checkpoint(card, ATOMS, made.network.state_dict()))
    whole = load(Checkpoint(made.card, ATOMS, made.network.state_dict()))
    same(whole.predict(crystal(), SHAPE), made.predict(crystal(), SHAPE))
