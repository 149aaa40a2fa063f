"""Training: it learns, survives a kill, and says what is wrong."""

import csv
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

pytest.importorskip("h5py", reason="needs the train extra")
torch = pytest.importorskip("torch", reason="needs the models extra")
pytest.importorskip("safetensors", reason="needs the models extra")

from synthetic_records import packed  # noqa: E402

from mlcharge_flows.cli.app import app  # noqa: E402
from mlcharge_flows.models.checkpoint import read_checkpoint  # noqa: E402
from mlcharge_flows.models.orbital import load  # noqa: E402
from mlcharge_flows.models.orbital.model import OrbitalModel  # noqa: E402
from mlcharge_flows.models.orbital.network import OrbitalNetwork  # noqa: E402
from mlcharge_flows.training import loop  # noqa: E402
from mlcharge_flows.training.config import TrainingConfig  # noqa: E402
from mlcharge_flows.training.loop import train  # noqa: E402
from mlcharge_flows.training.orbital import SHELLS, OrbitalTask, thinned  # noqa: E402
from mlcharge_flows.training.stage import take_weights  # noqa: E402
from mlcharge_flows.training.store import write_store  # noqa: E402

SMALL = {
    "n_channels": 8,
    "n_hidden": 16,
    "n_embedding": 4,
    "lmax": 2,
    "cutoff": 5.0,
    "g_max": 12.0,
}
OPTIONS = {
    "model": SMALL,
    "epochs": 4,
    "batch_size": 2,
    "validate_every": 1,
    "warm_up": 2,
    "validation_share": 0.01,
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "data.h5"
    records = [
        packed(f"mp-{n}", seed=n, a=3.6 + 0.1 * n, split="validation" if n == 0 else "train")
        for n in range(5)
    ]
    return write_store(path, records)


def task_and_examples(store, config):
    torch.manual_seed(config.seed)
    task = OrbitalTask(config, store, torch.device("cpu"))
    examples = [task.example(record) for record in store]
    task.lessons(examples[1:])
    return task, (examples[1:], examples[:1])


def config(store, **options):
    return TrainingConfig(name="small", data=store.path, **{**OPTIONS, **options})


@pytest.fixture
def lenient(monkeypatch):
    """Records of noise: what occupancies respond to in three of them, they do not in a fourth."""
    monkeypatch.setattr("mlcharge_flows.models.orbital.model.MAX_RELATIVE_CHANGE", 100.0)


def taught(task, example):
    """The material as another network of the same kind would have it."""
    torch.manual_seed(5)
    teacher = OrbitalNetwork(task.model)
    torch.nn.init.normal_(teacher.readout, std=0.3)
    for index in range(len(task.model.elements)):
        torch.nn.init.normal_(getattr(teacher.augmentation, f"response_{index}")[:-1])
    with torch.no_grad():
        prediction = teacher(example.graph)[0]
        waves = teacher.density(prediction, example.waves, example.phases)
        records = teacher.occupancy_changes(waves, prediction.ions, example.waves, example.phases)
    change = example.waves.to_grid(waves)
    return replace(
        example,
        target=waves,
        norm=(example.weight * waves.abs() ** 2).sum(),
        size=change.abs().mean(),
        change=change,
        occupancies=torch.cat(records),
    )


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
@pytest.mark.parametrize("option", [{}, {"scaling": True, "virtual": "bonds"}])
def test_what_can_be_learned_is_learned(store, tmp_path, option, optimiser):
    settings = config(
        store,
        epochs=60,
        learning_rate=1e-2,
        average=0.9,
        model={**SMALL, **option},
        optimiser=optimiser,
    )
    task, (examples, _) = task_and_examples(store, settings)
    whole = [taught(task, examples[0])]
    lesson = task.lessons(whole)
    progress = train(task, (lesson, whole), settings, tmp_path / "state.pt")
    assert progress.rows[-1]["density_left"] < 0.3 * progress.rows[0]["density_left"]
    assert progress.rows[-1]["occupancies_left"] < 0.3 * progress.rows[0]["occupancies_left"]


def test_form_factors_take_on_what_the_network_leaves(store):
    """At the end of a training, of whatever network; a second time there is nothing to add."""
    model = {**SMALL, "g_max": 20.0, "form_factors": True}
    task, (examples, _) = task_and_examples(store, config(store, model=model))
    torch.nn.init.normal_(task.network.readout, std=0.01, generator=torch.manual_seed(1))

    @torch.no_grad()
    def left():
        terms = [task.losses(task.network, [example])["waves"] for example in examples]
        pairs = zip(terms, examples, strict=True)
        return sum(float(term**2 * example.norm / example.waves.volume) for term, example in pairs)

    before = left()
    task.finish(examples)
    after, values = left(), task.network.form_factors.values.clone()
    assert after < 0.99 * before
    task.finish(examples)
    assert (task.network.form_factors.values - values).abs().max() < 0.02 * values.abs().max()
    assert left() == pytest.approx(after, rel=1e-3)


def test_a_term_of_the_grid_equals_its_metric(store):
    settings = config(store, loss={"coulomb": 1.0}, model={**SMALL, "g_max": 100.0})
    task, (examples, _) = task_and_examples(store, settings)
    terms = task.losses(task.network, examples[:1])
    with torch.inference_mode():
        errors = task.errors(task.network, examples[0])
    # The packing and the Nyquist waves are all that lie between the two.
    assert terms["grid"].item() == pytest.approx(errors["density_left"], rel=2e-2)


def test_shells_of_the_loss_count_the_same(store):
    settings = config(store, loss={"grid": 0.0, "shells": 1.0}, model=SMALL)
    task, (examples, _) = task_and_examples(store, settings)
    assert task.losses(task.network, examples)["shells"].item() == pytest.approx(1.0, abs=1e-3)
    torch.manual_seed(0)
    torch.nn.init.normal_(task.network.readout, std=0.1)
    example = examples[0]
    terms = task.losses(task.network, [example])
    assert terms["loss"] == terms["shells"]
    with torch.inference_mode():
        prediction = task.network(example.graph)[0]
        density = task.network.density(prediction, example.waves, example.phases)
    error = (density - example.target).abs().double().numpy()
    size = example.target.abs().double().numpy()
    q, n = example.waves.q.numpy(), example.waves.multiplicity.numpy()
    ratios = []
    for low, high in pairwise((0.0, *SHELLS, np.inf)):
        here = (q > low) & (q <= high)
        if (n * size**2)[here].sum() > 1e-6 * (n * size**2).sum():
            squares = (n * error**2)[here].sum() / (n * size**2)[here].sum()
            ratios.append(squares**0.5)
    assert terms["shells"].item() == pytest.approx(np.mean(ratios), rel=1e-4)


def test_the_waves_that_stay_stand_for_those_left_out(store):
    settings = config(store, loss={"thinning": 4}, model={**SMALL, "g_max": 20.0})
    _, (examples, _) = task_and_examples(store, settings)
    example = examples[0]
    n_long = len(thinned(example, 4).gridded.q)
    assert example.waves.q[n_long - 1] <= SHELLS[-1] < example.waves.q[n_long]
    squares = example.weight * example.target.abs() ** 2
    found = set()
    for seed in range(40):
        torch.manual_seed(seed)
        some = thinned(example, 4)
        assert len(some.waves.q) < n_long + (len(squares) - n_long) / 4 + 1
        torch.testing.assert_close(some.target[:n_long], example.target[:n_long])
        torch.testing.assert_close(some.waves.phases(example.graph.positions), some.phases)
        torch.testing.assert_close(some.gridded.harmonics, some.waves.harmonics[:, :n_long])
        harmonics = some.waves.harmonics
        assert harmonics.untyped_storage().nbytes() == harmonics.nbytes, "no view of all waves"
        assert some.gridded.q.data_ptr() == some.waves.q.data_ptr(), "nothing is held twice"
        sharp = (some.weight * some.target.abs() ** 2)[n_long:].sum()
        found.add(round(float(sharp / squares[n_long:].sum()), 6))
    assert len(found) == 4  # every fourth, from the first to the fourth
    assert np.mean(list(found)) == pytest.approx(1.0, abs=0.02)


def test_a_thinned_loss_is_that_of_all_waves_on_average(store):
    torch.manual_seed(0)
    terms = []
    for thinning in (1, 4):
        loss = {"waves": 1.0, "grid": 1.0, "shells": 1.0, "thinning": thinning}
        settings = config(store, loss=loss, model={**SMALL, "g_max": 20.0})
        task, (examples, _) = task_and_examples(store, settings)
        torch.nn.init.normal_(task.network.readout, std=0.1, generator=torch.manual_seed(1))
        drawn = [
            task.losses(task.network, [thinned(example, thinning) for example in examples])
            for _ in range(1 if thinning == 1 else 20)
        ]
        terms.append({name: np.mean([t[name].item() for t in drawn]) for name in drawn[0]})
    for name in ("waves", "shells"):
        assert terms[1][name] == pytest.approx(terms[0][name], rel=0.02)
    assert terms[1]["grid"] == pytest.approx(terms[0]["grid"], rel=0.2)  # of the long waves


class KilledError(Exception):
    pass


@pytest.mark.parametrize(("thinning", "optimiser"), [(1, "adamw"), (3, "adamw"), (1, "muon")])
def test_a_killed_training_goes_on_as_if_it_had_not_been(store, tmp_path, thinning, optimiser):
    weights = []
    model = {**SMALL, "g_max": 16.0}
    for kill in (None, 2):
        settings = config(store, loss={"thinning": thinning}, model=model, optimiser=optimiser)
        task, (shown, held_out) = task_and_examples(store, settings)
        examples = (task.lessons(shown), held_out)
        state = tmp_path / f"{kill}.pt"

        def watch(progress, kill=kill):
            if progress.epoch == kill:
                raise KilledError

        if kill:
            with pytest.raises(KilledError):
                train(task, examples, settings, state, watch)
            task, (shown, held_out) = task_and_examples(store, settings)
            examples = (task.lessons(shown), held_out)
        progress = train(task, examples, settings, state)
        assert [row["epoch"] for row in progress.rows] == [1, 2, 3, 4]
        weights.append(task.network.state_dict())
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=0, atol=0)


