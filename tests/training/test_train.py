"""Training of the orbital model: it learns, resumes after a kill, and names what is wrong."""

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

from synthetic_samples import packed  # noqa: E402

from mlcharge_flows.cli.app import app  # noqa: E402
from mlcharge_flows.errors import note_renamed  # noqa: E402
from mlcharge_flows.models.checkpoint import read_checkpoint  # noqa: E402
from mlcharge_flows.models.orbital import load  # noqa: E402
from mlcharge_flows.models.orbital.model import OrbitalModel  # noqa: E402
from mlcharge_flows.models.orbital.network import OrbitalNetwork  # noqa: E402
from mlcharge_flows.training import loop  # noqa: E402
from mlcharge_flows.training.config import TrainingConfig, TrainingError, read_config  # noqa: E402
from mlcharge_flows.training.dataset import write_dataset  # noqa: E402
from mlcharge_flows.training.files import load_initial_weights  # noqa: E402
from mlcharge_flows.training.loop import train, validate  # noqa: E402
from mlcharge_flows.training.orbital import OrbitalTask  # noqa: E402
from mlcharge_flows.training.orbital_sample import SHELL_BOUNDS, thinned  # noqa: E402

RESPONSE = "mlcharge_flows.models.orbital.augmentation_response"
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
    "validation_fraction": 0.01,
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "data.h5"
    samples = [
        packed(f"mp-{n}", seed=n, a=3.6 + 0.1 * n, split="validation" if n == 0 else "train")
        for n in range(5)
    ]
    return write_dataset(path, samples)


def prepared_task(dataset, config):
    """The task, its training set and its validation set."""
    torch.manual_seed(config.seed)
    task = OrbitalTask(config, dataset, torch.device("cpu"))
    samples = [task.prepare(sample) for sample in dataset]
    task.initialize(samples[1:])
    return task, samples[1:], samples[:1]


def config(dataset, **options):
    return TrainingConfig(name="small", data=dataset.path, **{**OPTIONS, **options})


@pytest.fixture
def lenient(monkeypatch):
    """Augmentation occupancies of noise have no response that another sample would share."""
    monkeypatch.setattr(
        "mlcharge_flows.models.orbital.augmentation_response.MAX_RELATIVE_CHANGE", 100.0
    )


def taught(task, sample):
    """The sample with the density and occupancies of another network of the same kind."""
    torch.manual_seed(5)
    teacher = OrbitalNetwork(task.model)
    torch.nn.init.normal_(teacher.readout, std=0.3)
    for index in range(len(task.model.elements)):
        torch.nn.init.normal_(getattr(teacher.augmentation, f"response_{index}")[:-1])
    vectors, phases = sample.g_vectors, sample.phases
    with torch.no_grad():
        expansion = teacher(sample.graph)[0]
        density = teacher.density(expansion, vectors, phases)
        changes = teacher.occupancy_changes(density, expansion.ions, vectors, phases)
    difference = vectors.to_grid(density)
    return replace(
        sample,
        target=density,
        norm=(sample.weight * density.abs() ** 2).sum(),
        baseline_error=difference.abs().mean(),
        difference=difference,
        augmentation=torch.cat(changes),
    )


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("option", [{}, {"scaling": True, "virtual": "bonds"}])
def test_a_representable_density_is_learned(dataset, tmp_path, option, optimizer):
    settings = config(
        dataset,
        epochs=30,
        validate_every=15,
        batch_size=1,
        learning_rate=1e-2,
        ema_decay=0.9,
        model={**SMALL, "g_max": 8.0, **option},
        optimizer=optimizer,
    )
    task, samples, _ = prepared_task(dataset, settings)
    validation = [taught(task, samples[0])]
    training = task.initialize(3 * validation)
    before = validate(task, task.network, validation)
    after = train(task, (training, validation), settings, tmp_path / "state.pt").rows[-1]
    assert after["density_left"] < 0.3 * before["density_left"]
    assert after["occupancies_left"] < 0.3 * before["occupancies_left"]


