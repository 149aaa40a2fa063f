"""Which probes the network sees together: as many as memory allows, alike in neighbors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import psutil
import torch

from mlcharge_flows.models.charge3net.messages import Messages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlcharge_flows.models.charge3net.network import ChargE3Net

ON_PROCESSOR = 40 * 2**20
"""Bytes of a chunk on a processor: more leaves its caches (``benchmarks/charge3net.py``)."""
SHARE = 0.25
"""Largest part of the memory that is free."""


def chunks(
    counts: np.ndarray,
    network: ChargE3Net,
    device: torch.device,
    probes_per_chunk: int | None = None,
) -> Iterator[np.ndarray]:
    """Split probes, sorted by their number of neighbors so that little is padded.

    Parameters
    ----------
    counts
        Neighbors of each probe.
    network
        What evaluates them.
    device
        Where.
    probes_per_chunk
        Largest number of probes; by default as many as memory allows.

    Yields
    ------
    numpy.ndarray
        Indices of the probes of a chunk.
    """
    order = np.argsort(counts, kind="stable")[::-1]
    memory = free_memory(device)
    start = 0
    while start < len(order):
        if probes_per_chunk is None:
            size = max(1, int(memory / bytes_per_probe(network, int(counts[order[start]]))))
        else:
            size = max(1, probes_per_chunk)
        yield order[start : start + size]
        start += size


def bytes_per_probe(network: ChargE3Net, neighbors: int) -> int:
    """Memory that a probe takes while its messages are summed, in bytes.

    Parameters
    ----------
    network
        What evaluates it.
    neighbors
        Its neighbors.
    """
    layers = [part for part in network.probe_model.modules() if isinstance(part, Messages)]
    # Weights twice (computed, and multiplied into the features); sums as blocks and joined.
    per_edge = max(2 * layer.n_weights + layer.irreps_in.dim for layer in layers)
    per_probe = max(2 * layer.irreps_out.dim for layer in layers)
    size = next(network.parameters()).element_size()
    return int(size * (neighbors * per_edge + per_probe))


def free_memory(device: torch.device) -> int:
    """Bytes that a chunk may take.

    Parameters
    ----------
    device
        Where it is evaluated.
    """
    if device.type == "cuda":
        return int(SHARE * torch.cuda.mem_get_info(device)[0])
    return int(min(ON_PROCESSOR, SHARE * psutil.virtual_memory().available))
