"""Training with magnetizations: closed form first, then what the network learns beside it."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("h5py", reason="needs the train extra")
torch = pytest.importorskip("torch", reason="needs the models extra")

from synthetic_samples import PAW, converged, packed  # noqa: E402

from mlcharge_flows.density.augmentation import n_occupancies, spherical  # noqa: E402
from mlcharge_flows.density.density import Magnetization  # noqa: E402
from mlcharge_flows.density.magnetization import SpinDensity, superpose_moments  # noqa: E402
from mlcharge_flows.models.card import TrainingCard  # noqa: E402
from mlcharge_flows.models.checkpoint import Checkpoint  # noqa: E402
from mlcharge_flows.models.orbital import load  # noqa: E402
from mlcharge_flows.training.config import TrainingConfig, TrainingError  # noqa: E402
from mlcharge_flows.training.dataset import write_dataset  # noqa: E402
from mlcharge_flows.training.evaluation import evaluate, summary  # noqa: E402
from mlcharge_flows.training.files import checkpoint_of, load_initial_weights  # noqa: E402
from mlcharge_flows.training.loop import train, validate  # noqa: E402
from mlcharge_flows.training.orbital import OrbitalTask  # noqa: E402
from mlcharge_flows.training.orbital_sample import thinned  # noqa: E402
from mlcharge_flows.training.origin import Origin, RunSettings  # noqa: E402
from mlcharge_flows.training.sample import DensitySample  # noqa: E402

SMALL = {
    "n_channels": 8,
    "n_hidden": 16,
    "n_embedding": 4,
    "lmax": 2,
    "cutoff": 5.0,
    "g_max": 12.0,
    "spin": True,
}
SHAPE = (16, 18, 20)


def gaussian(q):
    return np.exp(-0.5 * (0.35 * q) ** 2)


def spins():
    found = {}
    for symbol, dataset in PAW.items():
        occupancies = np.zeros(n_occupancies(dataset.channels))
        occupancies[spherical(dataset.channels)] = 0.3
        found[symbol] = SpinDensity(gaussian, occupancies)
    return found


def spin_sample(seed, split="train", moment=2.0, magmom=3.0):
    """A moment on sodium, deformed towards chlorine, which has none of its own."""
    density = converged(seed=seed, a=4.2, shape=SHAPE)
    made = superpose_moments(density.crystal, np.array([moment, 0.0]), spins(), SHAPE)
    toward = density.crystal.positions[1] - density.crystal.positions[0]
    x = np.stack(np.meshgrid(*(np.arange(n) / n for n in SHAPE), indexing="ij"), -1)
    bias = np.sin(2 * np.pi * ((x - density.crystal.positions[0]) @ np.sign(toward)))
    grid = made.grid * (1.0 + 0.6 * bias)
    own = Magnetization(grid, made.augmentation, np.array([np.copysign(magmom, moment), 0.6]))
    whole = replace(density, magnetization=own)
    sample = DensitySample.pack(whole, PAW, Origin(f"spin-{seed}", "p", "", split))
    return replace(sample, settings=RunSettings(ispin=2), encut=350.0)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = tmp_path_factory.mktemp("spin") / "spin.h5"
    samples = [spin_sample(n, moment=2.0 * (-1) ** n) for n in range(3)]
    samples += [spin_sample(3, split="validation"), packed("plain", seed=7, shape=SHAPE)]
    return write_dataset(path, samples)


def config(dataset, **options):
    common = {"epochs": 2, "batch_size": 2, "validate_every": 1, "warm_up": 2}
    return TrainingConfig(
        name="small",
        data=dataset.path,
        **{"model": SMALL, "validation_fraction": 0.01, **common, **options},
    )


def prepared_task(dataset, settings, names=None):
    torch.manual_seed(settings.seed)
    task = OrbitalTask(settings, dataset, torch.device("cpu"))
    samples = [task.prepare(dataset[name]) for name in names or dataset.ids]
    return task, samples, task.initialize(samples)


def test_the_closed_form_comes_before_the_first_step(dataset):
    task, samples, _ = prepared_task(dataset, config(dataset))
    spin = task.network.spin
    index = {symbol: i for i, symbol in enumerate(task.model.elements)}
    assert spin.carries[index["Na"]]
    assert not spin.carries[index["Cl"]]
    assert float(spin.mean[index["Na"]]) == pytest.approx(2.0, rel=0.1)
    with torch.inference_mode():
        rows = [task.errors(task.network, sample) for sample in samples]
    magnetic = [row for row in rows if np.isfinite(row["magnetization_left"])]
    assert len(magnetic) == 4
    for row in magnetic:
        assert row["magnetization_left"] == pytest.approx(row["closed_form_left"], rel=1e-4)
        assert row["closed_form_left"] < 0.6
    assert np.isnan(rows[dataset.ids.index("plain")]["magnetization_left"])
    assert "magnetization_left" in validate(task, task.network, samples)
    assert "magnetization_left" not in validate(task, task.network, [samples[0]])


def test_the_network_knows_with_which_magmom_the_training_began(dataset, tmp_path):
    """Not the final moments: MAGMOM; and of merged data sets all of it."""
    spin = prepared_task(dataset, config(dataset))[0].network.spin
    na, cl = (spin.config.elements.index(symbol) for symbol in ("Na", "Cl"))
    assert spin.magmom_range(na) == pytest.approx((3.0, 3.0))
    assert spin.magmom_range(cl) == pytest.approx((0.6, 0.6))
    others = [spin_sample(5, moment=1e-4, magmom=5.0), spin_sample(6, moment=-2.0, magmom=1.0)]
    merged = write_dataset(tmp_path / "merged.h5", [*dataset, *others])
    wider = prepared_task(merged, config(merged))[0].network.spin
    assert wider.magmom_range(na) == pytest.approx((1.0, 5.0))
    assert wider.magmom_range(cl) == pytest.approx((0.6, 0.6))


def test_gradients_flow(dataset):
    task, _, training = prepared_task(dataset, config(dataset))
    torch.nn.init.normal_(task.network.spin.readout, std=0.1)
    torch.nn.init.normal_(task.network.spin.size[-1].weight, std=0.1)
    terms = task.losses(task.network, training)
    assert {"magnetization", "moments"} <= terms.keys()
    terms["loss"].backward()
    for name, weight in task.network.spin.named_parameters():
        assert weight.grad.abs().max() > 0, name
    task.network.zero_grad()
    plain = task.losses(task.network, [s for s in training if s.spin is None])
    assert plain["magnetization"].item() == 0.0
    plain["loss"].backward()
    assert all(not weight.grad.any() for weight in task.network.spin.parameters())


def test_reversed_moments_have_the_same_loss(dataset, tmp_path):
    samples = [spin_sample(0, moment=2.0), spin_sample(0, moment=-2.0)]
    task, _, _ = prepared_task(dataset, config(dataset))
    torch.nn.init.normal_(task.network.spin.readout, std=0.1)
    one, other = (
        task.losses(task.network, [task.training_sample(task.prepare(sample))])
        for sample in samples
    )
    for name in ("loss", "magnetization", "moments", "grid"):
        assert float(one[name]) == pytest.approx(float(other[name]), rel=1e-5)


def test_thinned_samples_keep_their_magnetization(dataset):
    _, samples, _ = prepared_task(dataset, config(dataset, model={**SMALL, "g_max": 14.0}))
    few = thinned(samples[-1], 4)
    assert len(few.spin.target) == len(few.target) < len(samples[-1].target)


@pytest.mark.parametrize("terms", [{}, {"coefficients": 0.5}], ids=str)
def test_training_removes_error_beyond_the_closed_form(dataset, tmp_path, terms):
    settings = config(
        dataset,
        epochs=40,
        validate_every=40,
        learning_rate=3e-2,
        ema_decay=0.8,
        optimizer="muon",
        loss={"grid": 1.0, **terms},
    )
    task, samples, training = prepared_task(dataset, settings, ["spin-0"])
    before = validate(task, task.network, samples)
    after = train(task, (training, samples), settings, tmp_path / "state.pt").rows[-1]
    assert after["magnetization_left"] < 0.8 * before["closed_form_left"]
    assert after["density_left"] < before["density_left"]
    assert after["moments"] < 0.0, "the spread falls with the error of the sizes"


def trained(dataset, settings):
    task, samples, _ = prepared_task(dataset, settings)
    errors = validate(task, task.network, samples)
    card = TrainingCard(epochs=0, hours=0.0, device="cpu", threads=1)
    return task, checkpoint_of(task, settings, dataset, dataset.ids, 1, errors, card)


def test_evaluation_of_a_checkpoint(dataset):
    _, checkpoint = trained(dataset, config(dataset))
    assert checkpoint.card.errors["magnetization_removed"] > 0.3
    model = load(Checkpoint(checkpoint.card, checkpoint.weights))
    rows = []
    for sample in dataset:
        for index in range(2):
            model.network.augmentation.get_buffer(f"largest_{index}").fill_(1e9)
        rows.append(evaluate(model, sample))
    found = summary(rows)
    assert found["magnetic"] == 4
    assert found["closed_form_removed"] == pytest.approx(found["magnetization_removed"], abs=0.02)
    assert found["magnetization_removed"] > 0.3


def test_a_checkpoint_without_spin_is_where_one_with_spin_begins(dataset, tmp_path):
    from mlcharge_flows.models.checkpoint import write_checkpoint

    plain = config(dataset, model={k: v for k, v in SMALL.items() if k != "spin"})
    task, checkpoint = trained(dataset, plain)
    assert not any(name.startswith("spin.") for name in checkpoint.weights)
    write_checkpoint(tmp_path / "first.safetensors", checkpoint)
    settings = config(dataset, finetune_from=tmp_path / "first.safetensors")
    second, samples, _ = prepared_task(dataset, settings)
    load_initial_weights(second.network, settings, dataset)
    graph = samples[0].graph
    assert torch.equal(second.network(graph)[0].coefficients, task.network(graph)[0].coefficients)
    assert second.network.spin.carries.any()


def test_an_interrupted_training_of_before_continues(dataset):
    """Where there is no spin, its weight in the loss is no setting."""
    plain = config(dataset, model={k: v for k, v in SMALL.items() if k != "spin"})
    assert '"spin"' not in plain.identity
    assert '"spin":1.0' in config(dataset).identity


def test_the_response_is_used_where_left_out_runs_are_better_with_it():
    """A response that all formulas share is; one that is another one in each is not."""
    from mlcharge_flows.density.augmentation import blocks
    from mlcharge_flows.models.orbital.config import OrbitalConfig
    from mlcharge_flows.models.orbital.gaussians import GaussianBasis
    from mlcharge_flows.models.orbital.spin import SpinPart
    from mlcharge_flows.training.spin_response_fit import SpinIon, fit_spin_response

    channels = {"Na": list(PAW["Na"].channels)}
    config = OrbitalConfig(elements=["Na"], channels=channels, spin=True, lmax=2)
    for is_common in (True, False):
        spin = SpinPart(config, GaussianBasis(0.3, 1.6, 4, 2), (1, 3, 4, 4))
        rng = np.random.default_rng(0)
        ions, common = [], rng.standard_normal(12)
        for number in range(12):
            response = common if is_common else rng.standard_normal(12)
            overlaps = rng.standard_normal((9, 12))
            values = np.zeros(n_occupancies(channels["Na"]))
            for block in blocks(channels["Na"]):
                row = slice(block.offset, block.offset + 2 * block.L + 1)
                values[row] = overlaps[block.L**2 : (block.L + 1) ** 2] @ response
            parts = (torch.from_numpy(part) for part in (overlaps, values, 0.0 * values))
            ions += [SpinIon(0, f"Na{number}", *parts, in_sphere=1.0)]
        # Of degree zero there is one number per ion: more ions than exponents are needed.
        fit_spin_response(spin, channels, ions + ions)
        assert bool(spin.get_buffer("responds_0")[-1]) == is_common


def test_spin_without_a_known_magnetization_is_refused(tmp_path):
    plain = [packed(f"plain-{n}", seed=n, shape=SHAPE) for n in range(3)]
    dataset = write_dataset(tmp_path / "plain.h5", plain)
    with pytest.raises(TrainingError, match=r"plain\.h5 has a known magnetization; add runs of"):
        prepared_task(dataset, config(dataset))
