"""Probes per second of ChargE3Net with random weights.

    python benchmarks/charge3net.py [--preset published] [--probes 240] [--grid 48] [--repeats 3]

SrTiO3 (five atoms, about 21 neighbors per probe), on a GPU where there is one. Three parts: chunk
sizes, in turn, so that a change of the machine's load meets all of them; the sum of messages of the
last convolution beside the tensor product of e3nn that it replaces; and how many points of a cubic
grid are left by symmetry. Per second of processor time, or of wall time on a GPU.
"""

from __future__ import annotations

from harness import alternate, parser, print_table, ratio, spread

# isort: split

from functools import partial
from time import perf_counter, process_time
from typing import TYPE_CHECKING

import numpy as np
import torch
from e3nn.o3 import TensorProduct, spherical_harmonics

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.grid import GridSymmetry
from mlcharge_flows.models.charge3net import PRESETS, ChargE3Net, ChargE3NetConfig
from mlcharge_flows.models.charge3net.field import DensityField, bytes_per_probe, free_memory

if TYPE_CHECKING:
    from collections.abc import Sequence

SITES = np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
PEROVSKITE = Crystal(3.9 * np.eye(3), ("Sr", "Ti", "O", "O", "O"), SITES)
CHUNKS = (4, 16, 64, 256)
NEIGHBORS = 21
"""Of a probe in this crystal."""


def clock() -> float:
    """Processor time, or wall time on a GPU, in seconds."""
    if not torch.cuda.is_available():
        return process_time()
    torch.cuda.synchronize()
    return perf_counter()


def chunk_table(network: ChargE3Net, probes: int, repeats: int) -> None:
    """Probes per second at each size of a chunk."""
    points = np.random.default_rng(0).random((probes, 3)) @ PEROVSKITE.lattice
    device = next(network.parameters()).device
    own = free_memory(device) // bytes_per_probe(network, NEIGHBORS)
    sizes = {str(size): size for size in CHUNKS} | {f"default, {own}": None}
    fields = {name: DensityField(network, PEROVSKITE, size) for name, size in sizes.items()}
    for field in fields.values():
        field.at(points[:16])  # what is made once is not counted
    times = alternate(
        {name: partial(field.at, points) for name, field in fields.items()}, repeats, clock
    )
    rates = {name: [probes / s for s in found] for name, found in times.items()}
    print_table(
        ["probes per chunk", "probes per second (range)"],
        ([name, spread(found, 0)] for name, found in rates.items()),
    )


def message_table(config: ChargE3NetConfig, probes: int, repeats: int) -> None:
    """Sum of messages beside e3nn's tensor product, with the weights of the radial network."""
    convolution = ChargE3Net(config).probe_model.convolutions[-1]
    messages, radial = convolution.messages, convolution.fc
    blocks, instructions = [], []
    for i, (mul, a) in enumerate(messages.irreps_in):
        for j, (_, b) in enumerate(config.harmonics):
            for ir in a * b:
                if ir in messages.irreps_out:
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
    n = NEIGHBORS
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

    with torch.inference_mode():
        by_edge(), by_edge(), by_receiver()  # what is made once is not counted
        times = alternate({"e3nn": by_edge, "here": by_receiver}, repeats, clock)
    print()
    rates = {name: [probes / s for s in found] for name, found in times.items()}
    ratios = {"e3nn": "1", "here": ratio(times["e3nn"], times["here"])}
    print_table(
        ["sum of messages", "probes per second (range)", "ratio (range)"],
        ([name, spread(found, 0), ratios[name]] for name, found in rates.items()),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = parser(__doc__, repeats=3)
    options.add_argument("--preset", choices=PRESETS, default="published")
    options.add_argument("--probes", type=int, default=240)
    options.add_argument("--grid", type=int, default=48)
    given = options.parse_args(arguments)
    torch.manual_seed(0)
    config = PRESETS[given.preset]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = ChargE3Net(config).eval().to(device)
    size = sum(weights.numel() for weights in network.parameters())
    print(f"{given.preset}, {size} parameters, {device}, {torch.get_num_threads()} threads\n")
    chunk_table(network, given.probes, given.repeats)
    message_table(config, min(64, given.probes), given.repeats)
    shape = (given.grid,) * 3
    start = perf_counter()
    left = len(np.unique(GridSymmetry.of(PEROVSKITE, shape).irreducible_points()))
    print(
        f"\ngrid {given.grid}^3: symmetry leaves {left} of {np.prod(shape)} points, found in "
        f"{perf_counter() - start:.1f} s"
    )


if __name__ == "__main__":
    main()