def test_form_factors_are_fitted_to_the_residual_of_the_network(dataset):
    """The fit recovers form factors that the densities were made with; a second fit adds none."""
    model = {**SMALL, "g_max": 20.0, "form_factors": True}
    task, samples, _ = prepared_task(dataset, config(dataset, model=model))
    network = task.network
    torch.nn.init.normal_(network.readout, std=0.01, generator=torch.manual_seed(1))
    torch.nn.init.normal_(network.form_factors.values, std=0.1, generator=torch.manual_seed(2))
    with torch.no_grad():
        samples = [
            replace(s, target=network.density(network(s.graph)[0], s.g_vectors, s.phases))
            for s in samples
        ]
    network.form_factors.values.zero_()

    @torch.no_grad()
    def residual():
        terms = [task.losses(task.network, [sample])["coefficients"] for sample in samples]
        pairs = zip(terms, samples, strict=True)
        return sum(float(term**2 * s.norm / s.g_vectors.volume) for term, s in pairs)

    before = residual()
    task.fit_closed_form(samples)
    after, values = residual(), task.network.form_factors.values.clone()
    assert after < 1e-3 * before
    task.fit_closed_form(samples)
    assert (task.network.form_factors.values - values).abs().max() < 0.02 * values.abs().max()
    assert residual() < 1e-3 * before


def test_the_grid_term_of_the_loss_equals_the_error_on_the_grid(dataset):
    settings = config(dataset, loss={"coulomb": 1.0}, model={**SMALL, "g_max": 100.0})
    task, samples, _ = prepared_task(dataset, settings)
    terms = task.losses(task.network, samples[:1])
    with torch.inference_mode():
        errors = task.errors(task.network, samples[0])
    # They differ by the packing and by the Nyquist components.
    assert terms["grid"].item() == pytest.approx(errors["density_left"], rel=2e-2)


def test_shells_of_the_loss_have_equal_weight(dataset):
    settings = config(dataset, loss={"grid": 0.0, "shells": 1.0}, model=SMALL)
    task, samples, _ = prepared_task(dataset, settings)
    assert task.losses(task.network, samples)["shells"].item() == pytest.approx(1.0, abs=1e-3)
    torch.manual_seed(0)
    torch.nn.init.normal_(task.network.readout, std=0.1)
    sample = samples[0]
    terms = task.losses(task.network, [sample])
    assert terms["loss"] == terms["shells"]
    with torch.inference_mode():
        expansion = task.network(sample.graph)[0]
        density = task.network.density(expansion, sample.g_vectors, sample.phases)
    error = (density - sample.target).abs().double().numpy()
    size = sample.target.abs().double().numpy()
    q, n = sample.g_vectors.q.numpy(), sample.g_vectors.multiplicity.numpy()
    ratios = []
    for low, high in pairwise((0.0, *SHELL_BOUNDS, np.inf)):
        shell = (q > low) & (q <= high)
        if (n * size**2)[shell].sum() > 1e-6 * (n * size**2).sum():
            squares = (n * error**2)[shell].sum() / (n * size**2)[shell].sum()
            ratios.append(squares**0.5)
    assert terms["shells"].item() == pytest.approx(np.mean(ratios), rel=1e-4)


def test_thinned_g_vectors_represent_those_left_out(dataset):
    settings = config(dataset, loss={"thinning": 4}, model={**SMALL, "g_max": 20.0})
    _, samples, _ = prepared_task(dataset, settings)
    sample = samples[0]
    n_low = len(thinned(sample, 4).grid_vectors.q)
    assert sample.g_vectors.q[n_low - 1] <= SHELL_BOUNDS[-1] < sample.g_vectors.q[n_low]
    squares = sample.weight * sample.target.abs() ** 2
    ratios = set()
    for seed in range(40):
        torch.manual_seed(seed)
        some = thinned(sample, 4)
        assert len(some.g_vectors.q) < n_low + (len(squares) - n_low) / 4 + 1
        torch.testing.assert_close(some.target[:n_low], sample.target[:n_low])
        torch.testing.assert_close(some.g_vectors.phases(sample.graph.positions), some.phases)
        harmonics = some.g_vectors.harmonics
        torch.testing.assert_close(some.grid_vectors.harmonics, harmonics[:, :n_low])
        assert harmonics.untyped_storage().nbytes() == harmonics.nbytes, "no view of all G vectors"
        assert some.grid_vectors.q.data_ptr() == some.g_vectors.q.data_ptr(), "no second copy"
        high = (some.weight * some.target.abs() ** 2)[n_low:].sum()
        ratios.add(round(float(high / squares[n_low:].sum()), 6))
    assert len(ratios) == 4  # every fourth, beginning with the first to the fourth
    assert np.mean(list(ratios)) == pytest.approx(1.0, abs=0.02)


