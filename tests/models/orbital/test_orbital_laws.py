"""Laws that every prediction of the orbital model obeys, whatever its weights."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the models extra")

from orbital_models import ATOMS, crystal, model, precision, salt  # noqa: E402

from mlcharge_flows.density.augmentation import labels  # noqa: E402
from mlcharge_flows.density.density import superpose  # noqa: E402
from mlcharge_flows.models.checkpoint import (  # noqa: E402
    Checkpoint,
    CheckpointError,
    read_checkpoint,
    write_checkpoint,
)
from mlcharge_flows.models.deformation import deformed_superposition  # noqa: E402
from mlcharge_flows.models.domain import OutOfDomainError  # noqa: E402
from mlcharge_flows.models.model import ModelError  # noqa: E402
from mlcharge_flows.models.orbital import load  # noqa: E402
from mlcharge_flows.models.orbital.graph import Graph  # noqa: E402
from mlcharge_flows.models.orbital.network import OrbitalNetwork  # noqa: E402
from mlcharge_flows.testing.laws import (  # noqa: E402
    Tolerance,
    assert_equivariant_density,
    assert_integrates_to,
    assert_permutation_equivariant,
    assert_rotation_equivariant,
    assert_same_density,
    assert_supercell_consistent,
    assert_translation_equivariant,
)

SHAPE = (12, 15, 16)
DOUBLE = Tolerance(relative=1e-9, absolute=1e-9)
SINGLE = Tolerance(relative=1e-6, absolute=1e-6)
OPTIONS = [
    {},
    {"virtual": "both", "scaling": True, "lmax": 3},
    {"n_interactions": 3, "n_factors": 2, "rank": 1},
    {"n_coupled": 4},
    {"form_factors": True},
]
OTHER_OPTIONS = [
    {"scaling": True},
    {"virtual": "bonds"},
    {"virtual": "interstitials"},
    {"profiles": False, "tabulated": False, "n_scaled": 0},
    {"n_interactions": 1, "n_exponents": 2, "lmax": 2},
]


def identity(options):
    return "-".join(map(str, options)) or "default"


@pytest.fixture(params=OPTIONS, ids=identity)
def made(request):
    with precision(torch.float64):
        yield model(**request.param)


@pytest.fixture
def predict(made):
    return made.predict


def orthogonal(seed, sign):
    matrix, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))
    return matrix * np.sign(np.linalg.det(matrix)) * sign


def same(found, expected, tolerance=DOUBLE):
    assert_same_density(found, expected, tolerance)


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
        changes = tuple((one + other) / 2 for one, other in pairs)
        same(made.complete(half), replace(half, augmentation=changes))


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
def test_rotating_or_reflecting_the_crystal_rotates_the_occupancies(made, sign):
    rotation = orthogonal(4, sign)
    assert_rotation_equivariant(made, crystal(), SHAPE, rotation, tolerance=DOUBLE, atoms=ATOMS)


def test_translation_by_grid_points_rolls_the_grid(made):
    assert_translation_equivariant(made, crystal(), SHAPE, (5, -2, 1), tolerance=DOUBLE)


def test_permutation_of_ions_permutes_the_occupancies_alone(made):
    assert_permutation_equivariant(made, crystal(), SHAPE, [2, 0, 1], tolerance=DOUBLE)


def test_a_supercell_repeats_the_cell(made):
    # The greater cell has G vectors between those of the smaller one; they must be empty.
    assert_supercell_consistent(made, crystal(), (15, 15, 15), (1, 2, 1), tolerance=DOUBLE)


@pytest.mark.parametrize("options", OTHER_OPTIONS, ids=identity)
def test_other_options_obey_all_laws_of_space(options):
    with precision(torch.float64):
        assert_equivariant_density(
            model(**options), crystal(), SHAPE, tolerance=DOUBLE, atoms=ATOMS
        )


def test_electrons_are_exact(predict):
    for shape in (SHAPE, (7, 9, 8)):
        assert_integrates_to(predict(crystal(), shape), 14.0)


@pytest.mark.parametrize("options", OPTIONS + OTHER_OPTIONS, ids=identity)
def test_monopoles_cancel_within_every_crystal(options):
    """G = 0 is left out of the sum over G vectors, so the integral on the grid cannot show it."""
    with precision(torch.float64), torch.inference_mode():
        network = model(**options).network
        graph = Graph.batch([network.graph(ions) for ions in (crystal(), salt(), crystal(5))])
        charges = net_charges(network, graph)
        assert charges.abs().max() < 1e-12 * scale_of(network, graph)
        network._neutral = lambda coefficients, *_: coefficients
        assert net_charges(network, graph).abs().min() > 1e-2, "the correction matters"


def net_charges(network, graph):
    """Integral over all space of the predicted change of the density of each crystal."""
    coefficients, scales = network.coefficients(graph)
    charges = network.basis.of(graph.species).charges(None if scales is None else scales[:, 0])
    of_site = (coefficients[:, 0] * charges).sum(-1)
    return torch.stack([sites.sum() for sites in of_site.split(graph.n_sites)])


def scale_of(network, graph):
    """Sum of the absolute monopoles of all sites and exponents, electrons."""
    coefficients, scales = network.coefficients(graph)
    charges = network.basis.of(graph.species).charges(None if scales is None else scales[:, 0])
    return (coefficients[:, 0] * charges).abs().sum()


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
    same(
        made.predict(crystal(), SHAPE),
        superpose(crystal(), ATOMS, SHAPE),
        tolerance=Tolerance(relative=0.0, absolute=1e-12),
    )


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
        load(Checkpoint(made.card, weights))
    paw = {**made.card.paw, "Mg": replace(made.card.paw["Mg"], form_factor=None)}
    lacking = made.card.model_copy(update={"paw": paw})
    with pytest.raises(CheckpointError, match="random: lacks the free atoms of Mg"):
        load(Checkpoint(lacking, made.network.state_dict()))
    config = {**made.card.config, "n_channels": 0}
    card = made.card.model_copy(update={"config": config})
    with pytest.raises(CheckpointError, match=r"random: no such network \(n_channels: "):
        load(Checkpoint(card, made.network.state_dict()))
    whole = load(Checkpoint(made.card, made.network.state_dict()))
    same(whole.predict(crystal(), SHAPE), made.predict(crystal(), SHAPE))


def test_a_checkpoint_without_free_atoms_takes_those_of_the_run(tmp_path):
    """Only hashes of the data sets are in the file; predictions are the same."""
    made = model()
    paw = {symbol: known.without_free_atom() for symbol, known in made.card.paw.items()}
    path = tmp_path / "bare.safetensors"
    card = made.card.model_copy(update={"paw": paw})
    write_checkpoint(path, Checkpoint(card, made.network.state_dict()))
    checkpoint = read_checkpoint(path)
    assert not any(known.has_free_atom for known in checkpoint.card.paw.values())
    bare = load(checkpoint)
    with pytest.raises(ModelError, match=r"the model random holds no free atoms: no atomic"):
        bare.predict(crystal(), SHAPE)
    change = bare.deformation(crystal(), SHAPE)
    expected = made.predict(crystal(), SHAPE)
    # The change alone goes to the grid in single precision, with the atoms in double precision.
    same(deformed_superposition(change, bare.card.paw, made.atoms), expected, SINGLE)
    same(bare.complete(expected, made.atoms), made.complete(expected))
    bare.card.domain.check(crystal(), SHAPE, paw=made.atoms)
    other = replace(made.atoms["Mg"], form_factor=0.9 * made.atoms["Mg"].form_factor)
    other = replace(other, atomic_occupancies=0.5 * other.atomic_occupancies)
    with pytest.raises(OutOfDomainError, match="fingerprint is"):
        bare.card.domain.check(crystal(), SHAPE, paw={**made.atoms, "Mg": other})
