"""Time and memory of the orbital model: predictions by the number of ions, and a training step.

    python benchmarks/orbital_model.py predict [--repeats 3] [--cells 1 2 3] [--model orbital]
    python benchmarks/orbital_model.py train CONFIG.yaml dataset.h5 [--repeats 5] [--materials 32]

``predict``: supercells of MgO (8, 64, 216 ions for 1, 2, 3) on the fine grid of ENCUT = 350 eV.
``train``: the network of a training with its initial weights, on the first materials of a data set,
by ``loss.thinning``; beside each the cosine between its gradient and that of all G vectors.
"""

from __future__ import annotations

from harness import alternate, parser, print_table, ratio, spread

# isort: split

import resource
from functools import partial
from statistics import median
from time import process_time
from typing import TYPE_CHECKING

import numpy as np
import torch

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.models.registry import DEFAULT
from mlcharge_flows.sources import known_models
from mlcharge_flows.training.config import read_config
from mlcharge_flows.training.dataset import DensityDataset
from mlcharge_flows.training.files import load_initial_weights
from mlcharge_flows.training.orbital import OrbitalTask
from mlcharge_flows.vasp.incar import fft_grids

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator, Sequence

ENCUT, EDGE = 350.0, 4.21
"""Cutoff in eV; edge of the conventional cell of MgO in angstrom."""
BATCH = 8
THINNING = (1, 4, 8, 16)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table of one task."""
    options = parser(__doc__)
    tasks = options.add_subparsers(required=True)
    predict = tasks.add_parser("predict")
    predict.add_argument("--repeats", type=int, default=3)
    predict.add_argument("--cells", type=int, nargs="+", default=[1, 2, 3], help="cells per edge")
    predict.add_argument("--model", default=DEFAULT)
    predict.set_defaults(run=predictions)
    train = tasks.add_parser("train")
    train.add_argument("config")
    train.add_argument("data")
    train.add_argument("--repeats", type=int, default=5)
    train.add_argument("--materials", type=int, default=32)
    train.set_defaults(run=training_steps)
    given = options.parse_args(arguments)
    torch.set_num_threads(1)
    given.run(given)


def predictions(given: Namespace) -> None:
    """Print seconds and memory of predictions."""
    model = known_models().load(given.model).model

    def rows() -> Iterator[list[str]]:
        for n in sorted(given.cells):
            crystal = supercell(n)
            shape = fft_grids(crystal.lattice, {"ENCUT": ENCUT, "PREC": "Normal"}).fine
            model.predict(crystal, shape)  # what is made once is not counted
            action = partial(model.predict, crystal, shape)
            times = alternate({"predict": action}, given.repeats)["predict"]
            per_point = 1e6 * median(times) / np.prod(shape)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
            yield [str(len(crystal)), spread(times), f"{per_point:.2f}", f"{peak:.1f}"]

    heads = ["ions", "prediction, s (range)", "us / grid point", "peak memory so far, GB"]
    print_table(heads, rows(), texts=0)


def supercell(n: int) -> Crystal:
    """Give n x n x n conventional cells of MgO."""
    fcc = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    shift = np.array([0.5, 0, 0])
    cells = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), -1).reshape(-1, 1, 3)
    ions = [((sites + cells) / n).reshape(-1, 3) for sites in (fcc, fcc + shift)]
    symbols = ("Mg",) * len(ions[0]) + ("O",) * len(ions[1])
    return Crystal(n * EDGE * np.eye(3), symbols, np.concatenate(ions))


def training_steps(given: Namespace) -> None:
    """Print processor time and gradients of a training step."""
    config, dataset = read_config(given.config), DensityDataset(given.data)
    densities = [dataset[name] for name in dataset.ids[: given.materials]]
    tasks, samples = {}, {}
    for thinning in THINNING:
        loss = config.loss.model_copy(update={"thinning": thinning})
        settings = config.model_copy(update={"loss": loss})
        torch.manual_seed(0)
        task = tasks[thinning] = OrbitalTask(settings, dataset, torch.device("cpu"))
        load_initial_weights(task.network, settings)
        samples[thinning] = list(task.initialize(map(task.prepare, densities)))
    gradients = {n: gradient(tasks[n], samples[n]) for n in THINNING}
    times = alternate(
        {str(n): partial(gradient, tasks[n], samples[n]) for n in THINNING},
        given.repeats,
        process_time,
    )
    everything = times[str(THINNING[0])]

    def rows() -> Iterator[list[str]]:
        for n in THINNING:
            mine = times[str(n)]
            cosine = torch.nn.functional.cosine_similarity(gradients[1], gradients[n], dim=0)
            ms = f"{1e3 * median(mine) / len(densities):.1f}"
            yield [str(n), ms, ratio(everything, mine), f"{cosine:.3f}"]

    heads = ["thinning", "ms / material", "ratio (range)", "cosine of the gradients"]
    print_table(heads, rows(), texts=0)


def gradient(task: OrbitalTask, samples: list) -> torch.Tensor:
    """Gradient of the loss of all samples, double precision."""
    network = task.network
    network.zero_grad()
    for first in range(0, len(samples), BATCH):
        task.losses(network, samples[first : first + BATCH])["loss"].backward()
    found = [p.grad.flatten() for p in network.parameters() if p.grad is not None]
    return torch.cat(found).double()


if __name__ == "__main__":
    main()
