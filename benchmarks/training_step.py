"""A training step of the orbital model: what equal neighbors and thinned waves save.

    python benchmarks/training_step.py CONFIG.yaml dataset.h5

The network of the training, with the weights that it begins with, on the first 32 materials. Every
row is beside the slowest form (each image of a neighbor a pair of its own, all waves), in the same
run. Prints a Markdown table: median processor time per material, ratio with its range over the
repeats, which alternate, and the cosine between the gradients of all these materials.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import process_time
from typing import TYPE_CHECKING

import torch
from rich.progress import track

from mlcharge_flows.density.neighbors import NeighborList
from mlcharge_flows.models.orbital.graph import Graph
from mlcharge_flows.training.checkpoint import load_initial_weights
from mlcharge_flows.training.config import read_config
from mlcharge_flows.training.dataset import DensityDataset
from mlcharge_flows.training.orbital import OrbitalTask

if TYPE_CHECKING:
    from mlcharge_flows.training.orbital import OrbitalTrainingSample

N_MATERIALS, BATCH, REPEATS = 32, 8, 5
FORMS = (("no", 1), ("yes", 1), ("yes", 4), ("yes", 8), ("yes", 16))
"""Whether equal neighbors are one, and the thinning."""


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    config, store = read_config(sys.argv[1]), DensityDataset(Path(sys.argv[2]))
    densities = [store[name] for name in store.ids[:N_MATERIALS]]
    tasks = {}
    for thinning in sorted({thinning for _, thinning in FORMS}):
        loss = config.loss.model_copy(update={"thinning": thinning})
        settings = config.model_copy(update={"loss": loss})
        torch.manual_seed(0)
        tasks[thinning] = OrbitalTask(settings, store, torch.device("cpu"))
        load_initial_weights(tasks[thinning].network, settings)
    samples = {
        ("yes", thinning): task.initialize(map(task.prepare, densities))
        for thinning, task in tasks.items()
    }
    model = tasks[1].model
    samples["no", 1] = []
    for sample, density in zip(samples["yes", 1], densities, strict=True):
        crystal = density.crystal
        pairs = NeighborList.of_ions(crystal, model.cutoff)
        graph = Graph.from_neighbors(crystal.symbols, [], crystal.positions, pairs, model)
        samples["no", 1].append(replace(sample, graph=graph))
    rows = [
        {form: step(tasks[form[1]], samples[form]) for form in FORMS}
        for _ in track(range(REPEATS + 1), "steps")
    ][1:]
    n_pairs, n_unequal = (sum(len(e.graph.centers) for e in samples[f]) for f in FORMS[:2])
    print(f"\n{N_MATERIALS} materials, {n_pairs} pairs, {n_unequal} unequal ones")
    print("| equal neighbors joined | thinning | ms | ratio (range) | cosine |")
    print("|---|---:|---:|---:|---:|")
    for form in FORMS:
        ratios = sorted(row[FORMS[0]][0] / row[form][0] for row in rows)
        cosine = torch.nn.functional.cosine_similarity(
            *(rows[0][f][1].double() for f in (FORMS[0], form)), dim=0
        )
        print(
            f"| {form[0]} | {form[1]} | {1e3 * median(row[form][0] for row in rows):.1f} "
            f"| {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) | {cosine:.3f} |"
        )


def step(task: OrbitalTask, samples: list[OrbitalTrainingSample]) -> tuple[float, torch.Tensor]:
    """Processor time of a pass over the materials, seconds each, and its gradient."""
    network = task.network
    network.zero_grad()
    began = process_time()
    for first in range(0, len(samples), BATCH):
        task.losses(network, samples[first : first + BATCH])["loss"].backward()
    seconds = (process_time() - began) / len(samples)
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    return seconds, torch.cat([gradient.flatten() for gradient in gradients])


if __name__ == "__main__":
    main()
