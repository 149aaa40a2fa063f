"""ChargE3Net: the density at any point from the edges to the atoms around it.

Atoms receive messages from the atoms within the cutoff, 4 angstrom; a probe at each point receives
messages from the atoms within the cutoff, layer by layer; a linear readout of its scalars is the
density. The features of the atoms, up to l = 4, are equivariant under rotations and reflections;
of the features of a probe only the scalars matter, and only they are computed.

References
----------
T. Koker, K. Quigley, E. Taw, K. Tibbetts, L. Li, Higher-order equivariant neural networks for
charge density prediction in materials, npj Comput. Mater. 10, 161 (2024), equations 2 to 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from e3nn.nn import Gate
from e3nn.o3 import Irrep, Irreps, Linear, spherical_harmonics
from torch import nn
from torch.nn.functional import pad

from mlcharge_flows.models.charge3net.convolution import Convolution
from mlcharge_flows.models.charge3net.radial import RadialBasis
from mlcharge_flows.models.charge3net.scalar_convolution import (
    EdgesBySender,
    ScalarConvolution,
    scalar_matrix,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlcharge_flows.density.crystal import NeighborList
    from mlcharge_flows.models.charge3net.config import ChargE3NetConfig


MIN_DISTANCE = 1e-5
"""Distance, angstrom, below which an edge has no direction: it would be that of rounding."""
N_SPECIES = 119
"""Length of the one-hot encoding of an element: atomic numbers 0 to 118."""
_NORMALIZATION = [
    f"{part}.basis.{name}" for part in ("atom_model", "probe_model") for name in ("mean", "inv_std")
]


def gate(receivers: Irreps, config: ChargE3NetConfig) -> Gate:
    """Gated nonlinearity after a convolution: SiLU and tanh for scalars, gates for l > 0.

    Its output are those irreps of the hidden layer that a tensor product of the receiver's
    features with the harmonics of an edge contains.

    Parameters
    ----------
    receivers
        Irreps of the receivers' features before the convolution.
    config
        Size of the network.

    Returns
    -------
    e3nn.nn.Gate
        Its ``irreps_in`` are the irreps that the convolution has to produce.
    """
    reached = {ir for _, a in receivers for _, b in config.harmonics for ir in a * b}
    hidden = [(mul, ir) for mul, ir in config.irreps if ir in reached]
    scalars = Irreps([(mul, ir) for mul, ir in hidden if ir.l == 0]).simplify()
    gated = Irreps([(mul, ir) for mul, ir in hidden if ir.l > 0])
    gate_irrep = Irrep("0e") if Irrep("0e") in reached else Irrep("0o")
    gates = Irreps([(mul, gate_irrep) for mul, _ in gated]).simplify()
    scalar_activations = {1: nn.functional.silu, -1: torch.tanh}
    gate_activations = {1: torch.sigmoid, -1: torch.tanh}
    return Gate(
        scalars,
        [scalar_activations[ir.p] for _, ir in scalars],
        gates,
        [gate_activations[ir.p] for _, ir in gates],
        gated,
    )


class _Layers(nn.Module):
    """Convolutions and gates of one kind of receiver."""

    convolution: type[Convolution] = Convolution

    def __init__(self, senders: list[Irreps], receivers: Irreps, config: ChargE3NetConfig) -> None:
        super().__init__()
        self.harmonics = config.harmonics
        self.basis = RadialBasis(config.cutoff, config.num_basis)
        self.convolutions = nn.ModuleList()
        self.gates = nn.ModuleList()
        self.irreps: list[Irreps] = []
        for layer in range(config.num_interactions):
            nonlinearity = gate(receivers, config)
            sent = senders[layer] if senders else receivers
            self.convolutions.append(
                self.convolution(sent, receivers, nonlinearity.irreps_in, config)
            )
            self.gates.append(nonlinearity)
            receivers = nonlinearity.irreps_out
            self.irreps.append(receivers)

    def edge_functions(self, vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Spherical harmonics and radial functions of each edge."""
        values = spherical_harmonics(
            self.harmonics, vectors, normalize=True, normalization="component"
        )
        return values, self.basis(vectors.norm(dim=-1))


class AtomModel(_Layers):
    """Features of the atoms after each layer.

    Parameters
    ----------
    config
        Size of the network.
    """

    def __init__(self, config: ChargE3NetConfig) -> None:
        super().__init__([], Irreps(f"{N_SPECIES}x0e"), config)

    def forward(self, numbers: torch.Tensor, edges: Edges) -> list[torch.Tensor]:
        """Compute the features after each layer.

        Parameters
        ----------
        numbers
            Atomic numbers, shape (atoms,).
        edges
            Edges into each atom.

        Returns
        -------
        list of torch.Tensor
            One per layer, each of shape (atoms, components).
        """
        harmonics, basis = self.edge_functions(edges.vectors)
        harmonics = harmonics * edges.present[..., None]
        features = nn.functional.one_hot(numbers, N_SPECIES).to(harmonics.dtype)
        layers = []
        for convolution, nonlinearity in zip(self.convolutions, self.gates, strict=True):
            features = nonlinearity(
                convolution(features, features, edges.senders, harmonics, basis)
            )
            layers.append(features)
        return layers