def test_a_thinned_loss_is_the_full_loss_on_average(dataset):
    torch.manual_seed(0)
    terms = []
    for thinning in (1, 4):
        loss = {"coefficients": 1.0, "grid": 1.0, "shells": 1.0, "thinning": thinning}
        settings = config(dataset, loss=loss, model={**SMALL, "g_max": 20.0})
        task, samples, _ = prepared_task(dataset, settings)
        torch.nn.init.normal_(task.network.readout, std=0.1, generator=torch.manual_seed(1))
        drawn = [
            task.losses(task.network, [thinned(sample, thinning) for sample in samples])
            for _ in range(1 if thinning == 1 else 20)
        ]
        terms.append({name: np.mean([t[name].item() for t in drawn]) for name in drawn[0]})
    for name in ("coefficients", "shells"):
        assert terms[1][name] == pytest.approx(terms[0][name], rel=0.02)
    assert terms[1]["grid"] == pytest.approx(terms[0]["grid"], rel=0.2)  # of low |G| alone


class KilledError(Exception):
    pass


@pytest.mark.parametrize(("thinning", "optimizer"), [(1, "adamw"), (3, "adamw"), (1, "muon")])
def test_an_interrupted_training_ends_with_the_same_weights(dataset, tmp_path, thinning, optimizer):
    weights = []
    model = {**SMALL, "g_max": 16.0}
    for kill in (None, 2):
        settings = config(dataset, loss={"thinning": thinning}, model=model, optimizer=optimizer)
        task, samples, validation = prepared_task(dataset, settings)
        sets = (task.initialize(samples), validation)
        state = tmp_path / f"{kill}.pt"

        def watch(progress, kill=kill):
            if progress.epoch == kill:
                raise KilledError

        if kill:
            with pytest.raises(KilledError):
                train(task, sets, settings, state, watch)
            task, samples, validation = prepared_task(dataset, settings)
            sets = (task.initialize(samples), validation)
        progress = train(task, sets, settings, state)
        assert [row["epoch"] for row in progress.rows] == [1, 2, 3, 4]
        weights.append(task.network.state_dict())
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=0, atol=0)


def test_training_stops_when_validation_does_not_improve(dataset, tmp_path, monkeypatch):
    scores = iter([0.5, 0.4, 0.45, 0.41, 0.42])
    errors = ({"density_left": s, "occupancies_left": 0.0} for s in scores)
    monkeypatch.setattr(loop, "validate", lambda *_: next(errors))
    settings = config(dataset, epochs=50, patience=3)
    task, samples, validation = prepared_task(dataset, settings)
    progress = train(task, (samples, validation), settings, tmp_path / "state.pt")
    assert (progress.epoch, progress.best) == (5, 0.4)


