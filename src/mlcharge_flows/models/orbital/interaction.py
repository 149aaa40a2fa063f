r"""One round of message passing: what a site hears of its neighbors, and makes of it.

Messages carry the direction of a neighbor and the neighbor's own features,

.. math::
    A_{ilm} = \frac{1}{\sqrt{\bar n}} \sum_j
        u_l(r_{ij}, s_i, s_j)\, Y_{lm}(\hat r_{ij}) + v_l(r_{ij}, s_i, s_j)\, h_{jlm} ,

with u, v perceptrons of the distance and the invariants s of both sites (channel index left out);
for neighbors that agree in these, the sum over the harmonics alone is left.
This is linear in the angles and cheap per pair; many-body terms come from products at the sites,
as in the atomic cluster expansion and MACE, and from the coupling of neighbors.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from mlcharge_flows.models.orbital.coupling import Coupling
from mlcharge_flows.models.orbital.degrees import DegreeLinear, degree_of_component
from mlcharge_flows.models.orbital.sphere_product import SphereProduct
from mlcharge_flows.models.orbital.summed import summed


def perceptron(n_in: int, n_hidden: int, n_out: int, *, depth: int = 1) -> nn.Sequential:
    """Perceptron with SiLU between its layers."""
    widths = [n_in, *[n_hidden] * depth]
    layers: list[nn.Module] = []
    for wide, narrow in pairwise(widths):
        layers += [nn.Linear(wide, narrow), nn.SiLU()]
    return nn.Sequential(*layers, nn.Linear(n_hidden, n_out))


class Interaction(nn.Module):
    """Messages from the neighbors, products at the site, and a residual update.

    Parameters
    ----------
    lmax
        Highest degree.
    n_channels
        Features per component.
    n_pair, n_embedding, n_hidden
        Numbers that describe a pair and an element, and width of the perceptrons.
    n_factors
        Factors of the products.
    first
        Whether sites carry nothing but their species yet.
    n_coupled
        Channels of the coupling of neighbors; a first round has none.
    """

    degrees: torch.Tensor
    mean_neighbours: torch.Tensor

    def __init__(
        self,
        lmax: int,
        n_channels: int,
        n_pair: int,
        n_embedding: int,
        n_hidden: int,
        n_factors: int,
        *,
        first: bool,
        n_coupled: int = 0,
    ) -> None:
        super().__init__()
        self.lmax, self.n_channels, self.n_factors, self.first = lmax, n_channels, n_factors, first
        n_kinds, n_scalars = (1, n_embedding) if first else (2, n_channels)
        per_degree = (lmax + 1) * n_channels
        self.weights = perceptron(n_pair + 2 * n_scalars, n_hidden, n_kinds * per_degree, depth=2)
        self.heard = DegreeLinear(n_channels, n_channels, lmax)
        if not first:
            self.kept = DegreeLinear(n_channels, n_channels, lmax)
        self.coupling = None if first or not n_coupled else Coupling(lmax, n_channels, n_coupled)
        self.factors = DegreeLinear(n_channels, n_factors * n_channels, lmax)
        self.product = SphereProduct(lmax, n_factors)
        self.mixed = DegreeLinear(n_factors * n_channels, n_channels, lmax)
        self.gate = perceptron(n_channels + n_embedding, n_hidden, per_degree)
        self.scalar = perceptron(n_channels + n_embedding, n_hidden, n_channels)
        self.register_buffer("degrees", degree_of_component(lmax), persistent=False)
        self.register_buffer("mean_neighbours", torch.tensor(30.0))

    def silence(self) -> None:
        """Let a later round change nothing, until it is trained."""
        for last in (self.mixed, self.scalar[-1]):
            for parameter in last.parameters():
                nn.init.zeros_(parameter)

    def forward(
        self,
        features: torch.Tensor | None,
        embedding: torch.Tensor,
        pairs: torch.Tensor,
        envelope: torch.Tensor,
        directions: torch.Tensor,
        centers: torch.Tensor,
        others: torch.Tensor,
    ) -> torch.Tensor:
        """Update the features of all sites.

        Parameters
        ----------
        features
            Shape (sites, components, channels); None in the first round.
        embedding
            Of the species of each site, shape (sites, n_embedding).
        pairs
            What describes each pair, shape (pairs, n_pair).
        envelope
            Smooth cutoff of each pair, shape (pairs,).
        directions
            Harmonics of each pair, shape (pairs, components), of mean square 1; sums over equal
            neighbors, whose number is the first component.
        centers, others
            Sites of each pair.
        """
        n_sites, few = len(embedding), self.mean_neighbours**-0.5
        bonds, of_pair = (centers * n_sites + others).unique(return_inverse=True)
        center, other = bonds // n_sites, bonds % n_sites
        scalars = embedding if features is None else features[:, 0]
        described = torch.cat([pairs, scalars[centers], scalars[others]], dim=-1)
        weights = self.weights(described) * envelope[:, None]
        weights = weights.view(len(centers), -1, self.lmax + 1, self.n_channels)
        # All that is linear in a neighbor is summed over its images first.
        images = directions[:, :1, None]
        where = summed(_by_degree(weights[:, 0], directions[:, :, None]), of_pair, len(bonds))
        if features is None:
            own = self.heard(few * summed(where, center, n_sites))
        else:
            radial = summed(weights[:, 1] * images, of_pair, len(bonds))
            messages = where + _by_degree(radial, features.index_select(0, other))
            own = self.heard(few * summed(messages, center, n_sites)) + self.kept(features)
            if self.coupling is not None:
                own = own + few * self.coupling(features, where, center, other)
        factors = self.factors(own).unflatten(-1, (self.n_factors, self.n_channels))
        update = self.mixed(torch.cat([own, *self.product(factors)], dim=-1))

        # Gates and the perceptron of the invariants add what is not polynomial.
        invariants = torch.cat([update[:, 0], embedding], dim=-1)
        gates = self.gate(invariants).view(-1, self.lmax + 1, self.n_channels)
        gates = gates.index_select(1, self.degrees)
        update = 2 * torch.sigmoid(gates) * update
        scalar = update[:, :1] + self.scalar(invariants)[:, None]
        update = torch.cat([scalar, update[:, 1:]], dim=1)
        return update if features is None else features + update


def _by_degree(weights: torch.Tensor, components: torch.Tensor) -> torch.Tensor:
    """Multiply components by weights of their degree; to repeat these would be twice the work."""
    sizes = [2 * degree + 1 for degree in range(weights.shape[1])]
    parts = zip(weights.split(1, dim=1), components.split(sizes, dim=1), strict=True)
    return torch.cat([weight * part for weight, part in parts], dim=1)
