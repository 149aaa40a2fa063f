r"""The equivariant convolution of ChargE3Net.

Receiver i aggregates messages from the atoms j within the cutoff and mixes them with a residual
connection,

.. math::
    A_i' = \cos\theta_i\, W_3 A_i + \sin\theta_i\, W_1 \frac{1}{\sqrt{n}} \sum_j
        (W_2 A_j) \otimes R(r_{ij}) Y(\hat r_{ij}),

with a mixing angle that is learned from the scalars of the sum. Receivers are atoms or probes.

Each path (l1, l2 -> l3) of the tensor product takes channels u of the sender's features and a
harmonic of the edge,

.. math::
    m_{zuk} = \sqrt{2 l_3 + 1} \sum_{e \to z} w_{eu} \sum_{ij} C_{ijk}\, A_{s(e)ui}\, Y_{ej},

with one weight w per edge, channel and path from the radial network, and Wigner 3j symbols C. The
sum over the edges does not involve C, so it is computed first, as a matrix product; C then acts
once per receiver instead of once per edge. ``benchmarks/charge3net.py`` times it against
``e3nn.o3.TensorProduct``, which is the reference in the tests.

References
----------
T. Koker, K. Quigley, E. Taw, K. Tibbetts, L. Li, npj Comput. Mater. 10, 161 (2024), equation 4;
M. Geiger, T. Smidt, arXiv:2207.09453 (tensor products and gates of e3nn).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from e3nn.o3 import Irrep, Irreps, Linear, wigner_3j
from torch import nn

from mlcharge_flows.models.charge3net.radial import RADIAL_WIDTH, RadialNetwork

if TYPE_CHECKING:
    from mlcharge_flows.models.charge3net.config import ChargE3NetConfig


ANGLE_SCALE = 0.1
"""Scale of the mixing angle: an untrained network is nearly its residual connections."""


class Convolution(nn.Module):
    """Aggregated messages, mixed with the receiver's own features; see the module's text.

    The names of the submodules are those of the published checkpoints.

    Parameters
    ----------
    senders
        Irreps of the features of the senders.
    receivers
        Irreps of the features of the receivers.
    irreps_out
        Irreps of the result.
    config
        Size of the network.
    """

    def __init__(
        self, senders: Irreps, receivers: Irreps, irreps_out: Irreps, config: ChargE3NetConfig
    ) -> None:
        super().__init__()
        self.scale = config.num_neighbors**-0.5
        self.messages = Messages(senders, config.harmonics, irreps_out)
        aggregated = self.messages.irreps_out.simplify()
        self.sc = Linear(receivers, irreps_out)
        self.lin1 = Linear(senders, senders)
        self.fc = RadialNetwork(config.num_basis, RADIAL_WIDTH, self.messages.n_weights)
        self.lin2 = Linear(aggregated, irreps_out)
        self.lin3 = Linear(aggregated, "0e")

    def forward(
        self,
        sender_features: torch.Tensor,
        receiver_features: torch.Tensor,
        senders: torch.Tensor,
        harmonics: torch.Tensor,
        basis: torch.Tensor,
    ) -> torch.Tensor:
        """Update the features of the receivers.

        Parameters
        ----------
        sender_features
            Shape (atoms, components).
        receiver_features
            Before the update, shape (receivers, components).
        senders
            Index of the sender of each edge, shape (receivers, neighbors).
        harmonics
            Spherical harmonics of the edges, zero for padding, shape (receivers, neighbors,
            (lmax + 1)^2).
        basis
            Radial functions of the edges, shape (receivers, neighbors, num_basis).

        Returns
        -------
        torch.Tensor
            Shape (receivers, components of ``irreps_out``).
        """
        hidden = self.fc.hidden(basis)
        messages = self.messages(self.lin1(sender_features), senders, harmonics, hidden, self.fc)
        messages = messages.to(receiver_features.dtype) * self.scale
        angle: torch.Tensor = ANGLE_SCALE * self.lin3(messages)
        # Channels that the residual connection cannot reach are not mixed with anything.
        weight = torch.where(self.sc.output_mask > 0, angle.sin(), 1.0)
        residual: torch.Tensor = angle.cos() * self.sc(receiver_features)
        update: torch.Tensor = self.lin2(messages)
        return residual + weight * update


@dataclass(frozen=True)
class _Path:
    """One path: its output block, its weights in the checkpoint's order, its 3j symbols."""

    block: int
    weights: slice
    coupling: str


@dataclass(frozen=True)
class _Product:
    """All paths of one block of features and one harmonic."""

    harmonic: slice
    weights: slice
    paths: tuple[_Path, ...]


