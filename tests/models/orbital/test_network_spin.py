"""Laws of predicted magnetizations, whatever the weights of the network."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the models extra")

from orbital_models import ATOMS as NOT_SPHERICAL  # noqa: E402
from orbital_models import CHANNELS, crystal, model, precision  # noqa: E402

from mlcharge_flows.density.augmentation import (  # noqa: E402
    blocks,
    n_occupancies,
    rotate,
    spherical,
)
from mlcharge_flows.density.crystal import Crystal  # noqa: E402
from mlcharge_flows.models.checkpoint import (  # noqa: E402
    Checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from mlcharge_flows.models.deformation import predict_spin_on_atoms  # noqa: E402
from mlcharge_flows.models.magnetization import ElementMagnetization  # noqa: E402
from mlcharge_flows.models.moment_sizes import Moments  # noqa: E402
from mlcharge_flows.models.orbital import load  # noqa: E402
from mlcharge_flows.models.orbital.site_moments import SiteMoments  # noqa: E402
from mlcharge_flows.models.orbital.spin import SPIN_BASIS  # noqa: E402

SHAPE = (12, 15, 16)


def free_atom(atom):
    occupancies = np.zeros_like(atom.atomic_occupancies)
    places = spherical(atom.channels)
    occupancies[places] = atom.atomic_occupancies[places]
    return replace(atom, atomic_occupancies=occupancies)


ATOMS = {symbol: free_atom(atom) for symbol, atom in NOT_SPHERICAL.items()}
MAGMOM = np.array([2.0, -1.0, 0.6])


def known(symbol, mean, channels, **changes):
    rng = np.random.default_rng(len(symbol))
    return ElementMagnetization(
        titel=symbol,
        fingerprint="",
        channels=tuple(channels),
        moments=(Moments(elements=("Mg", "O"), n_runs=3, mean=mean, spread=0.1),),
        form_factor=tuple((0.1 * rng.standard_normal(SPIN_BASIS.size - 1)).tolist()),
        occupancies=(0.2,) * len(spherical(channels)),
        anisotropy=(-0.8,) * (len(blocks(channels)) - len(spherical(channels))),
        **changes,
    )


def spin_model(sizes=None, **options):
    """Magnesium carries moments, oxygen has what it induces."""
    made = model(spin=True, **options)
    sizes = {"Mg": 1.8, "O": 0.1} if sizes is None else sizes
    spin = made.network.spin
    spin.fit(
        {symbol: known(symbol, size, CHANNELS[symbol]) for symbol, size in sizes.items()},
        dict.fromkeys(sizes, 1.1),
    )
    torch.nn.init.normal_(spin.readout, std=0.3)
    torch.nn.init.normal_(spin.sign.weight, std=0.5)
    torch.nn.init.normal_(spin.size[-1].weight, std=0.05)
    for index in range(len(CHANNELS)):
        torch.nn.init.normal_(getattr(spin.augmentation, f"response_{index}")[:-1])
        getattr(spin.augmentation, f"largest_{index}").fill_(1e9)
        # Every other block by the response, the others in closed form.
        channels = CHANNELS[made.network.config.elements[index]]
        for block in blocks(channels)[::2]:
            row = slice(block.offset, block.offset + 2 * block.L + 1)
            spin.get_buffer(f"responds_{index}")[row] = True
    return made


def predict(made, ions, magmom, shape=SHAPE, **kwargs):
    prediction = made.predict_spin(ions, shape, np.asarray(magmom, dtype=float), **kwargs)
    return predict_spin_on_atoms(prediction, made.card.paw, ATOMS)


@pytest.fixture(params=[{}, {"virtual": "bonds", "lmax": 3}, {"n_coupled": 4}], ids=str)
def made(request):
    with precision(torch.float64):
        yield spin_model(**request.param)


def flat(density):
    return np.concatenate(density.magnetization.augmentation)


def test_the_network_matters(made):
    found, warnings = predict(made, crystal(), MAGMOM)
    assert warnings == ()
    own = found.magnetization
    made.network.spin.readout.zero_()
    closed, _ = predict(made, crystal(), MAGMOM)
    assert np.abs(own.grid - closed.magnetization.grid).max() > 1e-3
    assert np.abs(flat(found) - flat(closed)).max() > 1e-3
    plain = made.predict(crystal(), SHAPE)
    assert np.abs(found.total - plain.total).max() > 1e-4, "moments change the density, too"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_time_reversal_is_exact(dtype):
    with precision(dtype):
        made = spin_model()
        up, _ = predict(made, crystal(), MAGMOM)
        down, _ = predict(made, crystal(), -MAGMOM)
    assert np.array_equal(up.total, down.total)
    for one, other in zip(up.augmentation, down.augmentation, strict=True):
        assert np.array_equal(one, other)
    assert np.array_equal(up.magnetization.grid, -down.magnetization.grid)
    assert np.array_equal(flat(up), -flat(down))
    assert np.array_equal(up.magnetization.moments, -down.magnetization.moments)
    assert np.abs(up.magnetization.grid).max() > 0.1


def test_time_reversal_is_exact_with_transforms():
    """Of large crystals, whose sums over sites go by Fourier transforms."""
    made = spin_model()
    rng = np.random.default_rng(0)
    symbols = ("Mg",) * 8 + ("O",) * 8
    large = Crystal(np.diag([8.0, 8.5, 9.0]), symbols, rng.random((16, 3)))
    magmom = np.array([2.0, -2.0] * 4 + [0.6] * 8)
    made.network.augmentation.largest_0.fill_(1e9)
    made.network.augmentation.largest_1.fill_(1e9)
    up, _ = predict(made, large, magmom, (24, 25, 27))
    down, _ = predict(made, large, -magmom, (24, 25, 27))
    assert np.array_equal(up.total, down.total)
    assert np.array_equal(up.magnetization.grid, -down.magnetization.grid)
    assert np.array_equal(flat(up), -flat(down))


def test_without_moments_it_is_the_network_without_spin(made):
    graph = made.network.graph(crystal())
    plain = made.network(graph)[0]
    zero = made.network(replace(graph, spins=torch.zeros(len(graph.species))))[0]
    assert torch.equal(plain.coefficients, zero.coefficients)
    assert plain.spin is None
    assert not zero.spin.coefficients.any()
    with precision(torch.float64):
        options = made.network.config.model_dump()
        options = {k: options[k] for k in ("virtual", "lmax", "n_coupled")}
        other = model(**options)
    weights = {n: w for n, w in made.network.state_dict().items() if not n.startswith("spin.")}
    other.network.load_state_dict(weights)
    assert torch.equal(other.network(graph)[0].coefficients, plain.coefficients)
    found, _ = predict(made, crystal(), np.zeros(3))
    assert found.magnetization is None
    np.testing.assert_allclose(found.total, other.predict(crystal(), SHAPE).total, rtol=1e-11)


def test_the_moments_are_those_of_the_grid(made):
    found, _ = predict(made, crystal(), MAGMOM)
    total = found.magnetization.grid.mean() * crystal().volume
    assert total == pytest.approx(found.magnetization.moments.sum(), abs=1e-9)
    assert found.n_electrons == pytest.approx(14.0, abs=1e-9)


def same(found, expected, grid=lambda values: values, occupancies=lambda values: values):
    np.testing.assert_allclose(found.total, grid(expected.total), atol=1e-9)
    own, other = found.magnetization, expected.magnetization
    np.testing.assert_allclose(own.grid, grid(other.grid), atol=1e-9)
    for one, two in zip(own.augmentation, occupancies(other.augmentation), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-9)


@pytest.mark.parametrize("sign", [1, -1])
def test_rotation_and_inversion(made, sign):
    matrix, _ = np.linalg.qr(np.random.default_rng(4).standard_normal((3, 3)))
    matrix *= sign * np.sign(np.linalg.det(matrix))
    ions = crystal()
    turned = Crystal(ions.lattice @ matrix.T, ions.symbols, ions.positions)
    expected, _ = predict(made, ions, MAGMOM)
    found, _ = predict(made, turned, MAGMOM)
    channels = [ATOMS[symbol].channels for symbol in ions.symbols]
    same(
        found,
        expected,
        occupancies=lambda each: [
            rotate(values, c, matrix) for values, c in zip(each, channels, strict=True)
        ],
    )


def test_translation(made):
    ions, steps = crystal(), (5, -2, 1)
    moved = replace(ions, positions=ions.positions + np.array(steps) / SHAPE)
    expected, _ = predict(made, ions, MAGMOM)
    found, _ = predict(made, moved, MAGMOM)
    same(found, expected, lambda values: np.roll(values, steps, (0, 1, 2)))


def test_permutation(made):
    order = [2, 0, 1]
    ions = crystal()
    permuted = Crystal(ions.lattice, tuple(ions.symbols[i] for i in order), ions.positions[order])
    expected, _ = predict(made, ions, MAGMOM)
    found, _ = predict(made, permuted, MAGMOM[order])
    same(found, expected, occupancies=lambda each: [each[i] for i in order])


def test_an_antiferromagnet_has_no_total_moment():
    """Sites that inversion with time reversal exchanges have opposite moments."""
    with precision(torch.float64):
        made = spin_model({"Mg": 1.8, "O": 0.0})
        positions = np.array([[0.1, 0.2, 0.3], [0.9, 0.8, 0.7], [0.0, 0.0, 0.0]])
        ions = Crystal(crystal().lattice, ("Mg", "Mg", "O"), positions)
        found, _ = predict(made, ions, [3.0, -3.0, 0.6])
    assert abs(found.magnetization.grid.mean()) < 1e-12
    assert abs(found.magnetization.moments[2]) < 1e-9, "nothing is induced by symmetry"
    assert np.abs(found.magnetization.grid).max() > 0.1


def test_a_checkpoint_keeps_it(tmp_path):
    made = spin_model()
    weights = made.network.state_dict()
    card = made.card.model_copy(update={"config": made.network.config.model_dump()})
    write_checkpoint(tmp_path / "spin.safetensors", Checkpoint(card, weights))
    again = load(read_checkpoint(tmp_path / "spin.safetensors"))
    assert again.predicts_magnetization
    expected, _ = predict(made, crystal(), MAGMOM)
    found, _ = predict(again, crystal(), MAGMOM)
    assert np.array_equal(found.magnetization.grid, expected.magnetization.grid)
    assert np.array_equal(flat(found), flat(expected))


def began_with(made, **ranges):
    """Runs of the training began with other sizes of MAGMOM."""
    spin = made.network.spin
    spin.fit(
        {
            symbol: known(symbol, 1.8, CHANNELS[symbol], magmom_range=values)
            for symbol, values in ranges.items()
        },
        dict.fromkeys(ranges, 1.1),
    )


def test_magmom_of_the_training_runs_asks_for_no_other_state():
    made = spin_model()
    magmom = [0.1, 0.0, 0.6]
    assert "lower spin state" in predict(made, crystal(), magmom)[1][0]
    began_with(made, Mg=(0.1, 5.0))
    up, warnings = predict(made, crystal(), magmom)
    down, _ = predict(made, crystal(), np.negative(magmom))
    assert warnings == ()
    assert up.magnetization.moments[0] > 1.0
    assert np.array_equal(up.total, down.total)
    assert np.array_equal(up.magnetization.grid, -down.magnetization.grid)
    assert "higher spin state" in predict(made, crystal(), [50.0, 0.0, 0.6])[1][0]
    made.network.spin.spread.fill_(5.0)
    assert "differ" in predict(made, crystal(), magmom)[1][0]


def test_a_checkpoint_keeps_the_magmom_of_the_training_and_may_lack_it(tmp_path):
    made = spin_model()
    began_with(made, Mg=(0.6, 5.0))
    config = {"config": made.network.config.model_dump()}
    card, weights = made.card.model_copy(update=config), made.network.state_dict()
    ranges = []
    for name in ("new", "old"):
        path = tmp_path / f"{name}.safetensors"
        write_checkpoint(path, Checkpoint(card, weights))
        spin = load(read_checkpoint(path)).network.spin
        ranges.append([spin.magmom_range(index) for index in range(len(CHANNELS))])
        weights.pop("spin.magmom", None)
    mg = made.network.config.elements.index("Mg")
    assert ranges[0][mg] == pytest.approx((0.6, 5.0))
    assert ranges[0][1 - mg] is None
    assert ranges[1] == [None, None]
    # An interrupted training of before has fitted it once more.
    made.network.load_state_dict(weights)
    assert made.network.spin.magmom_range(mg) == pytest.approx((0.6, 5.0))
    again = made.network.spin.element("Mg", ATOMS["Mg"])
    assert again.magmom_range == pytest.approx((0.6, 5.0))


def sites(magmom, sizes, spreads=None, carries=(("Mg", True), ("O", False)), ranges=()):
    spreads = np.full(3, 0.1) if spreads is None else np.asarray(spreads)
    values = np.asarray(magmom), np.asarray(sizes), spreads
    return SiteMoments.of(("Mg", "O", "O"), *values, dict(carries), dict(ranges))


def test_sizes_are_the_models_and_signs_those_of_magmom():
    found = sites([-5.0, 0.6, 0.6], [1.8, 0.0, 0.0])
    assert found.moments.tolist() == [-1.8, 0.0, 0.0], "oxygen has what is induced"
    assert found.is_predicted.all()


@pytest.mark.parametrize(
    ("size", "spread", "given", "reason"),
    [(2.0, 0.9, 5.0, "differ"), (3.0, 0.1, 1.0, "lower"), (0.5, 0.1, 5.0, "higher")],
)
def test_magmom_stands_where_the_state_is_not_certain(size, spread, given, reason):
    found = sites([given, 0.6, 0.6], [size, 0.0, 0.0], [spread, 0.1, 0.1])
    assert found.moments[0] == given
    assert not found.is_predicted[0]
    assert reason in found.warnings[0]
    known = sites(
        [given, 0.6, 0.6], [size, 0.0, 0.0], [spread, 0.1, 0.1], ranges=[("Mg", (0.6, 5.0))]
    )
    assert known.is_predicted[0] == (reason != "differ"), "the runs began with this MAGMOM"
    assert known.moments[0] == (given if reason == "differ" else size)


def test_no_site_with_a_moment_in_magmom_begins_at_zero():
    assert sites([1.0, 0.0, 0.0], [-0.2, 0.0, 0.0]).moments.tolist() == [0.1, 0.0, 0.0]
    nothing_carries = sites([0.6, 0.6, -0.6], np.zeros(3), carries=[("Mg", False), ("O", False)])
    assert nothing_carries.moments.tolist() == [0.1, 0.1, -0.1]
    unknown = sites([2.0, 0.0, 0.0], np.zeros(3), carries=[("O", False)])
    assert unknown.moments[0] == 2.0
    assert not unknown.is_predicted[0]


def test_where_magmom_stands_the_ion_has_what_vasp_superposes():
    made = spin_model()
    made.network.spin.spread.fill_(5.0)
    found, warnings = predict(made, crystal(), MAGMOM)
    assert found.magnetization is None
    assert len(warnings) == 1
    fixed, _ = predict(made, crystal(), MAGMOM, is_fixed=True)
    assert fixed.magnetization is None


def test_a_magnetization_that_is_none_of_an_ion_is_refused():
    made = spin_model()
    made.network.spin.augmentation.largest_0.fill_(1e-3)
    found, warnings = predict(made, crystal(), MAGMOM)
    assert found.magnetization is None
    assert "the magnetization around Mg is unlike any in training" in warnings[0]


def test_a_calibration_replaces_the_closed_form(made):
    """The same spin density in a calibration changes nothing but the occupancies of L = 0."""
    prediction = made.predict_spin(crystal(), SHAPE, MAGMOM)
    own, _ = predict_spin_on_atoms(prediction, made.card.paw, ATOMS)
    mine = made.network.spin.element("Mg", ATOMS["Mg"])
    mine = mine.model_copy(update={"fingerprint": ATOMS["Mg"].fingerprint, "titel": "Mg"})
    plain = replace(own, magnetization=None)
    found, _ = prediction.magnetized(plain, ATOMS, calibrated={"Mg": mine})
    np.testing.assert_allclose(found.magnetization.grid, own.magnetization.grid, atol=1e-9)
    assert len(found.magnetization.augmentation[0]) == n_occupancies(CHANNELS["Mg"])
    other = mine.model_copy(update={"form_factor": tuple(2 * v for v in mine.form_factor)})
    changed, _ = prediction.magnetized(plain, ATOMS, calibrated={"Mg": other})
    assert np.abs(changed.magnetization.grid - own.magnetization.grid).max() > 1e-3
