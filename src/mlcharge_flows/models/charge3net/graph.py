"""Who hears whom: atoms hear atoms, probes hear atoms, nobody hears probes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Self

import torch
from torch.nn.functional import pad

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from mlcharge_flows.models.charge3net.neighbors import Neighbors


@dataclass(frozen=True, eq=False)
class Edges:
    """Edges into each receiver, padded to the largest number of them.

    Parameters
    ----------
    senders
        Atom at the other end, shape (receivers, neighbors); 0 where there is none.
    vectors
        From the receiver to that atom, angstrom, shape (receivers, neighbors, 3).
    present
        False for padding, shape (receivers, neighbors).
    """

    senders: torch.Tensor
    vectors: torch.Tensor
    present: torch.Tensor

    @classmethod
    def of(
        cls,
        neighbors: Neighbors,
        receivers: np.ndarray | None = None,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Self:
        """Pad a list of neighbors.

        Parameters
        ----------
        neighbors
            Neighbors of all receivers.
        receivers
            Which of the receivers, in which order; all by default.
        device, dtype
            Where the tensors live, and their precision.
        """
        senders, vectors, present = neighbors.padded(receivers)
        return cls(
            torch.as_tensor(senders, device=device),
            torch.as_tensor(vectors, device=device, dtype=dtype),
            torch.as_tensor(present, device=device),
        )

    @classmethod
    def joined(cls, edges: Sequence[Self], n_atoms: Sequence[int]) -> Self:
        """Edges of several structures in one, for training in batches.

        Parameters
        ----------
        edges
            Edges of each structure.
        n_atoms
            Atoms of each structure, which shift the senders of those that follow.
        """
        width = max(e.senders.shape[1] for e in edges)
        offsets = accumulate(n_atoms, initial=0)
        padded = [(e, (0, width - e.senders.shape[1])) for e in edges]
        return cls(
            torch.cat([pad(e.senders + o, p) for (e, p), o in zip(padded, offsets, strict=False)]),
            torch.cat([pad(e.vectors, (0, 0, *p)) for e, p in padded]),
            torch.cat([pad(e.present, p) for e, p in padded]),
        )
