"""Trainings in one of two processes; started by test_devices.py, as torchrun would."""

import json
import os
import sys
from pathlib import Path

import torch

from mlcharge_flows.cli.app import app
from mlcharge_flows.training import loop
from mlcharge_flows.training.batches import SamplesOnDisk
from mlcharge_flows.training.config import TrainingConfig
from mlcharge_flows.training.dataset import DensityDataset
from mlcharge_flows.training.devices import fabric_of
from mlcharge_flows.training.task import task_of

MATERIALS, HELD_OUT = ("mp-1", "mp-2", "mp-3", "mp-4", "mp-5"), ("mp-0", "mp-6", "mp-7")


def task_and_samples(config, device="cpu", stream=False):
    """The task, its training set and its validation set."""
    dataset = DensityDataset(config.data)
    torch.manual_seed(config.seed)
    task = task_of(config, dataset, torch.device(device))
    training = task.initialize(task.prepare(dataset[name]) for name in MATERIALS)
    if stream:
        training = SamplesOnDisk(
            dataset, MATERIALS, lambda one: task.training_sample(task.prepare(one))
        )
    return task, (training, [task.prepare(dataset[name]) for name in HELD_OUT])


def main(folder):
    """Train all architectures of a folder, from scratch and from a state, and by the command."""
    torch.set_num_threads(1)
    if int(os.environ["RANK"]) > 0:

        def refuse(*_, **__):
            raise AssertionError("only the first process writes")

        torch.save = loop.atomic_path = refuse
    rows = {}
    for path in sorted(folder.glob("*.json")):
        config = TrainingConfig.model_validate_json(path.read_text())
        fabric = fabric_of(config, devices=2)
        fabric.launch()
        for name in (path.stem, f"{path.stem}-resumed"):
            task, samples = task_and_samples(config)
            progress = loop.train(task, samples, config, folder / f"{name}.pt", fabric=fabric)
            rows[name] = progress.rows
    (folder / f"rows-{fabric.global_rank}.txt").write_text(json.dumps(rows))
    app(["train", str(folder / "command.yaml"), "--devices", "2"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
