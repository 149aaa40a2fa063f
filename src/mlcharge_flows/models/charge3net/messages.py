r"""Messages summed over the neighbors of each receiver: the costly part of a convolution.

Each path (l1, l2 -> l3) takes channels u of the sender's features and a harmonic of the edge,

.. math::

    m_{zuk} = \sqrt{2 l_3 + 1} \sum_{e \to z} w_{eu} \sum_{ij} C_{ijk}\, A_{s(e)ui}\, Y_{ej},

with one weight w per edge, channel and path from the radial network, and Wigner's 3j symbols C. The
sum over the edges needs no C, so it comes first, as a product of matrices; C then acts once per
receiver instead of once per edge. ``benchmarks/charge3net.py`` times it against
``e3nn.o3.TensorProduct``, which the tests keep beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from e3nn.o3 import Irrep, Irreps, wigner_3j
from torch import nn

if TYPE_CHECKING:
    from mlcharge_flows.models.charge3net.radial import RadialNetwork


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
    """Sum of the neighbors' messages; see the module's text.

    Parameters
    ----------
    senders
        Channels of the senders' features.
    harmonics
        Spherical harmonics of an edge.
    wanted
        Irreps that are kept; scalars always are.

    Attributes
    ----------
    irreps_out
        Channels of the sums, one block per path, sorted.
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
        start = 0
        for (i, j, mul, ir), block in zip(found, sorted_blocks.p, strict=True):
            name = self._coupling(senders[i].ir.l, harmonics[j].ir.l, ir.l)
            path = _Path(block, slice(start, start + mul), name)
            products.setdefault((i, j), []).append(path)
            start += mul
        # Weights of one product side by side, paths first.
        every = range(start)
        order = [n for group in products.values() for path in group for n in every[path.weights]]
        self.register_buffer("order", torch.tensor(order), persistent=False)
        self._products: list[list[_Product]] = [[] for _ in senders]
        start = 0
        for (i, j), group in products.items():
            stop = start + senders[i].mul * len(group)
            product = _Product(harmonics.slices()[j], slice(start, stop), tuple(group))
            self._products[i].append(product)
            start = stop

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
        """Sum the messages into each receiver, shape (receivers, ``irreps_out.dim``).

        Parameters
        ----------
        features
            Features of the senders, shape (atoms, ``irreps_in.dim``).
        senders
            Shape (receivers, neighbors).
        harmonics
            Spherical harmonics of the edges, shape (receivers, neighbors, (lmax + 1)^2), zero for
            padding.
        hidden
            Hidden layer of the radial network, shape (receivers, neighbors, hidden).
        radial
            That network.
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
                weighed = sent * weights[:, product.weights].view(z, p, mul, 1, n)
                summed = weighed.view(z, -1, n) @ harmonics[:, :, product.harmonic]
                summed = summed.view(z, p, mul, -1)
                for k, path in enumerate(product.paths):
                    coupled = summed[:, k] @ getattr(self, path.coupling)
                    blocks[path.block] = coupled.reshape(z, -1)
        return torch.cat(blocks, dim=1)
