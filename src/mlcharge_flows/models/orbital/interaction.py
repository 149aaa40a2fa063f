r"""One interaction: messages from the neighbors, products at the site, residual update.

Messages carry the direction of a neighbor and its features,

.. math::
    A_{ilm} = \frac{1}{\sqrt{\bar n}} \sum_j
        u_l(r_{ij}, s_i, s_j)\, Y_{lm}(\hat r_{ij}) + v_l(r_{ij}, s_i, s_j)\, h_{jlm} ,

with MLPs u, v of the distance and the invariants s of both sites (channel index left out) and the
mean number of neighbors :math:`\bar n`. Messages are linear in the angles and cheap per edge;
many-body terms come from products at the sites, as in the atomic cluster expansion and MACE, and
from the coupling to the features of the neighbors.

References
----------
I. Batatia et al., NeurIPS 2022, arXiv:2206.07697 (MACE), section 4.
R. Drautz, Phys. Rev. B 99, 014104 (2019).
"""

from __future__ import annotations

import torch
from torch import nn

from mlcharge_flows.models.orbital.equivariant import (
    EquivariantLinear,
    GauntProduct,
    degree_of_component,
    mlp,
)
from mlcharge_flows.models.orbital.graph import scatter_sum


class Coupling(nn.Module):
    r"""Gaunt products of the directions to the neighbors and the neighbors' features.

    .. math::
        C_{ilm} = \sum_j \int Y_{lm}(\Omega)\, a_{ij}(\Omega)\, h_j(\Omega)\, d\Omega ,

    with the features h of the neighbor, and :math:`a_{ij}` the weighted harmonics of the directions
    to all its images: one product for a pair of sites, not one for every edge. Messages alone carry
    the direction or the features; the product carries how the features of a neighbor are oriented
    relative to the bond.

    Parameters
    ----------
    lmax
        Highest degree.
    n_channels
        Channels of the features, in and out.
    n_coupled
        Channels of the products.
    """

    def __init__(self, lmax: int, n_channels: int, n_coupled: int) -> None:
        super().__init__()
        self.direction = EquivariantLinear(n_channels, n_coupled, lmax)
        self.feature = EquivariantLinear(n_channels, n_coupled, lmax)
        self.product = GauntProduct(lmax, 2)
        self.update = EquivariantLinear(n_coupled, n_channels, lmax)

    def zero_init(self) -> None:
        """Set the output to zero: the coupling changes nothing before it is trained."""
        nn.init.zeros_(self.update.weight)

    def forward(
        self,
        features: torch.Tensor,
        directions: torch.Tensor,
        centers: torch.Tensor,
        neighbors: torch.Tensor,
    ) -> torch.Tensor:
        """Sum of the products over the neighbors of every site.

        Parameters
        ----------
        features
            Of all sites, shape (sites, (lmax + 1)^2, n_channels).
        directions
            Weighted harmonics of the directions, shape (pairs, (lmax + 1)^2, n_channels).
        centers, neighbors
            Receiving and sending site of each pair, shape (pairs,).

        Returns
        -------
        torch.Tensor
            Shape (sites, (lmax + 1)^2, n_channels).
        """
        direction = self.product.values @ self.direction(directions)
        feature = self.product.values @ self.feature(features)
        products = scatter_sum(
            direction * feature.index_select(0, neighbors), centers, len(features)
        )
        update: torch.Tensor = self.update(self.product.weighted.T @ products)
        return update