@pytest.fixture
def yaml_file(dataset, tmp_path):
    def write(**changes):
        path = tmp_path / "small.yaml"
        path.write_text(
            yaml.safe_dump({"name": "small", "data": str(dataset.path), **OPTIONS, **changes})
        )
        return str(path)

    return write


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_the_command_writes_a_checkpoint_that_predicts(dataset, yaml_file, tmp_path, lenient):
    result = run("train", yaml_file())
    assert result.exit_code == 0, result.output
    path = tmp_path / "small" / "small.safetensors"
    checkpoint = read_checkpoint(path)
    card = checkpoint.card
    assert (card.data.train, card.data.validation, card.elements) == (4, 1, ("Cl", "Na"))
    assert card.data.protocol == dataset.protocol
    assert card.training.epochs == 4
    model = load(checkpoint)
    assert isinstance(model, OrbitalModel)
    sample = dataset["mp-0"]
    found, expected = model.predict(sample.crystal, sample.shape), sample.density()
    assert found.n_electrons == pytest.approx(sample.n_electrons, abs=1e-6)
    # The card's error is that of the predictions of the model, apart from the packing.
    error = 100 * np.abs(found.total - expected.total).sum() / np.abs(expected.total).sum()
    assert error == pytest.approx(card.errors["nmae_median"], rel=2e-2)
    with (tmp_path / "small" / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["epoch"]) for row in rows] == [1, 2, 3, 4]
    assert (tmp_path / "small" / "curves.png").stat().st_size > 5000

    # Evaluation on the validation set reproduces the errors of the card.
    validation = write_dataset(tmp_path / "one.h5", [sample])
    table = tmp_path / "errors.csv"
    result = run("evaluate", validation.path, "--model", path, "--csv", table)
    assert result.exit_code == 0, result.output
    assert "with non-metals" in result.output
    assert "metals only" not in result.output.replace("with non-metals", "")
    with table.open() as file:
        (row,) = csv.DictReader(file)
    assert row["symbols"] == "Na Cl"
    assert float(row["density_removed"]) == pytest.approx(card.errors["density_removed"], abs=2e-3)
    # Errors of a training are regularized by a thousandth of the converged occupancies.
    baseline = np.abs(np.concatenate(sample.difference().augmentation)).sum()
    regularized = baseline + 1e-3 * np.abs(np.concatenate(sample.density().augmentation)).sum()
    left = (1 - float(row["occupancies_removed"])) * baseline / regularized
    assert 1 - left == pytest.approx(card.errors["occupancies_removed"], abs=2e-3)

    # The same command has nothing left to do; other settings need another folder.
    assert run("train", yaml_file()).exit_code == 0
    other = run("train", yaml_file(learning_rate=1.0))
    assert other.exit_code == 2
    assert "belongs to a training with other settings" in other.stderr


@pytest.mark.parametrize(
    ("splits", "changes", "end"),
    [
        (["validation"], {}, "of 1 material, 0 are to train on and 1 to validate with; a {}"),
        (["train"], {}, "of 1 material, 1 are to train on and 0 to validate with; a {}"),
        (["train"] * 2, {}, "2 are to train on and 0 to validate with; a {}, or raise valid"),
        (["train"] * 2, {"validation_fraction": 0.99}, "0 are to train on and 2 {}, or lower val"),
        (["train"] * 2, {"train_fraction": 1e-6}, "0 are to train on and 0 {}, or raise train_fr"),
    ],
)
def test_a_training_needs_two_materials_and_says_what_to_do(
    yaml_file, tmp_path, splits, changes, end
):
    samples = [packed(f"mp-{n}", seed=n, split=split) for n, split in enumerate(splits)]
    data = write_dataset(tmp_path / "few.h5", samples)
    result = run("train", yaml_file(data=str(data.path), **changes))
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    first, last = end.split("{}")
    assert first in line
    assert line.endswith(")") if not last else last in line
    assert "few.h5: of " in line
    assert "add runs of other materials (mlcharge dataset merge)" in line


def test_the_command_fits_and_evaluates_the_expected_error(
    yaml_file, tmp_path, lenient, monkeypatch
):
    monkeypatch.setattr("mlcharge_flows.training.orbital_error.MIN_MATERIALS", 3)
    split = ["train", *["validation"] * 4, "train", "train"]
    samples = [packed(f"mp-{n}", seed=n, a=3.6 + 0.1 * n, split=split[n]) for n in range(7)]
    data = write_dataset(tmp_path / "seven.h5", samples)
    result = run("train", yaml_file(data=str(data.path), epochs=2))
    assert result.exit_code == 0, result.output
    assert "expected errors, 4 crystals" in result.output
    assert (tmp_path / "small" / "reliability.png").stat().st_size > 5000
    path = tmp_path / "small" / "small.safetensors"
    checkpoint = read_checkpoint(path)
    known = checkpoint.card.expected_error
    assert (known.materials, known.limit) == (4, 1.0)
    model = load(checkpoint)
    counts = checkpoint.card.data.per_element
    assert counts == {"Na": 3, "Cl": 3}
    # All crystals have the same elements: the regression saw the counts of the card.
    assert model.estimate.regression.center[:2] == pytest.approx(np.log(4))
    table, figure = tmp_path / "errors.csv", tmp_path / "reliability.png"
    options = ("--csv", table, "--reliability", figure)
    result = run("evaluate", data.path, "--model", path, *options)
    assert result.exit_code == 0, result.output
    assert "expected errors, " in result.output
    assert figure.stat().st_size > 5000
    with table.open() as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    expected = model.expected_error(data["mp-1"].crystal)
    assert float(rows["mp-1"]["expected_left"]) == pytest.approx(expected.median)
    # A stage that begins with these weights has an estimate of its own, or none.
    monkeypatch.setattr("mlcharge_flows.training.orbital_error.MIN_MATERIALS", 30)
    again = yaml_file(data=str(data.path), epochs=1, finetune_from=str(path), name="second")
    assert run("train", again).exit_code == 0
    second = read_checkpoint(tmp_path / "second" / "second.safetensors")
    assert (second.card.expected_error, second.estimate) == (None, {})
    path = tmp_path / "second" / "second.safetensors"
    result = run("evaluate", data.path, "--model", path, *options)
    assert "second expects no errors" in result.output