class ProbeModel(_Layers):
    """The density at probes, from the features of the atoms after each layer.

    Parameters
    ----------
    atoms
        Irreps of the atoms' features after each layer.
    config
        Size of the network.
    """

    convolution = ScalarConvolution

    def __init__(self, atoms: list[Irreps], config: ChargE3NetConfig) -> None:
        super().__init__(atoms, Irreps("0e"), config)
        self.readout = Linear(self.irreps[-1], "0e")

    def sources(self, atoms: list[torch.Tensor]) -> list[torch.Tensor]:
        """What the messages of the atoms are made of; the same for all probes.

        Parameters
        ----------
        atoms
            Features of the atoms after each layer, each of shape (atoms, components).

        Returns
        -------
        list of torch.Tensor
            One per layer, each of shape (atoms, (lmax + 1)^2, channels).
        """
        layers = (layer for layer in self.convolutions if isinstance(layer, ScalarConvolution))
        return [layer.sources(features) for layer, features in zip(layers, atoms, strict=True)]

    def forward(self, sources: list[torch.Tensor], edges: Edges) -> torch.Tensor:
        """Compute the density at the probes.

        Parameters
        ----------
        sources
            Of the atoms, see :meth:`sources`.
        edges
            Edges into each probe.

        Returns
        -------
        torch.Tensor
            Electrons/angstrom^3, shape (probes,).
        """
        ordered = EdgesBySender.of(edges.senders, edges.vectors, edges.present)
        harmonics, basis = self.edge_functions(ordered.vectors)
        scalars = harmonics.new_zeros(len(edges.senders), 1)
        for convolution, source in zip(self.convolutions, sources, strict=True):
            scalars = convolution(source, scalars, ordered, harmonics, basis)
        density: torch.Tensor = (scalars @ scalar_matrix(self.readout)).squeeze(-1)
        return density


class ChargE3Net(nn.Module):
    """The network, of any size.

    Parameters
    ----------
    config
        Size of the network.

    Examples
    --------
    >>> from mlcharge_flows.models.charge3net.config import PRESETS
    >>> network = ChargE3Net(PRESETS["small"])
    >>> sum(weights.numel() for weights in network.parameters())
    118149
    """

    def __init__(self, config: ChargE3NetConfig) -> None:
        super().__init__()
        self.config = config
        self.atom_model = AtomModel(config)
        self.probe_model = ProbeModel(self.atom_model.irreps, config)

    def forward(self, numbers: torch.Tensor, atoms: Edges, probes: Edges) -> torch.Tensor:
        """Compute the density at probes.

        Parameters
        ----------
        numbers
            Atomic numbers, shape (atoms,).
        atoms
            Edges into the atoms.
        probes
            Edges into the probes.

        Returns
        -------
        torch.Tensor
            Electrons/angstrom^3, shape (probes,).
        """
        sources = self.probe_model.sources(self.atom_model(numbers, atoms))
        density: torch.Tensor = self.probe_model(sources, probes)
        return density

    def learned(self) -> dict[str, torch.Tensor]:
        """Tensors that training determines: weights and the scale of the radial basis.

        Returns
        -------
        dict
            The argument of :meth:`of`; the names are those of the published checkpoints.
        """
        names = {name for name, _ in self.named_parameters()} | set(_NORMALIZATION)
        return {name: value for name, value in self.state_dict().items() if name in names}

    @classmethod
    def of(cls, config: ChargE3NetConfig, learned: Mapping[str, torch.Tensor]) -> Self:
        """Build a network from trained tensors.

        Parameters
        ----------
        config
            Size of the network.
        learned
            Tensors by name, see :meth:`learned`.

        Returns
        -------
        ChargE3Net
            The network with these weights.

        Raises
        ------
        ValueError
            A tensor is missing, unknown, of another shape or not finite; the message names it.
        """
        network = cls(config)
        own = network.learned()
        for name in sorted(own.keys() | learned.keys()):
            if name not in learned:
                raise ValueError(f"{name} is missing")
            if name not in own:
                raise ValueError(f"{name} is of no part of a network of this size")
            found, needed = tuple(learned[name].shape), tuple(own[name].shape)
            if found != needed:
                raise ValueError(f"{name} has shape {found}, a network of this size {needed}")
            if not torch.isfinite(learned[name]).all():
                raise ValueError(f"{name} is not finite")
        network.load_state_dict(dict(learned), strict=False)
        return network


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
