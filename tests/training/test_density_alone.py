"""Training architectures that predict the density alone."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

pytest.importorskip("h5py", reason="needs the train extra")
torch = pytest.importorskip("torch", reason="needs the models extra")
pytest.importorskip("safetensors", reason="needs the models extra")

from synthetic_records import packed  # noqa: E402

from mlcharge_flows.cli.app import app  # noqa: E402
from mlcharge_flows.density.fourier import regrid  # noqa: E402
from mlcharge_flows.models.charge3net.config import DIFFERENCE_SCALE  # noqa: E402
from mlcharge_flows.models.checkpoint import read_checkpoint  # noqa: E402
from mlcharge_flows.models.registry import Registry  # noqa: E402
from mlcharge_flows.training.config import ConfigError, TrainingConfig  # noqa: E402
from mlcharge_flows.training.loop import train  # noqa: E402
from mlcharge_flows.training.store import write_store  # noqa: E402
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
    "validation_share": 0.01,
    "probes": 40,
}
ARCHITECTURE = pytest.mark.parametrize("model", MODELS)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "data.h5"
    records = [
        packed(f"mp-{n}", seed=n, a=3.6 + 0.1 * n, split="validation" if n == 0 else "train")
        for n in range(4)
    ]
    return write_store(path, records)


def architecture(model):
    return model.partition("-")[0]


def config(store, model, /, **options):
    given = {"model": MODELS[model], **OPTIONS, **options}
    return TrainingConfig(name="small", data=store.path, architecture=architecture(model), **given)


def task_and_examples(store, settings):
    torch.manual_seed(settings.seed)
    task = task_of(settings, store, torch.device("cpu"))
    examples = [task.example(record) for record in store]
    task.lessons(examples[1:])
    return task, (examples[1:], examples[:1])


def learnable(example, model):
    """A change that the surroundings tell: the superposition smoothed, or a share of it."""
    if model == "charge3net":
        return example
    if model == "charge3net-difference":
        density = 1.2 * example.start
        return replace(example, density=density, change=float(0.2 * example.start.mean()))
    start = example.image.superposition
    neighbors = [start.roll(step, axis) for step in (1, -1) for axis in (2, 3, 4)]
    target = 0.2 * (torch.stack(neighbors).mean(0) - start)
    change = regrid(target[0, 0].numpy(), example.change.shape).astype(np.float32)
    return replace(example, target=target, change=change)


@ARCHITECTURE
def test_what_can_be_learned_is_learned(store, tmp_path, model):
    options = {"epochs": 30, "validate_every": 30, "learning_rate": 2e-2, "average": 0.5}
    settings = config(store, model, **options)
    task, (examples, _) = task_and_examples(store, settings)
    shown = [learnable(examples[0], model)]
    shown = task.lessons(shown)
    progress = train(task, (shown, shown), settings, tmp_path / "state.pt")
    terms = [row["grid"] for row in progress.rows]
    assert np.mean(terms[-5:]) < 0.8 * np.mean(terms[:2])
    assert progress.best == progress.rows[-1]["density_left"] < 0.9 * np.mean(terms[:2])


class KilledError(Exception):
    pass


@ARCHITECTURE
def test_a_killed_training_goes_on_as_if_it_had_not_been(store, tmp_path, model):
    weights = []
    for kill in (None, 1):
        settings = config(store, model)
        task, examples = task_and_examples(store, settings)
        state = tmp_path / f"{kill}.pt"

        def watch(progress, kill=kill):
            if progress.epoch == kill:
                raise KilledError

        if kill:
            with pytest.raises(KilledError):
                train(task, examples, settings, state, watch)
            task, examples = task_and_examples(store, settings)
            torch.rand(17)  # the generator is somewhere else than it was
        train(task, examples, settings, state)
        weights.append(task.network.state_dict())
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=0, atol=0)


@ARCHITECTURE
def test_steps_differ_in_what_they_draw(store, model):
    task, (examples, _) = task_and_examples(store, config(store, model))
    if model == "superres":
        task.network.last.reset_parameters()  # a fresh network corrects nothing
    losses = []
    for seed in (0, 0, 1, 2):
        torch.manual_seed(seed)
        with torch.no_grad():
            losses.append(task.losses(task.network, examples)["loss"].item())
    assert losses[0] == losses[1]
    assert len(set(losses)) == 3


@pytest.mark.parametrize("model", ["charge3net", "charge3net-difference"])
def test_probes_estimate_the_error_of_the_grid(store, model):
    settings = config(store, model, probes=20_000)
    task, (examples, _) = task_and_examples(store, settings)
    (example,) = examples[:1]
    from mlcharge_flows.models.charge3net.field import DensityField

    with torch.no_grad():
        loss = task.losses(task.network, [example])["grid"].item()
        task.network.eval()
        grid = DensityField(task.network, example.crystal).on_grid(example.density.shape)
    if model == "charge3net-difference":
        grid = example.start + DIFFERENCE_SCALE * grid
    expected = np.abs(grid - example.density).mean() / example.change
    assert loss == pytest.approx(expected, rel=0.03)


def test_a_fresh_network_leaves_all_of_the_superpositions_error(store):
    task, (examples, _) = task_and_examples(store, config(store, "superres"))
    with torch.no_grad():
        assert task.losses(task.network, examples)["grid"].item() == pytest.approx(1.0)
        errors = task.errors(task.network, examples[0])
    assert errors["density_left"] == pytest.approx(1.0)
    assert errors["nmae"] == pytest.approx(examples[0].start_error)


@ARCHITECTURE
def test_the_command_writes_a_checkpoint_that_predicts(store, tmp_path, model):
    path = tmp_path / "small.yaml"
    # Before it learns anything, a network may predict no electrons at all.
    options = OPTIONS | {"epochs": 15, "validate_every": 15, "learning_rate": 3e-2, "average": 0.5}
    options |= {"architecture": architecture(model), "model": MODELS[model]}
    path.write_text(yaml.safe_dump({"name": "small", "data": str(store.path), **options}))
    result = CliRunner().invoke(app, ["train", str(path)])
    assert result.exit_code == 0, result.output
    assert "occupancies" not in result.output
    folder = tmp_path / "small"
    card = read_checkpoint(folder / "small.safetensors").card
    assert (card.architecture, card.occupancies) == (architecture(model), "none")
    assert "occupancies_removed" not in card.errors
    assert (folder / "curves.png").stat().st_size > 5000

    record = store["mp-0"]
    loaded = Registry(folder).load("small")
    found, expected = loaded.model.predict(record.crystal, record.shape), record.density()
    assert found.augmentation is None
    assert found.n_electrons == pytest.approx(record.n_electrons, abs=1e-6)
    error = 100 * np.abs(found.total - expected.total).sum() / np.abs(expected.total).sum()
    assert error == pytest.approx(card.errors["nmae_median"], rel=2e-2)

    held_out = write_store(tmp_path / "one.h5", [record])
    table = tmp_path / "errors.csv"
    words = ["evaluate", str(held_out.path), "--model", str(folder / "small.safetensors")]
    result = CliRunner().invoke(app, [*words, "--csv", str(table)])
    assert result.exit_code == 0, result.output
    assert "nan" not in result.output
    with table.open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["density_removed"]) == pytest.approx(card.errors["density_removed"], abs=0.05)


@ARCHITECTURE
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"model": {"preset": "huge"}}, r"model\.preset: there is no 'huge'; choose from"),
        ({"model": {"width": 3}}, r"model\.width: Extra inputs are not permitted"),
        ({"loss": {"coulomb": 1.0}}, r"loss\.coulomb: .* knows no such term"),
        ({"loss": {"waves": 1.0}}, r"loss\.waves: .* knows no such term"),
    ],
)
def test_what_cannot_be_trained_is_one_line(store, model, options, says):
    with pytest.raises(ConfigError, match=says):
        task_of(config(store, model, **options), store, torch.device("cpu"))


def test_an_orbital_training_from_before_goes_on():
    """Options of other architectures are of no concern to it."""
    settings = TrainingConfig(name="old", data="data.h5")
    assert "probes" not in settings.identity
    assert settings.identity == settings.model_copy(update={"probes": 7}).identity
    other = settings.model_copy(update={"architecture": "charge3net"})
    assert other.identity != other.model_copy(update={"probes": 7}).identity