def test_it_stops_when_validation_gets_no_better(store, tmp_path, monkeypatch):
    scores = iter([0.5, 0.4, 0.45, 0.41, 0.42])
    errors = ({"density_left": s, "occupancies_left": 0.0} for s in scores)
    monkeypatch.setattr(loop, "validate", lambda *_: next(errors))
    settings = config(store, epochs=50, patience=3)
    task, examples = task_and_examples(store, settings)
    progress = train(task, examples, settings, tmp_path / "state.pt")
    assert (progress.epoch, progress.best) == (5, 0.4)


@pytest.fixture
def yaml_file(store, tmp_path):
    def write(**changes):
        path = tmp_path / "small.yaml"
        path.write_text(
            yaml.safe_dump({"name": "small", "data": str(store.path), **OPTIONS, **changes})
        )
        return str(path)

    return write


def test_the_command_writes_a_checkpoint_that_predicts(store, yaml_file, tmp_path, lenient):
    result = CliRunner().invoke(app, ["train", yaml_file()])
    assert result.exit_code == 0, result.output
    checkpoint = read_checkpoint(tmp_path / "small" / "small.safetensors")
    card = checkpoint.card
    assert (card.data.train, card.data.validation, card.elements) == (4, 1, ("Cl", "Na"))
    assert card.data.protocol == store.protocol
    assert card.training.epochs == 4
    model = load(checkpoint)
    assert isinstance(model, OrbitalModel)
    record = store["mp-0"]
    found, expected = model.predict(record.crystal, record.shape), record.density()
    assert found.n_electrons == pytest.approx(record.n_electrons, abs=1e-6)
    # The card's error is that of the model as it is used, apart from the packing.
    error = 100 * np.abs(found.total - expected.total).sum() / np.abs(expected.total).sum()
    assert error == pytest.approx(card.errors["nmae_median"], rel=2e-2)
    with (tmp_path / "small" / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["epoch"]) for row in rows] == [1, 2, 3, 4]
    assert (tmp_path / "small" / "curves.png").stat().st_size > 5000

    again = CliRunner().invoke(app, ["train", yaml_file()])
    assert again.exit_code == 0
    other = CliRunner().invoke(app, ["train", yaml_file(learning_rate=1.0)])
    assert other.exit_code == 2
    assert "belongs to a training with other settings" in other.stderr


