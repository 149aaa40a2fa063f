"""Probes per second of ChargE3Net with random weights.

    python benchmarks/charge3net.py [--preset published] [--probes 2000] [--grid 48] [--repeats 3]

SrTiO3 (five atoms, about 21 neighbors per probe), on a GPU where there is one. Three parts: chunk
sizes, in turn, so that a change of the machine's load meets all of them; the model of the probes
beside one that computes all irreps of every layer, as the authors' code does, with the sums of
messages before the coupling and with the tensor product of e3nn for every edge; and how many points
of a cubic grid are left by symmetry. Per second of processor time, or of wall time on a GPU.
"""

from __future__ import annotations

from harness import alternate, parser, print_table, ratio, spread

# isort: split

from functools import partial
from time import perf_counter, process_time
from typing import TYPE_CHECKING

import numpy as np
import torch
from e3nn.o3 import Irreps, TensorProduct

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.grid import GridSymmetry
from mlcharge_flows.models.charge3net import PRESETS, ChargE3Net
from mlcharge_flows.models.charge3net.convolution import Convolution, Messages
from mlcharge_flows.models.charge3net.field import (
    DensityField,
    atom_neighbors,
    atomic_numbers,
    bytes_per_probe,
    free_memory,
    point_neighbors,
)
from mlcharge_flows.models.charge3net.network import Edges

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlcharge_flows.models.charge3net.radial import RadialNetwork

SITES = np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
PEROVSKITE = Crystal(3.9 * np.eye(3), ("Sr", "Ti", "O", "O", "O"), SITES)
CHUNKS = (4, 32, 256, 1024)
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


class MessagesByEdge(torch.nn.Module):
    """One tensor product of e3nn per edge, then the sum over the edges of each receiver."""

    def __init__(self, messages: Messages, harmonics: Irreps) -> None:
        super().__init__()
        found = [
            (i, j, mul, ir)
            for i, (mul, a) in enumerate(messages.irreps_in)
            for j, (_, b) in enumerate(harmonics)
            for ir in a * b
            if ir in messages.irreps_out
        ]
        out, place, _ = Irreps([(mul, ir) for *_, mul, ir in found]).sort()
        self.product = TensorProduct(
            messages.irreps_in,
            harmonics,
            out,
            [(i, j, k, "uvu", True) for (i, j, *_), k in zip(found, place, strict=True)],
            internal_weights=False,
            shared_weights=False,
        )

    def forward(
        self,
        features: torch.Tensor,
        senders: torch.Tensor,
        harmonics: torch.Tensor,
        hidden: torch.Tensor,
        radial: RadialNetwork,
    ) -> torch.Tensor:
        """Sum the messages of the edges into each receiver."""
        weights = (hidden @ radial.layer1.matrix).flatten(0, 1)
        each = self.product(features[senders.ravel()], harmonics.flatten(0, 1), weights)
        summed: torch.Tensor = each.view(*senders.shape, -1).sum(1)
        return summed


def network_table(network: ChargE3Net, probes: int, repeats: int) -> None:
    """The model of the probes beside models that compute all irreps of every layer."""
    model, cutoff = network.probe_model, network.config.cutoff
    device = next(network.parameters()).device
    points = np.random.default_rng(1).random((probes, 3)) @ PEROVSKITE.lattice
    edges = Edges.of(point_neighbors(points, PEROVSKITE, cutoff), device=device)
    numbers = torch.as_tensor(atomic_numbers(PEROVSKITE.symbols), device=device)
    layers = [layer for layer in model.convolutions if isinstance(layer, Convolution)]
    sums = [layer.messages for layer in layers]
    products = [MessagesByEdge(each, model.harmonics).to(device) for each in sums]

    def all_irreps(messages: Sequence[torch.nn.Module]) -> torch.Tensor:
        harmonics, basis = model.edge_functions(edges.vectors)
        harmonics = harmonics * edges.present[..., None]
        features = harmonics.new_zeros(probes, 1)
        for sent, layer, gate, own in zip(atoms, layers, model.gates, messages, strict=True):
            layer.add_module("messages", own)
            features = gate(
                Convolution.forward(layer, sent, features, edges.senders, harmonics, basis)
            )
        density: torch.Tensor = model.readout(features).squeeze(-1)
        return density

    with torch.inference_mode():
        atoms = network.atom_model(
            numbers, Edges.of(atom_neighbors(PEROVSKITE, cutoff), device=device)
        )
        sources = model.sources(atoms)
        ways = {
            "all irreps, e3nn's product for every edge": partial(all_irreps, products),
            "all irreps, sums before the coupling": partial(all_irreps, sums),
            "scalars alone": partial(model, sources, edges),
        }
        values = {name: way() for name, way in ways.items()}  # what is made once is not counted
        times = alternate(ways, repeats, clock)
    first = next(iter(ways))
    deviation = float(values[first].std())
    print()
    print_table(
        ["model of the probes", "probes per second (range)", "ratio (range)", "difference / std"],
        (
            [
                name,
                spread([probes / s for s in found], 0),
                ratio(times[first], found),
                f"{float((values[name] - values[first]).abs().max()) / deviation:.0e}",
            ]
            for name, found in times.items()
        ),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = parser(__doc__, repeats=3)
    options.add_argument("--preset", choices=PRESETS, default="published")
    options.add_argument("--probes", type=int, default=2000)
    options.add_argument("--grid", type=int, default=48)
    given = options.parse_args(arguments)
    torch.manual_seed(0)
    config = PRESETS[given.preset]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = ChargE3Net(config).eval().to(device)
    size = sum(weights.numel() for weights in network.parameters())
    print(f"{given.preset}, {size} parameters, {device}, {torch.get_num_threads()} threads\n")
    chunk_table(network, given.probes, given.repeats)
    network_table(network, min(64, given.probes), given.repeats)
    shape = (given.grid,) * 3
    start = perf_counter()
    left = len(np.unique(GridSymmetry.of(PEROVSKITE, shape).irreducible_points()))
    print(
        f"\ngrid {given.grid}^3: symmetry leaves {left} of {np.prod(shape)} points, found in "
        f"{perf_counter() - start:.1f} s"
    )


if __name__ == "__main__":
    main()