class Interaction(nn.Module):
    """Messages from the neighbors, products at the site, and a residual update.

    Parameters
    ----------
    lmax
        Highest degree.
    n_channels
        Channels of the features.
    n_edge, n_embedding, n_hidden
        Features of an edge and of a species, and width of the MLPs.
    n_factors
        Largest number of factors of the products.
    first
        Whether the sites have no features yet but their species.
    n_coupled
        Channels of the coupling; the first interaction has none.
    """

    degrees: torch.Tensor
    mean_neighbors: torch.Tensor

    def __init__(
        self,
        lmax: int,
        n_channels: int,
        n_edge: int,
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
        self.radial = mlp(n_edge + 2 * n_scalars, n_hidden, n_kinds * per_degree, depth=2)
        self.aggregated = EquivariantLinear(n_channels, n_channels, lmax)
        if not first:
            self.residual = EquivariantLinear(n_channels, n_channels, lmax)
        self.coupling = None if first or not n_coupled else Coupling(lmax, n_channels, n_coupled)
        self.factors = EquivariantLinear(n_channels, n_factors * n_channels, lmax)
        self.product = GauntProduct(lmax, n_factors)
        self.update = EquivariantLinear(n_factors * n_channels, n_channels, lmax)
        self.gate = mlp(n_channels + n_embedding, n_hidden, per_degree)
        self.scalar = mlp(n_channels + n_embedding, n_hidden, n_channels)
        self.register_buffer("degrees", degree_of_component(lmax), persistent=False)
        self.register_buffer("mean_neighbors", torch.tensor(30.0))

    def zero_init(self) -> None:
        """Set the update to zero: a later interaction changes nothing before it is trained."""
        for last in (self.update, self.scalar[-1]):
            for parameter in last.parameters():
                nn.init.zeros_(parameter)

    def forward(
        self,
        features: torch.Tensor | None,
        embedding: torch.Tensor,
        edges: torch.Tensor,
        envelope: torch.Tensor,
        harmonics: torch.Tensor,
        centers: torch.Tensor,
        neighbors: torch.Tensor,
    ) -> torch.Tensor:
        """Update the features of all sites.

        Parameters
        ----------
        features
            Shape (sites, (lmax + 1)^2, n_channels); None in the first interaction.
        embedding
            Of the species of each site, shape (sites, n_embedding).
        edges
            Features of each edge, shape (edges, n_edge).
        envelope
            Smooth cutoff of each edge, shape (edges,).
        harmonics
            Harmonics of each edge, shape (edges, (lmax + 1)^2), normalized to a mean square of 1
            per direction and summed over its images, whose number is the first component.
        centers, neighbors
            Receiving and sending site of each edge, shape (edges,).

        Returns
        -------
        torch.Tensor
            Shape (sites, (lmax + 1)^2, n_channels).
        """
        n_sites, norm = len(embedding), self.mean_neighbors**-0.5
        pairs, pair_of_edge = (centers * n_sites + neighbors).unique(return_inverse=True)
        center, neighbor = pairs // n_sites, pairs % n_sites
        scalars = embedding if features is None else features[:, 0]
        inputs = torch.cat([edges, scalars[centers], scalars[neighbors]], dim=-1)
        weights = self.radial(inputs) * envelope[:, None]
        weights = weights.view(len(centers), -1, self.lmax + 1, self.n_channels)
        # All that is linear in the direction is summed over the edges of a pair first.
        n_images = harmonics[:, :1, None]
        directions = scatter_sum(
            _by_degree(weights[:, 0], harmonics[:, :, None]), pair_of_edge, len(pairs)
        )
        if features is None:
            site = self.aggregated(norm * scatter_sum(directions, center, n_sites))
        else:
            radial = scatter_sum(weights[:, 1] * n_images, pair_of_edge, len(pairs))
            messages = directions + _by_degree(radial, features.index_select(0, neighbor))
            site = self.aggregated(norm * scatter_sum(messages, center, n_sites))
            site = site + self.residual(features)
            if self.coupling is not None:
                site = site + norm * self.coupling(features, directions, center, neighbor)
        factors = self.factors(site).unflatten(-1, (self.n_factors, self.n_channels))
        update = self.update(torch.cat([site, *self.product(factors)], dim=-1))

        # Gates and the MLP of the invariants add what is not polynomial.
        invariants = torch.cat([update[:, 0], embedding], dim=-1)
        gates = self.gate(invariants).view(-1, self.lmax + 1, self.n_channels)
        gates = gates.index_select(1, self.degrees)
        update = 2 * torch.sigmoid(gates) * update
        scalar = update[:, :1] + self.scalar(invariants)[:, None]
        update = torch.cat([scalar, update[:, 1:]], dim=1)
        return update if features is None else features + update


def _by_degree(weights: torch.Tensor, components: torch.Tensor) -> torch.Tensor:
    """Multiply components by the weight of their degree, without a copy of the weights."""
    sizes = [2 * degree + 1 for degree in range(weights.shape[1])]
    parts = zip(weights.split(1, dim=1), components.split(sizes, dim=1), strict=True)
    return torch.cat([weight * part for weight, part in parts], dim=1)
