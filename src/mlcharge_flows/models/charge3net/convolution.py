r"""The equivariant convolution of ChargE3Net (equation 4 of the paper), and the gate after it.

A receiver i hears the atoms j of its neighborhood and keeps a share of what it was,

.. math::

    A_i' = \cos\theta_i\, W_3 A_i + \sin\theta_i\, W_1 \frac{1}{\sqrt{n}} \sum_j
        (W_2 A_j) \otimes R(r_{ij}) Y(\hat r_{ij}),

with an angle that is learned from the scalars of the sum. Senders and receivers are the same atoms,
or atoms and probes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from e3nn.nn import Gate
from e3nn.o3 import Irrep, Irreps, Linear
from torch import nn

from mlcharge_flows.models.charge3net.messages import Messages
from mlcharge_flows.models.charge3net.radial import RadialNetwork

if TYPE_CHECKING:
    from mlcharge_flows.models.charge3net.config import ChargE3NetConfig

HIDDEN = 100
"""Width of the radial networks."""
ANGLE = 0.1
"""Scale of the angle: a fresh network keeps nearly all of what it was."""


class Convolution(nn.Module):
    """Messages from neighbors, mixed with the receiver's own features; see the module's text.

    The names of the parts are those of the published checkpoints.

    Parameters
    ----------
    senders, receivers
        Channels of their features.
    irreps_out
        Channels of the result.
    config
        Size of the network.
    """

    def __init__(
        self, senders: Irreps, receivers: Irreps, irreps_out: Irreps, config: ChargE3NetConfig
    ) -> None:
        super().__init__()
        self.scale = config.num_neighbors**-0.5
        self.messages = Messages(senders, config.harmonics, irreps_out)
        summed = self.messages.irreps_out.simplify()
        self.sc = Linear(receivers, irreps_out)
        self.lin1 = Linear(senders, senders)
        self.fc = RadialNetwork(config.num_basis, HIDDEN, self.messages.n_weights)
        self.lin2 = Linear(summed, irreps_out)
        self.lin3 = Linear(summed, "0e")

    def forward(
        self,
        sent: torch.Tensor,
        received: torch.Tensor,
        senders: torch.Tensor,
        harmonics: torch.Tensor,
        basis: torch.Tensor,
    ) -> torch.Tensor:
        """New features of the receivers, shape (receivers, channels).

        Parameters
        ----------
        sent
            Features of the senders, shape (atoms, channels).
        received
            Features of the receivers before, shape (receivers, channels).
        senders
            Sender of each edge, shape (receivers, neighbors).
        harmonics
            Spherical harmonics of the edges, zero for padding.
        basis
            Radial functions of the edges.
        """
        hidden = self.fc.hidden(basis)
        summed = self.messages(self.lin1(sent), senders, harmonics, hidden, self.fc) * self.scale
        angle = ANGLE * self.lin3(summed)
        # Channels that the receiver had no way into are not mixed with anything.
        share = torch.where(self.sc.output_mask > 0, angle.sin(), 1.0)
        return angle.cos() * self.sc(received) + share * self.lin2(summed)


def gate(receivers: Irreps, config: ChargE3NetConfig) -> Gate:
    """The nonlinearity after a convolution: SiLU and tanh for scalars, gates for the rest.

    Channels are those of the hidden layer that an edge can make of the receiver's.

    Parameters
    ----------
    receivers
        Channels of the receivers' features before the convolution.
    config
        Size of the network.

    Returns
    -------
    e3nn.nn.Gate
        Its ``irreps_in`` is what the convolution has to give.
    """
    reached = {ir for _, a in receivers for _, b in config.harmonics for ir in a * b}
    hidden = [(mul, ir) for mul, ir in config.irreps if ir in reached]
    scalars = Irreps([(mul, ir) for mul, ir in hidden if ir.l == 0]).simplify()
    gated = Irreps([(mul, ir) for mul, ir in hidden if ir.l > 0])
    kind = Irrep("0e") if Irrep("0e") in reached else Irrep("0o")
    gates = Irreps([(mul, kind) for mul, _ in gated]).simplify()
    of_scalars = {1: nn.functional.silu, -1: torch.tanh}
    of_gates = {1: torch.sigmoid, -1: torch.tanh}
    return Gate(
        scalars,
        [of_scalars[ir.p] for _, ir in scalars],
        gates,
        [of_gates[ir.p] for _, ir in gates],
        gated,
    )
