"""Training in several processes, in lower precision, and from disk: the same losses as in one."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytest.importorskip("h5py", reason="needs the train extra")
torch = pytest.importorskip("torch", reason="needs the models extra")
pytest.importorskip("lightning_fabric", reason="needs the models extra")

from synthetic_samples import packed  # noqa: E402
from two_processes import HELD_OUT, MATERIALS, task_and_samples  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from mlcharge_flows.cli.app import app  # noqa: E402
from mlcharge_flows.models.checkpoint import read_card  # noqa: E402
from mlcharge_flows.training.batches import SamplesOnDisk, batches, covering  # noqa: E402
from mlcharge_flows.training.config import TrainingConfig, TrainingError  # noqa: E402
from mlcharge_flows.training.dataset import write_dataset  # noqa: E402
from mlcharge_flows.training.devices import device_of, fabric_of, single_device  # noqa: E402
from mlcharge_flows.training.header import read_headers  # noqa: E402
from mlcharge_flows.training.loop import train, validate  # noqa: E402

SITES = {"n_channels": 4, "n_hidden": 4, "n_embedding": 4, "lmax": 2, "g_max": 8.0}
MODELS = {
    "orbital": {**SITES, "cutoff": 4.0},
    "scdp": {
        **SITES,
        "preset": "small",
        "n_interactions": 1,
        "largest_degree": 2,
        "periodic": True,
    },
    "charge3net": {"preset": "small", "mul": 4, "lmax": 1, "num_basis": 4},
    "superres": {"preset": "small", "channels": 2, "blocks": 1, "kernel_ends": 3, "spacing": 0.5},
}
OPTIONS = {
    "epochs": 2,
    "batch_size": 2,
    "validate_every": 2,
    "warm_up": 1,
    "probes": 20,
    "learning_rate": 1e-2,
    "ema_decay": 0.5,
    "device": "cpu",
}
ARCHITECTURE = pytest.mark.parametrize("architecture", MODELS)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "data.h5"
    return write_dataset(
        path,
        [
            packed(
                name,
                seed=seed,
                a=3.6 + 0.1 * seed,
                shape=(6, 6, 8),
                split="validation" if name in HELD_OUT else "train",
            )
            for seed, name in enumerate(sorted(MATERIALS + HELD_OUT))
        ],
    )


def config(dataset, architecture, **changes):
    return TrainingConfig(
        name="small",
        data=dataset.path,
        architecture=architecture,
        **{"model": MODELS[architecture], **OPTIONS, **changes},
    )


class KilledError(Exception):
    pass


def kill(_):
    raise KilledError


def assert_equal_rows(found, expected, tolerance=2e-4):
    assert [row["epoch"] for row in found] == [row["epoch"] for row in expected]
    for row, other in zip(found, expected, strict=True):
        assert {**row, "seconds": 0} == pytest.approx({**other, "seconds": 0}, rel=tolerance)


def test_two_processes_train_as_one_with_twice_the_batch(dataset, tmp_path):
    expected = {}
    for architecture in MODELS:
        settings = config(dataset, architecture, batch_size=4)
        task, samples = task_and_samples(settings)
        state = tmp_path / f"{architecture}-resumed.pt"
        with pytest.raises(KilledError):
            train(task, samples, settings, state, kill)
        own = tmp_path / f"{architecture}-one.pt"
        own.write_bytes(state.read_bytes())
        task, samples = task_and_samples(settings)
        expected[architecture] = train(task, samples, settings, own).rows
        halved = settings.model_copy(update={"batch_size": 2})
        (tmp_path / f"{architecture}.json").write_text(halved.model_dump_json(exclude_unset=True))
    content = {"name": "command", "data": str(dataset.path), **OPTIONS, "epochs": 1}
    content |= {"architecture": "superres", "model": MODELS["superres"]}
    (tmp_path / "command.yaml").write_text(yaml.safe_dump(content))

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(Path(__file__).with_name("two_processes.py")), str(tmp_path)]
    job = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "test"}
    job |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GROUP_RANK": "0"}
    processes = [
        subprocess.Popen(
            command,
            env={**os.environ, **job, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
    for rank in range(2):
        found = json.loads((tmp_path / f"rows-{rank}.txt").read_text())
        for architecture, rows in expected.items():
            assert_equal_rows(found[architecture], rows)
            assert_equal_rows(found[f"{architecture}-resumed"], rows)
    assert "parameters on 2 x cpu" in outputs[0]
    assert "parameters" not in outputs[1]
    card = read_card(tmp_path / "command" / "command.safetensors")
    assert (card.data.train, card.data.validation) == (5, 3)
    # One process continues, or refuses, what two have begun.
    settings = config(dataset, "orbital", batch_size=4, epochs=2)
    task, samples = task_and_samples(settings)
    assert train(task, samples, settings, tmp_path / "orbital.pt").epoch == 2
    settings = config(dataset, "orbital", batch_size=2, epochs=2)
    with pytest.raises(TrainingError, match="a training with other settings"):
        train(task, samples, settings, tmp_path / "orbital.pt")


@ARCHITECTURE
def test_accumulated_batches_train_as_one_of_their_size(dataset, tmp_path, architecture):
    rows = []
    for sizes in ({"batch_size": 4}, {"batch_size": 1, "accumulate": 4}):
        settings = config(dataset, architecture, **sizes)
        task, samples = task_and_samples(settings)
        rows.append(train(task, samples, settings, tmp_path / f"{len(rows)}.pt").rows)
    assert_equal_rows(rows[1], rows[0])


@ARCHITECTURE
def test_half_precision_of_the_features_hardly_changes_the_loss(dataset, tmp_path, architecture):
    rows = []
    for precision in ("32", "bf16"):
        settings = config(dataset, architecture, precision=precision)
        task, samples = task_and_samples(settings)
        rows.append(train(task, samples, settings, tmp_path / f"{precision}.pt").rows)
        assert all(weight.dtype == torch.float32 for weight in task.network.parameters())
    assert rows[0] != rows[1]
    for row, other in zip(*rows, strict=True):
        for name in ("loss", "grid", "density_left"):
            assert row.get(name, 1) == pytest.approx(other.get(name, 1), rel=0.05)


def test_tf32_concerns_the_matrix_products_of_torch(dataset):
    fabric_of(config(dataset, "orbital", precision="tf32"))
    assert torch.get_float32_matmul_precision() == "high"
    fabric_of(config(dataset, "orbital"))
    assert torch.get_float32_matmul_precision() == "highest"


@ARCHITECTURE
@pytest.mark.parametrize("workers", [0, 2])
def test_materials_on_disk_train_as_those_in_memory(dataset, tmp_path, architecture, workers):
    rows = []
    for stream in (False, True):
        settings = config(dataset, architecture, workers=workers, epochs=1)
        task, samples = task_and_samples(settings, stream=stream)
        rows.append(train(task, samples, settings, tmp_path / f"{stream}.pt").rows)
    assert_equal_rows(rows[1], rows[0], tolerance=1e-6)


def test_a_streamed_training_writes_a_checkpoint(dataset, tmp_path):
    path = tmp_path / "small.yaml"
    options = {**OPTIONS, "model": MODELS["orbital"], "loss": {"thinning": 2}, "stream": True}
    path.write_text(yaml.safe_dump({"name": "small", "data": str(dataset.path), **options}))
    result = CliRunner().invoke(app, ["train", str(path)])
    assert result.exit_code == 0, result.output
    card = read_card(tmp_path / "small" / "small.safetensors")
    assert (card.data.train, card.data.validation) == (5, 3)


def test_scales_are_fitted_to_some_materials_of_each_element(dataset):
    headers = list(read_headers(dataset, dataset.ids))
    assert covering(headers) == list(dataset.ids)
    assert covering(headers, per_element=2) == list(dataset.ids[:2])


class Processes:
    """As many as it says, on the CPU."""

    device = torch.device("cpu")

    def __init__(self, rank, size):
        self.global_rank, self.world_size = rank, size


@pytest.mark.parametrize("n_processes", [1, 2, 3])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_every_material_counts_once_in_an_epoch(dataset, n_processes, accumulate):
    settings = config(dataset, "orbital", accumulate=accumulate)
    for n_materials in range(1, 14):
        counted = [0.0] * n_materials
        ends = []
        for rank in range(n_processes):
            steps = list(
                batches(list(range(n_materials)), settings, 0, Processes(rank, n_processes))
            )
            ends.append([step.last for step in steps])
            update = min(n_materials, settings.materials_per_step(n_processes))
            left = n_materials
            for last, share, batch in steps:
                for index in batch.samples:
                    counted[index] += share * update / len(batch.samples)
                if last:
                    left -= update
                    update = min(left, update)
        assert counted == pytest.approx([1.0] * n_materials)
        assert all(mine == ends[0] for mine in ends), "as many steps in every process"
        assert ends[0][-1]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@ARCHITECTURE
def test_losses_and_errors_do_not_depend_on_the_device(dataset, tmp_path, architecture):
    rows = []
    for where in ("cpu", "cuda"):
        settings = config(dataset, architecture, device=where)
        task, samples = task_and_samples(settings, where)
        fabric = single_device(torch.device(where))
        rows.append(train(task, samples, settings, tmp_path / f"{len(rows)}.pt", fabric=fabric))
        rows[-1].rows.append({"epoch": 3.0, **validate(task, task.network, samples[1], fabric)})
    assert_equal_rows(rows[1].rows, rows[0].rows, tolerance=1e-3)


def test_impossible_devices_are_refused_in_one_line(dataset, monkeypatch):
    with pytest.raises(TrainingError, match="device: 'gpu9' is none; give cpu"):
        device_of("gpu9")
    if not torch.cuda.is_available():
        with pytest.raises(TrainingError, match="there is no GPU for 'cuda:1'"):
            device_of("cuda:1")
    with pytest.raises(TrainingError, match="device: cpu:0 is one device; give its kind, cpu"):
        fabric_of(config(dataset, "orbital", device="cpu:0"), devices=2)
    monkeypatch.setenv("WORLD_SIZE", "8")
    with pytest.raises(TrainingError, match="WORLD_SIZE says that 8 processes were started"):
        fabric_of(config(dataset, "orbital"))


def test_other_nodes_without_a_launcher_are_refused_not_waited_for(dataset, monkeypatch):
    asked = config(dataset, "orbital", device="cpu")
    for name in ("NODE_RANK", "GROUP_RANK", "WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(TrainingError, match="nothing starts the processes of the other nodes"):
        fabric_of(asked, nodes=2)
    monkeypatch.setenv("NODE_RANK", "1")
    assert fabric_of(asked, nodes=2).world_size == 2


def test_samples_on_disk_are_read_at_every_access(dataset):
    read = []
    samples = SamplesOnDisk(dataset, MATERIALS, lambda sample: read.append(sample.id) or sample.id)
    assert list(samples) == list(MATERIALS)
    assert samples[1] == "mp-2"
    assert read == [*MATERIALS, "mp-2"]
