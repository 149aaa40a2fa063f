"""Probes per second of ChargE3Net, random weights.

    python benchmarks/charge3net.py [--preset published] [--probes 240] [--grid 48] [--repeats 3]

SrTiO3 (five atoms, about 21 neighbors per probe), on a GPU where there is one. Three parts: chunk
sizes, in turn, so that a change of the machine's load meets all of them; the sum of messages of the
last convolution beside the tensor product of e3nn that it replaces; and how many points of a cubic
grid are left by symmetry. Medians, with smallest and largest repeat, per second of processor time
(of wall time on a GPU).
"""

from __future__ import annotations

import argparse
from functools import partial
from statistics import median
from time import perf_counter, process_time
from typing import TYPE_CHECKING

import numpy as np
import torch
from e3nn.o3 import TensorProduct, spherical_harmonics

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.symmetry import GridSymmetry
from mlcharge_flows.models.charge3net import PRESETS, ChargE3Net, ChargE3NetConfig
from mlcharge_flows.models.charge3net.field import DensityField, bytes_per_probe, free_memory

if TYPE_CHECKING:
    from collections.abc import Callable

SITES = np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
PEROVSKITE = Crystal(3.9 * np.eye(3), ("Sr", "Ti", "O", "O", "O"), SITES)
CHUNKS = (4, 16, 64, 256)


def seconds(action: Callable[[], object]) -> float:
    """Time one call: processor time, or wall time on a GPU."""
    clock = perf_counter if torch.cuda.is_available() else process_time
    start = clock()
    action()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - start


def chunk_table(network: ChargE3Net, probes: int, repeats: int) -> None:
    """Probes per second at each size of a chunk."""
    points = np.random.default_rng(0).random((probes, 3)) @ PEROVSKITE.lattice
    fields = {size: DensityField(network, PEROVSKITE, size) for size in (*CHUNKS, None)}
    rates: dict[int | None, list[float]] = {size: [] for size in fields}
    for field in fields.values():
        field.at(points[:16])
    for _ in range(repeats):
        for size, field in fields.items():
            rates[size].append(probes / seconds(partial(field.at, points)))
    print("probes per chunk   probes per second (smallest to largest)")
    device = next(network.parameters()).device
    own = free_memory(device) // bytes_per_probe(network, 21)
    for size, found in rates.items():
        name = f"default, {own}" if size is None else str(size)
        print(f"{name:<19}{median(found):.0f} ({min(found):.0f} to {max(found):.0f})")


def message_table(config: ChargE3NetConfig, probes: int, repeats: int) -> None:
    """Sum of messages beside e3nn's tensor product, with the weights of the radial network."""
    convolution = ChargE3Net(config).probe_model.convolutions[-1]
    messages, radial = convolution.messages, convolution.fc
    blocks, instructions = [], []
    for i, (mul, a) in enumerate(messages.irreps_in):
        for j, (_, b) in enumerate(config.harmonics):
            for ir in a * b:
                if ir in config.irreps:
                    instructions.append((i, j, len(blocks), "uvu", True))
                    blocks.append((mul, ir))
    product = TensorProduct(
        messages.irreps_in,
        config.harmonics,
        blocks,
        instructions,
        internal_weights=False,
        shared_weights=False,
    )
    n = 21
    features = torch.randn(5, messages.irreps_in.dim)
    senders = torch.randint(0, 5, (probes, n))
    vectors = torch.randn(probes, n, 3)
    values = spherical_harmonics(config.harmonics, vectors, True, normalization="component")
    hidden = torch.randn(probes, n, 100)

    def by_edge() -> torch.Tensor:
        weights = (hidden @ radial.layer1.matrix).flatten(0, 1)
        each = product(features[senders.ravel()], values.flatten(0, 1), weights)
        return each.view(probes, n, -1).sum(1)

    def by_receiver() -> torch.Tensor:
        return messages(features, senders, values, hidden, radial)

    times: dict[str, list[float]] = {"e3nn": [], "here": []}
    with torch.inference_mode():
        by_edge(), by_edge(), by_receiver()
        for _ in range(repeats):
            times["e3nn"].append(seconds(by_edge))
            times["here"].append(seconds(by_receiver))
    ratios = [a / b for a, b in zip(times["e3nn"], times["here"], strict=True)]
    print("\nsum of messages    probes per second (smallest to largest)")
    for name, found in times.items():
        low, high = probes / max(found), probes / min(found)
        print(f"{name:<19}{probes / median(found):.0f} ({low:.0f} to {high:.0f})")
    print(f"{'ratio':<19}{median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=PRESETS, default="published")
    parser.add_argument("--probes", type=int, default=240)
    parser.add_argument("--grid", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.manual_seed(0)
    config = PRESETS[options.preset]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = ChargE3Net(config).eval().to(device)
    size = sum(weights.numel() for weights in network.parameters())
    print(f"{options.preset}, {size} parameters, {device}, {torch.get_num_threads()} threads\n")
    chunk_table(network, options.probes, options.repeats)
    message_table(config, min(64, options.probes), options.repeats)
    shape = (options.grid,) * 3
    start = perf_counter()
    left = len(np.unique(GridSymmetry.of(PEROVSKITE, shape).irreducible_points()))
    print(
        f"\ngrid {options.grid}^3: symmetry leaves {left} of {np.prod(shape)} points, found in "
        f"{perf_counter() - start:.1f} s"
    )


if __name__ == "__main__":
    main()