def test_a_divergent_loss_ends_the_training(yaml_file):
    result = run("train", yaml_file(learning_rate=1e6, epochs=20))
    assert result.exit_code == 2, result.output
    assert "no finite number any more; train anew with a learning_rate" in result.stderr
    assert result.stderr.count("\n") == 1


def test_weights_that_diverged_are_noticed_before_a_checkpoint_is_written(dataset):
    settings = config(dataset)
    task, _, validation = prepared_task(dataset, settings)
    with torch.no_grad():
        next(iter(task.network.parameters())).fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"validation: .* no finite number any more"):
        validate(task, task.network, validation)


def test_additional_interactions_do_not_change_the_density_at_first(dataset, yaml_file, tmp_path):
    assert run("train", yaml_file()).exit_code == 0
    deeper = {**SMALL, "n_interactions": 3, "n_coupled": 4}
    checkpoint = tmp_path / "small" / "small.safetensors"
    settings = config(dataset, model=deeper, finetune_from=checkpoint)
    task, _, (sample,) = prepared_task(dataset, settings)
    load_initial_weights(task.network, settings)
    first = load(read_checkpoint(checkpoint)).network
    with torch.inference_mode():
        before, after = (network(sample.graph)[0] for network in (first, task.network))
    torch.testing.assert_close(after.coefficients, before.coefficients)
    task.losses(task.network, [sample])["loss"].backward()
    second, third = task.network.interactions[1:]
    assert (third.update.weight.grad != 0).any(), "the new interaction has a gradient"
    assert (second.coupling.update.weight.grad != 0).any(), "so has the new coupling of an old one"


def other_elements(dataset, path, encut=None):
    """The data set with potassium, of another data set, in sodium's place."""
    potassium = replace(dataset.paw["Na"], symbol="K", titel="PAW_PBE K")
    samples = [
        replace(
            sample,
            crystal=replace(sample.crystal, symbols=("K", "Cl")),
            paw={"K": potassium, "Cl": sample.paw["Cl"]},
            encut=encut,
        )
        for sample in dataset
    ]
    return write_dataset(path, samples)


def test_finetuning_takes_the_weights_of_each_element(dataset, yaml_file, tmp_path):
    model = {**SMALL, "g_max": 20.0, "form_factors": True}
    assert run("train", yaml_file(model=model, epochs=1)).exit_code == 0
    checkpoint = tmp_path / "small" / "small.safetensors"
    before = read_checkpoint(checkpoint).weights
    elements = read_checkpoint(checkpoint).card.config["elements"]
    assert elements == ["Cl", "Na"]
    other = other_elements(dataset, tmp_path / "other.h5")
    settings = config(other, model=model, finetune_from=checkpoint)
    task, samples, _ = prepared_task(other, settings)
    own = {name: weight.clone() for name, weight in task.network.state_dict().items()}
    assert task.model.elements == ["Cl", "K"]
    notes = load_initial_weights(task.network, settings, other)
    assert notes == [
        "K begins with the embedding of Na",
        "form factors of K begin at zero: another PAW data set or cutoff",
    ]
    after = task.network.state_dict()
    name = "embedding.learned.weight"
    torch.testing.assert_close(after[name], before[name])
    factors = after["form_factors.values"]
    torch.testing.assert_close(factors[0], before["form_factors.values"][0])
    assert (factors[0] != 0).any()
    assert not factors[1].any()
    torch.testing.assert_close(after["embedding.profiles"], own["embedding.profiles"])
    torch.testing.assert_close(after["readout"], before["readout"])
    assert torch.isfinite(task.losses(task.network, samples[:1])["loss"])