class Messages(nn.Module):
    """Messages of all edges, summed per receiver: the costly part of a convolution.

    Parameters
    ----------
    senders
        Irreps of the senders' features.
    harmonics
        Irreps of the spherical harmonics of an edge.
    wanted
        Irreps to keep; 0e is always kept.

    Attributes
    ----------
    irreps_out
        Irreps of the sums, one block per path, sorted.
    n_weights
        Weights per edge, in the order (block of the sender, harmonic, output irrep, channel).
    """

    order: torch.Tensor

    def __init__(self, senders: Irreps, harmonics: Irreps, wanted: Irreps) -> None:
        super().__init__()
        kept = {ir for _, ir in wanted} | {Irrep("0e")}
        found = [
            (i, j, mul, ir)
            for i, (mul, ir_in) in enumerate(senders)
            for j, (_, ir_edge) in enumerate(harmonics)
            for ir in ir_in * ir_edge
            if ir in kept
        ]
        self.irreps_in = senders
        sorted_blocks = Irreps([(mul, ir) for *_, mul, ir in found]).sort()
        self.irreps_out: Irreps = sorted_blocks.irreps
        self.n_weights = sum(mul for *_, mul, _ in found)

        products: dict[tuple[int, int], list[_Path]] = {}
        first = 0
        for (i, j, mul, ir), block in zip(found, sorted_blocks.p, strict=True):
            name = self._coupling(senders[i].ir.l, harmonics[j].ir.l, ir.l)
            path = _Path(block, slice(first, first + mul), name)
            products.setdefault((i, j), []).append(path)
            first += mul
        # Weights of one product side by side, paths first.
        indices = range(first)
        order = [n for group in products.values() for path in group for n in indices[path.weights]]
        self.register_buffer("order", torch.tensor(order), persistent=False)
        self._products: list[list[_Product]] = [[] for _ in senders]
        first = 0
        for (i, j), group in products.items():
            stop = first + senders[i].mul * len(group)
            product = _Product(harmonics.slices()[j], slice(first, stop), tuple(group))
            self._products[i].append(product)
            first = stop

    def _coupling(self, l1: int, l2: int, l3: int) -> str:
        """Name of the buffer with the 3j symbols, shape ((2 l1 + 1)(2 l2 + 1), 2 l3 + 1)."""
        name = f"coupling_{l1}_{l2}_{l3}"
        if not hasattr(self, name):
            symbols = wigner_3j(l1, l2, l3).reshape(-1, 2 * l3 + 1) * (2 * l3 + 1) ** 0.5
            self.register_buffer(name, symbols, persistent=False)
        return name

    def forward(
        self,
        features: torch.Tensor,
        senders: torch.Tensor,
        harmonics: torch.Tensor,
        hidden: torch.Tensor,
        radial: RadialNetwork,
    ) -> torch.Tensor:
        """Sum the messages of the edges into each receiver.

        Parameters
        ----------
        features
            Features of the senders, shape (atoms, ``irreps_in.dim``).
        senders
            Index of the sender of each edge, shape (receivers, neighbors).
        harmonics
            Spherical harmonics of the edges, shape (receivers, neighbors, (lmax + 1)^2), zero for
            padding.
        hidden
            Hidden layer of the radial network, shape (receivers, neighbors, hidden).
        radial
            The radial network.

        Returns
        -------
        torch.Tensor
            Shape (receivers, ``irreps_out.dim``).
        """
        z, n = senders.shape
        blocks: list[torch.Tensor] = [features.new_empty(0)] * len(self.irreps_out)
        matrix = radial.layer1.matrix[:, self.order]
        weights = matrix.T @ hidden.transpose(1, 2)  # (z, weights, n)
        columns = self.irreps_in.slices()
        for (mul, ir), column, products in zip(
            self.irreps_in, columns, self._products, strict=True
        ):
            # (z, 1, channel, component, n): the sum over neighbors is the innermost.
            sent = features[:, column].view(-1, mul, ir.dim)[senders].permute(0, 2, 3, 1)
            sent = sent.contiguous().unsqueeze(1)
            for product in products:
                p = len(product.paths)
                weighted = sent * weights[:, product.weights].view(z, p, mul, 1, n)
                summed = weighted.view(z, -1, n) @ harmonics[:, :, product.harmonic]
                summed = summed.view(z, p, mul, -1)
                for k, path in enumerate(product.paths):
                    coupled = summed[:, k] @ getattr(self, path.coupling)
                    blocks[path.block] = coupled.reshape(z, -1)
        return torch.cat(blocks, dim=1)
