"""Resident memory of a training by the number of materials, in memory and streamed from disk.

    python benchmarks/streamed_training.py [MATERIALS ...] [--materials-read 20000]

Data sets of synthetic records: one density of two ions on a small grid under as many names. Each
size in a process of its own: identifiers and splits are read, scales are fitted, and one epoch of
the orbital model is trained, up to ``--materials-read`` materials of it; above ``--in-memory``
materials only streamed. Memory is resident, in MB: after the imports, after the scales, at the
middle and at the end of the epoch. Times are processor time.
"""

from __future__ import annotations

from harness import parser, print_table

# isort: split

import json
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import psutil

from mlcharge_flows.density.augmentation import n_occupancies
from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.density import Density, superpose
from mlcharge_flows.density.paw_dataset import PawDataset
from mlcharge_flows.training.dataset import DensityDataset, write_dataset
from mlcharge_flows.training.origin import Origin, split_materials
from mlcharge_flows.training.sample import DensitySample

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SIZES = (1_000, 10_000, 100_000)
HEADS = [
    "materials",
    "samples",
    "file, MB",
    "imports, MB",
    "scales, MB",
    "middle, MB",
    "end, MB",
    "opening, s",
    "ms / material",
]
MODEL = {"n_channels": 8, "n_hidden": 16, "n_embedding": 4, "lmax": 2, "cutoff": 4.0, "g_max": 12.0}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, or the measurements of one size."""
    options = parser(__doc__)
    options.add_argument("sizes", type=int, nargs="*", default=SIZES, metavar="MATERIALS")
    options.add_argument("--materials-read", type=int, default=20_000, help="of one epoch, at most")
    options.add_argument("--in-memory", type=int, default=1_000, help="largest set kept in memory")
    options.add_argument("--one", choices=("memory", "disk"), help="measure a file")
    options.add_argument("--file", type=Path)
    given = options.parse_args(arguments)
    if given.one:
        print(json.dumps(measure(given.file, given.one == "disk", given.materials_read)))
        return
    with tempfile.TemporaryDirectory() as folder:
        print_table(HEADS, rows(Path(folder), given), texts=0)


def rows(folder: Path, given: Any) -> Iterator[list[str]]:
    """Measure every size in a process of its own."""
    for size in given.sizes:
        path = synthetic(folder / f"{size}.h5", size)
        for kept in ("memory", "disk"):
            if kept == "memory" and size > given.in_memory:
                continue
            command = [sys.executable, __file__, "--one", kept, "--file", str(path)]
            command += ["--materials-read", str(given.materials_read)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found = json.loads(done.stdout.splitlines()[-1])
            memory = [f"{value:.0f}" for value in found["memory"]]
            times = [f"{found['opening']:.1f}", f"{found['step']:.1f}"]
            yield [f"{size}", kept, f"{path.stat().st_size / 1e6:.0f}", *memory, *times]
        path.unlink()


def synthetic(path: Path, size: int) -> Path:
    """Data set of one record under many names."""
    channels = {"Na": (0, 0, 1, 1), "Cl": (0, 1, 2)}
    q = 0.1 * np.arange(400)
    paw = {
        symbol: PawDataset(
            symbol,
            f"PAW_PBE {symbol}",
            7.0,
            channels[symbol],
            q_step=0.1,
            form_factor=7.0 * np.exp(-0.5 * q**2),
            atomic_occupancies=0.1 * np.ones(n_occupancies(channels[symbol])),
        )
        for symbol in channels
    }
    random = np.random.default_rng(0)
    crystal = Crystal(4.0 * np.eye(3), ("Na", "Cl"), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]))
    atomic = superpose(crystal, paw, (16, 16, 16))
    change = 0.01 * random.standard_normal(atomic.shape)
    density = Density(crystal, atomic.total + change - change.mean(), atomic.augmentation)
    sample = DensitySample.pack(density, paw, Origin("m000000", "synthetic", "benchmark"))
    write_dataset(path, [sample])
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        materials = file["materials"]
        for number in range(1, size):
            materials.copy("m000000", f"m{number:06d}")
    return path


def resident() -> float:
    """Resident memory of this process now, MB."""
    return float(psutil.Process().memory_info().rss / 1024**2)


def measure(path: Path, streamed: bool, most: int) -> dict[str, Any]:
    """Memory and times of one epoch in this process."""
    import torch

    from mlcharge_flows.training.batches import SamplesOnDisk, batches, covering
    from mlcharge_flows.training.config import TrainingConfig
    from mlcharge_flows.training.devices import Losses, single_device
    from mlcharge_flows.training.header import read_headers
    from mlcharge_flows.training.task import task_of

    torch.set_num_threads(1)
    config = TrainingConfig(name="benchmark", data=path, model=MODEL, loss={"thinning": 8})
    fabric = single_device(torch.device("cpu"))
    memory = [resident()]
    began = process_time()
    dataset = DensityDataset(path)
    names, _ = split_materials(dataset.splits(), config.validation_fraction)
    opening = process_time() - began
    task = task_of(config, dataset, fabric.device)
    if streamed:
        chosen = covering(read_headers(dataset, names))
        task.fit_scales(task.prepare(dataset[name]) for name in chosen)
        samples: Any = SamplesOnDisk(
            dataset, names, lambda one: task.training_sample(task.prepare(one))
        )
    else:
        samples = task.initialize(task.prepare(dataset[name]) for name in names)
    memory.append(resident())
    losses = fabric.setup_module(Losses(task))
    optimizer = torch.optim.AdamW(task.network.parameters())
    n_steps = -(-min(most, len(names)) // config.batch_size)
    began = process_time()
    for number, step in enumerate(islice(batches(samples, config, 0, fabric), n_steps)):
        fabric.backward(losses(step.batch)["loss"])
        optimizer.step()
        optimizer.zero_grad()
        if number == n_steps // 2:
            memory.append(resident())
    memory.append(resident())
    per_material = 1e3 * (process_time() - began) / (n_steps * config.batch_size)
    return {"memory": memory, "opening": opening, "step": per_material}


if __name__ == "__main__":
    main()
