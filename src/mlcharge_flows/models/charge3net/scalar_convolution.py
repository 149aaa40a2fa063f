r"""The convolutions of the probes, restricted to scalars.

The density at a probe is read from the scalars (0e) of its last layer. Probes receive messages from
atoms alone, the residual connection is linear and equivariant, and the gates leave scalars among
themselves: the scalars of a layer follow from those of the layer before, and features of other
irreps never reach the density. So only the paths :math:`l \otimes l \to 0` are summed,

.. math::
    m_{zu} = \frac{1}{\sqrt{2 l_u + 1}} \sum_{e \to z} w_{eu} \sum_i A_{s(e)ui}\, Y_{ei},

where each edge costs a few products per channel of the atoms. The result is that of
:class:`.convolution.Convolution`, the reference of the tests, and so are the weights: those of all
other paths are kept, as published checkpoints have them, with gradients of zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import torch
from e3nn.math import normalize2mom
from e3nn.o3 import Irrep, Irreps, Linear
from torch import nn
from torch.nn.functional import pad
from typing_extensions import override

from mlcharge_flows.models.charge3net.convolution import ANGLE_SCALE, Convolution

if TYPE_CHECKING:
    from mlcharge_flows.models.charge3net.config import ChargE3NetConfig
    from mlcharge_flows.models.charge3net.convolution import Messages

_SCALAR = Irrep("0e")


@dataclass(frozen=True, eq=False)
class EdgesBySender:
    """Edges into probes, without padding, those of one sender side by side.

    Parameters
    ----------
    senders
        Indices of the atoms that have edges, ascending, shape (senders,).
    counts
        Number of edges of each.
    receivers
        Index of the probe of each edge, shape (edges,).
    vectors
        From the probe to the atom, angstrom, shape (edges, 3).
    n_receivers
        Number of probes.
    """

    senders: torch.Tensor
    counts: list[int]
    receivers: torch.Tensor
    vectors: torch.Tensor
    n_receivers: int

    @classmethod
    def of(cls, senders: torch.Tensor, vectors: torch.Tensor, present: torch.Tensor) -> Self:
        """Sort padded edges.

        Parameters
        ----------
        senders
            Index of the sending atom, shape (receivers, neighbors).
        vectors
            Shape (receivers, neighbors, 3).
        present
            False for padding, shape (receivers, neighbors).

        Returns
        -------
        EdgesBySender
            The edges that are present.
        """
        receivers = present.nonzero()[:, 0]
        ordered, order = senders[present].sort(stable=True)
        found, counts = ordered.unique_consecutive(return_counts=True)
        return cls(found, counts.tolist(), receivers[order], vectors[present][order], len(present))


@dataclass(frozen=True)
class ScalarPath:
    """A path from features and harmonic of the same angular momentum to scalars.

    Parameters
    ----------
    features
        Components of the sender.
    harmonic
        Components of the spherical harmonics.
    weights
        Weights in the checkpoint's order, one per channel.
    coupling
        The 3j symbol of each product of equal components.
    """

    features: slice
    harmonic: slice
    weights: slice
    coupling: float


def scalar_paths(messages: Messages) -> list[ScalarPath]:
    """Paths to scalars (0e), in the order of their channels in ``irreps_out``.

    Parameters
    ----------
    messages
        Tensor products of a convolution.

    Returns
    -------
    list of ScalarPath
        At most one per angular momentum.
    """
    return [
        ScalarPath(
            column, product.harmonic, path.weights, float(getattr(messages, path.coupling)[0, 0])
        )
        for column, products in zip(messages.irreps_in.slices(), messages._products, strict=True)
        for product in products
        for path in product.paths
        if messages.irreps_out[path.block].ir == _SCALAR
    ]


class ScalarConvolution(Convolution):
    """A convolution whose receivers have no features but scalars; see the module's text.

    Parameters
    ----------
    senders
        Irreps of the features of the senders.
    receivers
        Irreps of the features of the receivers in the published network.
    irreps_out
        Irreps of its result there, scalars of the gated nonlinearity first.
    config
        Size of the network.
    """

    columns: torch.Tensor

    def __init__(
        self, senders: Irreps, receivers: Irreps, irreps_out: Irreps, config: ChargE3NetConfig
    ) -> None:
        super().__init__(senders, receivers, irreps_out, config)
        self.paths = scalar_paths(self.messages)
        self.n_scalars = config.channels(0)
        self.n_harmonics = config.harmonics.dim
        # Order of the checkpoint: the weights of every path are side by side.
        order = [n for path in self.paths for n in range(path.weights.start, path.weights.stop)]
        self.register_buffer("columns", torch.tensor(order), persistent=False)
        self.n_channels = len(order)
        self.activation = normalize2mom(nn.functional.silu)

    def sources(self, sender_features: torch.Tensor) -> torch.Tensor:
        """Coefficients of the harmonics in the messages of each sender, without radial functions.

        Parameters
        ----------
        sender_features
            Shape (atoms, components).

        Returns
        -------
        torch.Tensor
            Shape (atoms, (lmax + 1)^2, channels).
        """
        features = self.lin1(sender_features)
        blocks = []
        for path in self.paths:
            before, stop = path.harmonic.start, path.harmonic.stop
            block = features[:, path.features].view(len(features), -1, stop - before).mT
            blocks.append(pad(block * path.coupling, (0, 0, before, self.n_harmonics - stop)))
        return torch.cat(blocks, dim=-1)

    @override
    def forward(  # type: ignore[override]
        self,
        sources: torch.Tensor,
        scalars: torch.Tensor,
        edges: EdgesBySender,
        harmonics: torch.Tensor,
        basis: torch.Tensor,
    ) -> torch.Tensor:
        """Update the scalars of the receivers and apply their nonlinearity.

        Parameters
        ----------
        sources
            Of the senders, see :meth:`sources`.
        scalars
            Before the update, shape (receivers, channels).
        edges
            The edges.
        harmonics
            Spherical harmonics of the edges, shape (edges, (lmax + 1)^2).
        basis
            Radial functions of the edges, shape (edges, num_basis).

        Returns
        -------
        torch.Tensor
            Shape (receivers, channels).
        """
        weights = self.fc.hidden(basis) @ self.fc.layer1.columns(self.columns)
        products = [harmonics[:0] @ sources[0]]  # there may be no edges
        for values, source in zip(
            harmonics.split(edges.counts), sources[edges.senders], strict=True
        ):
            products.append(values @ source)
        messages = weights * torch.cat(products)
        summed = messages.new_zeros(edges.n_receivers, messages.shape[1])
        summed = summed.index_add(0, edges.receivers, messages).to(scalars.dtype) * self.scale
        angle = ANGLE_SCALE * (summed @ scalar_matrix(self.lin3))
        residual = scalars @ scalar_matrix(self.sc)[:, : self.n_scalars]
        update = summed @ scalar_matrix(self.lin2)[:, : self.n_scalars]
        mixed: torch.Tensor = self.activation(angle.cos() * residual + angle.sin() * update)
        return mixed


def scalar_matrix(linear: Linear) -> torch.Tensor:
    """Matrix from the scalars to the scalars of a linear layer.

    Parameters
    ----------
    linear
        The layer, with one block of scalars (0e) on either side.

    Returns
    -------
    torch.Tensor
        Shape (inputs, outputs).
    """
    matrices: list[torch.Tensor] = [
        path.path_weight * linear.weight_view_for_instruction(index)
        for index, path in enumerate(linear.instructions)
        if linear.irreps_in[path.i_in].ir == linear.irreps_out[path.i_out].ir == _SCALAR
    ]
    (matrix,) = matrices
    return matrix
