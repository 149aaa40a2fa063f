"""Directed edges of the graph: from atoms to atoms, and from atoms to probes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from pymatgen.core.periodic_table import Element
from torch.nn.functional import pad

from mlcharge_flows.density.crystal import NeighborList
from mlcharge_flows.models.model import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mlcharge_flows.density.crystal import Crystal

CUTOFF_TOLERANCE = 1e-5
"""Atoms this much beyond the cutoff, angstrom, are neighbors, too: symmetry-equivalent points have
equal neighbors in spite of rounding."""
MIN_DISTANCE = 1e-5
"""Distance, angstrom, below which an edge has no direction: it would be that of rounding."""


@dataclass(frozen=True, eq=False)
class Edges:
    """Edges into each receiver, padded to the largest number of neighbors.

    Parameters
    ----------
    senders
        Index of the sending atom, shape (receivers, neighbors); 0 for padding.
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
        neighbors: NeighborList,
        receivers: np.ndarray | None = None,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Self:
        """Pad a neighbor list.

        Parameters
        ----------
        neighbors
            Neighbors of all receivers.
        receivers
            Indices of the receivers, in the order wanted; all by default.
        device
            Device of the tensors.
        dtype
            Precision of the vectors.

        Returns
        -------
        Edges
            One row per receiver.
        """
        counts = neighbors.counts
        first = np.cumsum(counts) - counts
        if receivers is not None:
            first, counts = first[receivers], counts[receivers]
        columns = np.arange(max(1, counts.max(initial=0)))
        present = columns < counts[:, None]
        index = (first[:, None] + columns)[present]
        senders = np.zeros(present.shape, dtype=np.int64)
        vectors = np.zeros((*present.shape, 3))
        senders[present] = neighbors.others[index]
        directed = neighbors.distances[index] >= MIN_DISTANCE
        vectors[present] = np.where(directed[:, None], neighbors.vectors[index], 0.0)
        return cls(
            torch.as_tensor(senders, device=device),
            torch.as_tensor(vectors, device=device, dtype=dtype),
            torch.as_tensor(present, device=device),
        )

    @classmethod
    def batch(cls, edges: Sequence[Self], n_atoms: Sequence[int]) -> Self:
        """Join the edges of several structures in one disconnected graph.

        Parameters
        ----------
        edges
            Edges of each structure.
        n_atoms
            Atoms of each structure; the senders of later structures are shifted by them.

        Returns
        -------
        Edges
            The receivers of all structures, one structure after the other.
        """
        width = max(e.senders.shape[1] for e in edges)
        offsets = accumulate(n_atoms, initial=0)
        padded = [(e, (0, width - e.senders.shape[1])) for e in edges]
        return cls(
            torch.cat([pad(e.senders + o, p) for (e, p), o in zip(padded, offsets, strict=False)]),
            torch.cat([pad(e.vectors, (0, 0, *p)) for e, p in padded]),
            torch.cat([pad(e.present, p) for e, p in padded]),
        )


def atom_neighbors(crystal: Crystal, cutoff: float) -> NeighborList:
    """Neighbors of the atoms of a crystal.

    Parameters
    ----------
    crystal
        The ions.
    cutoff
        Angstrom; atoms up to :data:`CUTOFF_TOLERANCE` beyond count.

    Returns
    -------
    NeighborList
        An atom is a neighbor of its own images, not of itself.
    """
    return NeighborList.of_ions(crystal, cutoff + CUTOFF_TOLERANCE)


def point_neighbors(points: np.ndarray, crystal: Crystal, cutoff: float) -> NeighborList:
    """Atoms around points anywhere in space.

    Parameters
    ----------
    points
        Cartesian, angstrom, shape (n, 3).
    crystal
        The ions.
    cutoff
        Angstrom; atoms up to :data:`CUTOFF_TOLERANCE` beyond count.

    Returns
    -------
    NeighborList
        One center per point; an atom at the very point counts.
    """
    return NeighborList.of_points(points, crystal, cutoff + CUTOFF_TOLERANCE)


def atomic_numbers(symbols: Iterable[str]) -> np.ndarray:
    """Atomic number of each element.

    Parameters
    ----------
    symbols
        Element symbols.

    Returns
    -------
    numpy.ndarray
        Integers, shape (n,).

    Raises
    ------
    ModelError
        A symbol is not an element.

    Examples
    --------
    >>> atomic_numbers(["Na", "Cl"])
    array([11, 17])
    """
    try:
        return np.array([Element(symbol).Z for symbol in symbols], dtype=np.int64)
    except ValueError as error:
        raise ModelError(f"{error}: the model knows elements only") from None
