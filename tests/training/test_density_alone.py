"""Training of the architectures that predict the density alone: ChargE3Net and superres."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

pytest.importorskip("h5py", reason="needs the train extra")
torch = pytest.importorskip("torch", reason="needs the models extra")
pytest.importorskip("safetensors", reason="needs the models extra")

from synthetic_samples import packed  # noqa: E402

from mlcharge_flows.cli.app import app  # noqa: E402
from mlcharge_flows.density.grid import regrid  # noqa: E402
from mlcharge_flows.models.charge3net.config import DIFFERENCE_SCALE  # noqa: E402
from mlcharge_flows.models.charge3net.field import DensityField  # noqa: E402
from mlcharge_flows.models.checkpoint import read_checkpoint  # noqa: E402
from mlcharge_flows.models.registry import Registry  # noqa: E402
from mlcharge_flows.training.config import TrainingConfig, TrainingError  # noqa: E402
from mlcharge_flows.training.dataset import write_dataset  # noqa: E402
from mlcharge_flows.training.loop import train  # noqa: E402
from mlcharge_flows.training.task import task_of  # noqa: E402

SMALL = {"preset": "small", "mul": 12, "lmax": 1, "num_basis": 6}
MODELS = {
    "charge3net": SMALL,
    "charge3net-difference": {**SMALL, "target": "difference"},
    "superres": {"preset": "small", "channels": 4, "blocks": 1, "kernel_ends": 3, "spacing": 0.45},
}
OPTIONS = {
    "epochs": 3,
    "batch_size": 2,
    "validate_every": 1,
    "warm_up": 1,
    "validation_fraction": 0.01,
    "probes": 40,
}
ARCHITECTURE = pytest.mark.parametrize("model", MODELS)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "data.h5"
    samples = [
        packed(
            f"mp-{n}",
            seed=n,
            a=3.6 + 0.1 * n,
            shape=(8, 9, 10),
            split="validation" if n == 0 else "train",
        )
        for n in range(4)
    ]
    return write_dataset(path, samples)


def architecture(model):
    return model.partition("-")[0]


def config(dataset, model, /, **options):
    given = {"model": MODELS[model], **OPTIONS, **options}
    return TrainingConfig(
        name="small", data=dataset.path, architecture=architecture(model), **given
    )


def prepared_task(dataset, settings):
    """The task, its training set and its validation set."""
    torch.manual_seed(settings.seed)
    task = task_of(settings, dataset, torch.device("cpu"))
    samples = [task.prepare(sample) for sample in dataset]
    task.initialize(samples[1:])
    return task, samples[1:], samples[:1]


def representable(sample, model):
    """The sample with a density that the network can represent: the superposition, changed."""
    if model == "charge3net":
        return sample
    if model == "charge3net-difference":
        superposition = sample.superposition
        baseline_error = float(0.2 * superposition.mean())
        return replace(sample, density=1.2 * superposition, baseline_error=baseline_error)
    superposition = sample.image.superposition
    neighbors = [superposition.roll(step, axis) for step in (1, -1) for axis in (2, 3, 4)]
    target = 0.2 * (torch.stack(neighbors).mean(0) - superposition)
    difference = regrid(target[0, 0].numpy(), sample.difference.shape).astype(np.float32)
    return replace(sample, target=target, difference=difference)


@ARCHITECTURE
def test_a_representable_density_is_learned(dataset, tmp_path, model):
    options = {"epochs": 20, "validate_every": 20, "learning_rate": 5e-2, "ema_decay": 0.5}
    settings = config(dataset, model, batch_size=1, **{**options, "probes": 100})
    task, samples, _ = prepared_task(dataset, settings)
    validation = [representable(samples[0], model)]
    training = task.initialize(3 * validation)
    progress = train(task, (training, validation), settings, tmp_path / "state.pt")
    terms = [row["grid"] for row in progress.rows]
    assert np.mean(terms[-5:]) < 0.8 * np.mean(terms[:2])
    assert progress.best == progress.rows[-1]["density_left"] < 0.9 * np.mean(terms[:2])


class KilledError(Exception):
    pass


@ARCHITECTURE
def test_an_interrupted_training_ends_with_the_same_weights(dataset, tmp_path, model):
    weights = []
    for kill in (None, 1):
        settings = config(dataset, model)
        task, *sets = prepared_task(dataset, settings)
        state = tmp_path / f"{kill}.pt"

        def watch(progress, kill=kill):
            if progress.epoch == kill:
                raise KilledError

        if kill:
            with pytest.raises(KilledError):
                train(task, sets, settings, state, watch)
            task, *sets = prepared_task(dataset, settings)
            torch.rand(17)  # another state of the random generator
        train(task, sets, settings, state)
        weights.append(task.network.state_dict())
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=0, atol=0)


@ARCHITECTURE
def test_the_loss_depends_on_the_random_seed(dataset, model):
    task, samples, _ = prepared_task(dataset, config(dataset, model))
    if model == "superres":
        task.network.last.reset_parameters()  # an untrained network returns the superposition
    losses = []
    for seed in (0, 0, 1, 2):
        torch.manual_seed(seed)
        with torch.no_grad():
            losses.append(task.losses(task.network, samples)["loss"].item())
    assert losses[0] == losses[1]
    assert len(set(losses)) == 3


@pytest.mark.parametrize("model", ["charge3net", "charge3net-difference"])
def test_random_points_estimate_the_error_of_the_whole_grid(dataset, model):
    settings = config(dataset, model, probes=20_000)
    task, (sample, *_), _ = prepared_task(dataset, settings)
    with torch.no_grad():
        loss = task.losses(task.network, [sample])["grid"].item()
        task.network.eval()
        grid = DensityField(task.network, sample.crystal).on_grid(sample.density.shape)
    if model == "charge3net-difference":
        grid = sample.superposition + DIFFERENCE_SCALE * grid
    expected = np.abs(grid - sample.density).mean() / sample.baseline_error
    assert loss == pytest.approx(expected, rel=0.03)


def test_an_untrained_network_has_the_error_of_the_superposition(dataset):
    task, samples, _ = prepared_task(dataset, config(dataset, "superres"))
    with torch.no_grad():
        assert task.losses(task.network, samples)["grid"].item() == pytest.approx(1.0)
        errors = task.errors(task.network, samples[0])
    assert errors["density_left"] == pytest.approx(1.0)
    assert errors["nmae"] == pytest.approx(samples[0].baseline_nmae)


@ARCHITECTURE
def test_the_command_writes_a_checkpoint_that_predicts(dataset, tmp_path, model):
    path = tmp_path / "small.yaml"
    # An untrained network may predict no electrons at all.
    options = OPTIONS | {"epochs": 15, "validate_every": 15, "learning_rate": 3e-2}
    options |= {"ema_decay": 0.5, "architecture": architecture(model), "model": MODELS[model]}
    path.write_text(yaml.safe_dump({"name": "small", "data": str(dataset.path), **options}))
    result = CliRunner().invoke(app, ["train", str(path)])
    assert result.exit_code == 0, result.output
    assert "occupancies" not in result.output
    folder = tmp_path / "small"
    card = read_checkpoint(folder / "small.safetensors").card
    assert (card.architecture, card.occupancies) == (architecture(model), "none")
    assert "occupancies_removed" not in card.errors
    assert (folder / "curves.png").stat().st_size > 5000

    sample = dataset["mp-0"]
    loaded = Registry(folder).load("small")
    found, expected = loaded.model.predict(sample.crystal, sample.shape), sample.density()
    assert found.augmentation is None
    assert found.n_electrons == pytest.approx(sample.n_electrons, abs=1e-6)
    error = 100 * np.abs(found.total - expected.total).sum() / np.abs(expected.total).sum()
    assert error == pytest.approx(card.errors["nmae_median"], rel=2e-2)

    validation = write_dataset(tmp_path / "one.h5", [sample])
    table = tmp_path / "errors.csv"
    words = ["evaluate", str(validation.path), "--model", str(folder / "small.safetensors")]
    result = CliRunner().invoke(app, [*words, "--csv", str(table)])
    assert result.exit_code == 0, result.output
    assert "nan" not in result.output
    with table.open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["density_removed"]) == pytest.approx(card.errors["density_removed"], abs=0.05)


@ARCHITECTURE
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": {"preset": "huge"}}, r"model\.preset: there is no 'huge'; choose from"),
        ({"model": {"width": 3}}, r"model\.width: unknown key"),
        ({"loss": {"coulomb": 1.0}}, r"loss\.coulomb: .* knows no such term"),
        ({"loss": {"coefficients": 1.0}}, r"loss\.coefficients: .* knows no such term"),
    ],
)
def test_impossible_options_are_refused_in_one_line(dataset, model, options, message):
    with pytest.raises(TrainingError, match=message):
        task_of(config(dataset, model, **options), dataset, torch.device("cpu"))


def test_the_number_of_probes_concerns_charge3net_alone():
    """An interrupted training of another architecture resumes with another number."""
    settings = TrainingConfig(name="old", data="data.h5")
    assert "probes" not in settings.identity
    assert settings.identity == settings.model_copy(update={"probes": 7}).identity
    other = settings.model_copy(update={"architecture": "charge3net"})
    assert other.identity != other.model_copy(update={"probes": 7}).identity