def test_a_loss_that_runs_away_ends_the_training(store, yaml_file, tmp_path):
    result = CliRunner().invoke(app, ["train", str(yaml_file(learning_rate=1e6, epochs=20))])
    assert result.exit_code == 2, result.output
    assert "no finite number any more; train anew with a learning_rate" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_further_round_of_messages_begins_where_the_earlier_stage_ended(
    store, yaml_file, tmp_path, lenient
):
    assert CliRunner().invoke(app, ["train", str(yaml_file())]).exit_code == 0
    deeper = {**SMALL, "n_interactions": 3, "n_coupled": 4}
    settings = config(store, model=deeper, start_from=tmp_path / "small" / "small.safetensors")
    task, (_, (example,)) = task_and_examples(store, settings)
    take_weights(task.network, settings)
    first = load(read_checkpoint(settings.start_from)).network
    with torch.inference_mode():
        before, after = (network(example.graph)[0] for network in (first, task.network))
    torch.testing.assert_close(after.coefficients, before.coefficients)
    task.losses(task.network, [example])["loss"].backward()
    second, third = task.network.interactions[1:]
    assert (third.update.weight.grad != 0).any(), "it can learn"
    assert (second.coupling.update.weight.grad != 0).any(), (
        "and so can new messages of an old round"
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"epochs": 0}, "epochs: Input should be greater than or equal to 1"),
        ({"data": "none.h5"}, "none.h5: there is no such file"),
        ({"model": {"width": 3}}, "model.width: Extra inputs are not permitted"),
        ({"model": {"elements": ["Na"]}}, "model."),
        ({"architecture": "other"}, "architecture: Input should be"),
        (
            {"architecture": "superres", "optimiser": "muon"},
            "optimiser: muon is not for superres, choose adamw",
        ),
    ],
)
def test_bad_configurations_are_one_line(yaml_file, changes, says):
    result = CliRunner().invoke(app, ["train", yaml_file(**changes)])
    assert result.exit_code == 2
    assert says in result.stderr
    assert "small.yaml" in result.stderr
    assert result.stderr.count("\n") == 1