def test_form_factors_of_another_cutoff_are_not_taken(dataset, yaml_file, tmp_path):
    model = {**SMALL, "g_max": 20.0, "form_factors": True}
    low = write_dataset(tmp_path / "low.h5", [replace(s, encut=350.0) for s in dataset])
    high = write_dataset(tmp_path / "high.h5", [replace(s, encut=520.0) for s in dataset])
    assert run("train", yaml_file(model=model, epochs=1, data=str(low.path))).exit_code == 0
    for data, kept in ((low, True), (high, False)):
        settings = config(data, model=model, finetune_from=tmp_path / "small/small.safetensors")
        task, _, _ = prepared_task(data, settings)
        notes = load_initial_weights(task.network, settings, data)
        assert bool(task.network.form_factors.values.any()) == kept
        assert notes == (
            [] if kept else ["form factors of Cl, Na begin at zero: another PAW data set or cutoff"]
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": float("inf")}, "learning_rate: Input should be a finite number"),
        ({"loss": {"grid": float("nan")}}, "loss.grid: Input should be"),
        ({"model": {"preset": "paper"}}, "model.preset: orbital has no presets; remove it"),
        ({"epochs": 0}, "epochs: Input should be greater than or equal to 1"),
        ({"data": "none.h5"}, "none.h5: there is no such file"),
        ({"model": {"width": 3}}, "model.width: unknown key"),
        ({"model": {"elements": ["Na"]}}, "model.elements: the data set decides it"),
        ({"architecture": "other"}, "architecture: 'other' is none of 'orbital'"),
        (
            {"architecture": "superres", "optimizer": "muon"},
            "optimizer: muon is not for superres, choose adamw",
        ),
        (
            {"architecture": "superres", "free_atoms": False},
            "free_atoms: a checkpoint of superres needs them",
        ),
        ({"optimiser": "muon", "optimizer": "adamw"}, "optimiser is the old name of optimizer"),
    ],
)
def test_impossible_configurations_are_refused_in_one_line(yaml_file, changes, message):
    result = run("train", yaml_file(**changes))
    assert result.exit_code == 2
    assert message in result.stderr
    assert "small.yaml" in result.stderr
    assert result.stderr.count("\n") == 1


def test_keys_of_earlier_versions_are_read_with_a_line_each(dataset, tmp_path, capsys):
    path = tmp_path / "old.yaml"
    (tmp_path / "first.safetensors").touch()
    old = {
        "name": "old",
        "data": str(dataset.path),
        "start_from": "first.safetensors",
        "optimiser": "muon",
        "licence": "CC0-1.0",
        "validation_share": 0.2,
        "train_share": 0.5,
        "average": 0.9,
        "loss": {"waves": 2.0},
        "model": {"largest_wave": 8.0},
    }
    path.write_text(yaml.safe_dump(old))
    note_renamed.cache_clear()
    config = read_config(path)
    assert config.finetune_from == tmp_path / "first.safetensors"
    assert (config.optimizer, config.license, config.ema_decay) == ("muon", "CC0-1.0", 0.9)
    assert (config.validation_fraction, config.train_fraction) == (0.2, 0.5)
    assert config.loss.coefficients == 2.0
    assert OrbitalTask(
        config.model_copy(update={"finetune_from": None}), dataset, torch.device("cpu")
    ).options["g_max"] == (8.0)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 7
    assert "mlcharge: start_from: is now finetune_from:" in lines


def test_unreadable_files_are_refused_in_one_line(tmp_path):
    for name, content in (("list.yaml", "[1, 2]"), ("broken.yaml", "a: [")):
        (tmp_path / name).write_text(content)
        result = run("train", tmp_path / name)
        assert result.exit_code == 2
        assert name in result.stderr
        assert result.stderr.count("\n") == 1
    result = run("train", tmp_path / "absent.yaml")
    assert (result.exit_code, "there is no such file" in result.stderr) == (2, True)


def test_evaluation_names_a_missing_file_or_model(dataset, tmp_path):
    for data, model, message in (
        (tmp_path / "none.h5", "x.safetensors", "none.h5: there is no such file"),
        (dataset.path, "nonesuch", "there is no model 'nonesuch'"),
    ):
        result = run("evaluate", data, "--model", model)
        assert (result.exit_code, message in result.stderr) == (2, True)
