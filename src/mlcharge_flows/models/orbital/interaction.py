"""Interactions of neighboring sites: messages and products at the sites.

Features have the shape (sites, (lmax + 1)^2, channels), see
:mod:`mlcharge_flows.models.orbital.equivariant`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import nn

from mlcharge_flows.models.orbital.coupling import Coupling
from mlcharge_flows.models.orbital.equivariant import (
    EquivariantLinear,
    GauntProduct,
    degree_of_component,
    mlp,
    scatter_sum,
)

if TYPE_CHECKING:
    from mlcharge_flows.models.orbital.config import SiteConfig

_SITES_AT_ONCE = 16
"""Sites of a large crystal whose radial functions are computed at once: what the cache holds."""
_EDGES_AT_ONCE = 32
"""Edges of a site whose features the inner cache holds."""
MAX_SITES_AT_ONCE = 32
"""Sites up to which messages are computed for all sites at once."""


class Interaction(nn.Module):
    r"""Messages from the neighbors, products at the site, and a residual update.

    Messages carry the direction of a neighbor and its features,

    .. math::
        A_{ilm} = \frac{1}{\sqrt{\bar n}} \sum_j
            u_l(r_{ij}, s_i, s_j)\, Y_{lm}(\hat r_{ij}) + v_l(r_{ij}, s_i, s_j)\, h_{jlm} ,

    with MLPs u, v of the distance and the invariants s of both sites (channel index left out) and
    the mean number of neighbors :math:`\bar n`. They are linear in the angles and cheap per edge;
    many-body terms come from products at the sites, as in the atomic cluster expansion and MACE,
    and from the coupling to the features of the neighbors.

    Parameters
    ----------
    config
        Degrees, channels, widths of the MLPs, and factors of the products.
    n_edge
        Features of an edge.
    first
        Whether the sites have no features yet but their species; there is no coupling then.

    References
    ----------
    I. Batatia et al., NeurIPS 2022, arXiv:2206.07697 (MACE), section 4.
    R. Drautz, Phys. Rev. B 99, 014104 (2019).
    """

    degrees: torch.Tensor
    mean_neighbors: torch.Tensor

    def __init__(self, config: SiteConfig, n_edge: int, *, first: bool) -> None:
        super().__init__()
        lmax, n_channels, n_hidden = config.lmax, config.n_channels, config.n_hidden
        n_embedding, n_factors, n_coupled = config.n_embedding, config.n_factors, config.n_coupled
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
        # Features at the points of the coupling's quadrature, once for all neighbors.
        coupled = None
        if features is not None and self.coupling is not None:
            coupled = self.coupling.on_sphere(features)
        scalars = embedding if features is None else features[:, 0]
        updates = []
        for sites, chosen in _portions(centers, len(embedding)):
            center, neighbor, angular = centers[chosen], neighbors[chosen], harmonics[chosen]
            inputs = torch.cat([edges[chosen], scalars[center], scalars[neighbor]], dim=-1)
            weights = self.radial(inputs) * envelope[chosen, None]
            weights = weights.view(len(inputs), -1, self.lmax + 1, self.n_channels)
            local = center - sites.start
            aggregate = self._aggregate if _all_at_once(len(embedding)) else self._aggregate_by_site
            site = aggregate(weights, angular, local, neighbor, features, coupled, sites)
            updates.append(self._update(site, embedding[sites]))
        update = updates[0] if len(updates) == 1 else torch.cat(updates)
        return update if features is None else features + update

    def _aggregate(
        self,
        weights: torch.Tensor,
        harmonics: torch.Tensor,
        centers: torch.Tensor,
        neighbors: torch.Tensor,
        features: torch.Tensor | None,
        coupled: torch.Tensor | None,
        sites: slice,
    ) -> torch.Tensor:
        """Sum messages to some sites, whose number `centers` count from the first of them."""
        n_here, norm = sites.stop - sites.start, self.mean_neighbors**-0.5
        directions, center, neighbor, of_edge = self._pairs(weights, harmonics, centers, neighbors)
        if features is None:
            first: torch.Tensor = self.aggregated(norm * scatter_sum(directions, center, n_here))
            return first
        radial = scatter_sum(weights[:, 1] * harmonics[:, :1, None], of_edge, len(directions))
        messages = directions + _by_degree(radial, features.index_select(0, neighbor))
        site: torch.Tensor = self.aggregated(norm * scatter_sum(messages, center, n_here))
        site = site + self.residual(features[sites])
        if self.coupling is not None and coupled is not None:
            where = self.coupling.direction_of_pairs(directions)
            site = site + norm * self.coupling.summed(where, coupled, center, neighbor, n_here)
        return site

    def _aggregate_by_site(
        self,
        weights: torch.Tensor,
        harmonics: torch.Tensor,
        centers: torch.Tensor,
        neighbors: torch.Tensor,
        features: torch.Tensor | None,
        coupled: torch.Tensor | None,
        sites: slice,
    ) -> torch.Tensor:
        """Do :meth:`_aggregate` without gradients, for ascending centers, one site after the other.

        What a few edges need stays in the inner cache, in arrays that are not made anew: a large
        crystal is bound by memory otherwise. Edges of one pair are not summed first.

        Returns
        -------
        torch.Tensor
            Shape (sites, (lmax + 1)^2, n_channels).
        """
        counts = centers.bincount(minlength=sites.stop - sites.start)
        norm = self.mean_neighbors**-0.5
        messages = weights.new_zeros(len(counts), len(self.degrees), self.n_channels)
        products = None
        if self.coupling is not None and coupled is not None:
            products = coupled.new_zeros(len(counts), *coupled.shape[1:])
            angular, mapped = self.coupling.factors_of_edges(weights[:, 0], harmonics)
            directions, around = coupled.new_empty(2, _EDGES_AT_ONCE, *coupled.shape[1:])
        components = torch.arange(len(self.degrees), device=weights.device)
        first = 0
        for site, count in enumerate(counts.tolist()):
            for low in range(first, first + count, _EDGES_AT_ONCE):
                some = slice(low, min(low + _EDGES_AT_ONCE, first + count))
                n, senders = some.stop - some.start, neighbors[some]
                # All degrees of the weights with all of the harmonics in one matrix product.
                every = harmonics[some].T @ weights[some, 0].flatten(1)
                every = every.view(len(components), -1, self.n_channels)
                messages[site] += every[components, self.degrees]
                if features is not None:
                    radial = weights[some, 1] * harmonics[some, :1, None]
                    sent = features.index_select(0, senders)
                    messages[site] += (radial[:, self.degrees] * sent).sum(0)
                if coupled is not None and products is not None:
                    torch.bmm(angular[some], mapped[some], out=directions[:n])
                    torch.index_select(coupled, 0, senders, out=around[:n])
                    products[site] += directions[:n].mul_(around[:n]).sum(0)
            first += count
        aggregated: torch.Tensor = self.aggregated(norm * messages)
        if features is None:
            return aggregated
        aggregated = aggregated + self.residual(features[sites])
        if self.coupling is not None and products is not None:
            aggregated = aggregated + norm * self.coupling.to_components(products)
        return aggregated

    @staticmethod
    def _pairs(
        weights: torch.Tensor,
        harmonics: torch.Tensor,
        centers: torch.Tensor,
        neighbors: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Weighted directions of all pairs of sites, both sites of each, and pair of each edge."""
        n_sites = int(neighbors.max()) + 1 if len(neighbors) else 1
        pairs, of_edge = (centers * n_sites + neighbors).unique(return_inverse=True)
        # All that is linear in the direction is summed over the edges of a pair first.
        directions = scatter_sum(
            _by_degree(weights[:, 0], harmonics[:, :, None]), of_edge, len(pairs)
        )
        return directions, pairs // n_sites, pairs % n_sites, of_edge

    def _update(self, site: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """Update of the features of some sites, from what they have aggregated."""
        factors = self.factors(site).unflatten(-1, (self.n_factors, self.n_channels))
        update = self.update(torch.cat([site, *self.product(factors)], dim=-1))

        # Gates and the MLP of the invariants add what is not polynomial.
        invariants = torch.cat([update[:, 0], embedding], dim=-1)
        gates = self.gate(invariants).view(-1, self.lmax + 1, self.n_channels)
        gates = gates.index_select(1, self.degrees)
        update = 2 * torch.sigmoid(gates) * update
        scalar = update[:, :1] + self.scalar(invariants)[:, None]
        return torch.cat([scalar, update[:, 1:]], dim=1)


def _portions(centers: torch.Tensor, n_sites: int) -> list[tuple[slice, slice | torch.Tensor]]:
    """Divide the sites to portions, and the edges to them: all at once where gradients are wanted.

    Returns
    -------
    list of tuple
        Sites, and their edges. The messages of one portion fit into the cache, and need no memory
        that grows with the crystal.
    """
    if _all_at_once(n_sites):
        return [(slice(0, n_sites), slice(0, len(centers)))]
    first = list(range(0, n_sites, _SITES_AT_ONCE))
    order = torch.argsort(centers, stable=True)
    edges = torch.searchsorted(centers[order], torch.tensor([*first, n_sites])).tolist()
    return [
        (slice(low, min(low + _SITES_AT_ONCE, n_sites)), order[begin:end])
        for low, (begin, end) in zip(first, pairwise(edges), strict=True)
    ]


def _all_at_once(n_sites: int) -> bool:
    return n_sites <= MAX_SITES_AT_ONCE or torch.is_grad_enabled()


def _by_degree(weights: torch.Tensor, components: torch.Tensor) -> torch.Tensor:
    """Multiply components by the weight of their degree, without a copy of the weights."""
    sizes = [2 * degree + 1 for degree in range(weights.shape[1])]
    parts = zip(weights.split(1, dim=1), components.split(sizes, dim=1), strict=True)
    return torch.cat([weight * part for weight, part in parts], dim=1)