def test_bad_files_are_one_line(tmp_path):
    for name, content in (("list.yaml", "[1, 2]"), ("broken.yaml", "a: [")):
        (tmp_path / name).write_text(content)
        result = CliRunner().invoke(app, ["train", str(tmp_path / name)])
        assert result.exit_code == 2
        assert name in result.stderr
    result = CliRunner().invoke(app, ["train", str(tmp_path / "absent.yaml")])
    assert (result.exit_code, "cannot be read" in result.stderr) == (2, True)


def test_evaluation_agrees_with_the_card(store, yaml_file, tmp_path, lenient):
    assert CliRunner().invoke(app, ["train", yaml_file()]).exit_code == 0
    model = tmp_path / "small" / "small.safetensors"
    found = tmp_path / "errors.csv"
    held_out = write_store(tmp_path / "one.h5", [store["mp-0"]])
    arguments = ["evaluate", str(held_out.path), "--model", str(model), "--csv", str(found)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "with non-metals" in result.output
    assert "metals only" not in result.output.replace("with non-metals", "")
    with found.open() as file:
        (row,) = csv.DictReader(file)
    errors = read_checkpoint(model).card.errors
    assert row["symbols"] == "Na Cl"
    for name in ("density_removed", "occupancies_removed"):
        assert float(row[name]) == pytest.approx(errors[name], rel=1e-2, abs=5e-3)


def test_evaluation_names_what_is_wrong(store, tmp_path):
    for data, model, says in (
        (tmp_path / "none.h5", "x.safetensors", "none.h5: there is no such file"),
        (store.path, "nonesuch", "there is no model 'nonesuch'"),
    ):
        result = CliRunner().invoke(app, ["evaluate", str(data), "--model", model])
        assert (result.exit_code, says in result.stderr) == (2, True)
