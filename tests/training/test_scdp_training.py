"""Training SCDP on molecules: two stages, and the files in workflows/."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

pytest.importorskip("h5py", reason="needs the train extra")
torch = pytest.importorskip("torch", reason="needs the models extra")
pytest.importorskip("safetensors", reason="needs the models extra")
pytest.importorskip("basis_set_exchange", reason="needs the train extra")

from synthetic_samples import packed  # noqa: E402

from mlcharge_flows.cli.app import app  # noqa: E402
from mlcharge_flows.models.checkpoint import read_checkpoint  # noqa: E402
from mlcharge_flows.models.registry import Registry  # noqa: E402
from mlcharge_flows.training.config import TrainingConfig, TrainingError, read_config  # noqa: E402
from mlcharge_flows.training.dataset import DensityDataset, write_dataset  # noqa: E402
from mlcharge_flows.training.files import load_initial_weights  # noqa: E402
from mlcharge_flows.training.loop import validate  # noqa: E402
from mlcharge_flows.training.orbital import ScdpTask  # noqa: E402
from mlcharge_flows.training.task import task_of  # noqa: E402

ROOT = Path(__file__).parents[2]
MOLECULES = ROOT / "test_files" / "molecules" / "molecules.h5"
WORKFLOWS = sorted((ROOT / "workflows" / "train_scdp").glob("*.yaml"))
SMALL = {
    "preset": "small",
    "n_interactions": 1,
    "n_channels": 4,
    "n_hidden": 4,
    "n_embedding": 4,
    "lmax": 2,
    "largest_degree": 2,
    "g_max": 8.0,
    "virtual": "bonds",
}
OPTIONS = {
    "architecture": "scdp",
    "model": SMALL,
    "epochs": 2,
    "validate_every": 1,
    "warm_up": 1,
    "validation_fraction": 0.01,
    "batch_size": 1,
}


@pytest.fixture
def train(tmp_path):
    """A function that writes the YAML file of a training and runs it."""

    def run(name, **changes):
        path = tmp_path / f"{name}.yaml"
        path.write_text(
            yaml.safe_dump({"name": name, "data": str(MOLECULES), **OPTIONS, **changes})
        )
        return CliRunner().invoke(app, ["train", str(path)])

    return run


def task_for(path):
    settings = read_config(path)
    torch.manual_seed(settings.seed)
    task = task_of(settings, DensityDataset(MOLECULES), torch.device("cpu"))
    return settings, task


def test_the_second_stage_begins_with_the_weights_of_the_first(train, tmp_path):
    result = train("first")
    assert result.exit_code == 0, result.output
    first = read_checkpoint(tmp_path / "first" / "first.safetensors")
    assert first.card.architecture == "scdp"
    assert first.card.config["ratio"] == 2.0

    scaled = {**SMALL, "scaling": True}
    second = {"model": scaled, "finetune_from": "first/first.safetensors", "learning_rate": 1e-3}
    result = train("second", **second)
    assert result.exit_code == 0, result.output
    after = read_checkpoint(tmp_path / "second" / "second.safetensors")
    assert after.card.config["scaling"]

    # Before its first step: the weights and the errors of the first stage.
    settings, task = task_for(tmp_path / "second.yaml")
    assert isinstance(task, ScdpTask)
    own = {name: tensor.clone() for name, tensor in task.network.state_dict().items()}
    load_initial_weights(task.network, settings)
    samples = [task.prepare(sample) for sample in DensityDataset(MOLECULES)]
    began = validate(task, task.network, samples[1:])
    assert began["nmae"] == pytest.approx(first.card.errors["nmae_median"], abs=1e-3)
    for name, weight in first.weights.items():
        # The augmentation response is fitted to the samples of the stage.
        expected = own[name] if name.startswith("augmentation.") else weight
        torch.testing.assert_close(task.network.state_dict()[name], expected, rtol=0, atol=0)
    assert any((first.weights[name] != own[name]).any() for name in own if "augmentation." in name)
    assert (after.weights["scaling.2.bias"] != 0).any()

    # Another initial checkpoint is another training.
    again = {"model": scaled, "finetune_from": "second/second.safetensors", "learning_rate": 1e-3}
    result = train("second", **again)
    assert (result.exit_code, "belongs to a training with other" in result.stderr) == (2, True)


def test_the_trained_model_predicts_density_and_occupancies(train, tmp_path):
    assert train("one", model={**SMALL, "scaling": True}, epochs=1).exit_code == 0
    loaded = Registry(tmp_path / "one").load("one")
    sample = DensityDataset(MOLECULES)["HF"]
    found = loaded.model.predict(sample.crystal, sample.shape)
    assert found.n_electrons == pytest.approx(8.0, abs=1e-6)
    superposition = sample.superposition()
    assert np.abs(found.total - superposition.total).max() > 1e-4
    for one, other in zip(found.augmentation, superposition.augmentation, strict=True):
        assert one.shape == other.shape


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"finetune_from": "none.safetensors"}, "train the earlier stage first"),
        ({"finetune_from": "bad.yaml"}, "finetune_from: "),
        ({"model": {"preset": "K5L7"}}, "choose from K4L3, K8L6, small"),
        ({"model": {**SMALL, "elements": ["H"]}}, "model.elements: the data set decides it"),
        ({"model": {**SMALL, "basis_set": "none"}}, "no basis set 'none' for F"),
    ],
)
def test_impossible_configurations_are_refused_in_one_line(train, changes, message):
    result = train("bad", **changes)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_weights_of_other_networks_and_crystals_are_refused(train, tmp_path):
    assert train("wide", epochs=1).exit_code == 0
    narrow = {**SMALL, "n_channels": 2}
    result = train("narrow", model=narrow, finetune_from="wide/wide.safetensors")
    assert (result.exit_code, "is another network" in result.stderr) == (2, True)
    image = {"architecture": "superres", "model": {"preset": "small"}}
    result = train("image", **image, finetune_from="wide/wide.safetensors")
    assert (result.exit_code, "is of architecture scdp" in result.stderr) == (2, True)

    crystals = write_dataset(tmp_path / "crystals.h5", [packed("mp-0")])
    settings = TrainingConfig(name="x", data=crystals.path, architecture="scdp", model=SMALL)
    task = task_of(settings, crystals, torch.device("cpu"))
    with pytest.raises(
        TrainingError, match=r"mp-0: not an isolated molecule.*; crystals take `periodic"
    ):
        task.prepare(crystals["mp-0"])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_the_files_in_workflows_can_be_trained(path, tmp_path):
    content = yaml.safe_load(path.read_text())
    if initial := content.pop("finetune_from", None):
        earlier = Path(initial).stem
        content_before = yaml.safe_load((path.parent / f"{earlier}.yaml").read_text())
        assert initial == f"{content_before['name']}/{content_before['name']}.safetensors"
        assert content["model"] == {**content_before["model"], "scaling": True}
    assert content["name"] == path.stem
    preset, _, _ = path.stem.partition("-")
    # The network without its width, which would take a GPU.
    content["model"] |= {"n_channels": 2, "n_hidden": 2}
    settings = TrainingConfig.model_validate({**content, "data": MOLECULES})
    task = task_of(settings, DensityDataset(MOLECULES), torch.device("cpu"))
    options = task.options
    assert options["virtual"] == ("bonds" if "-VO" in path.stem else "none")
    if preset != "small":
        assert f"K{options['n_interactions']}L{options['lmax']}" == preset
    graph = task.network.graph(DensityDataset(MOLECULES)["HF"].crystal)
    assert len(task.network(graph)[0].coefficients) == (3 if "-VO" in path.stem else 2)
