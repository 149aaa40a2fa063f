r"""Equivariant layers: linear maps, Gaunt products, and interactions of neighboring sites.

Features are tensors of shape (sites, (lmax + 1)^2, channels): the irreps 0e + 1o + 2e + 3o + ..,
each with the same number of channels. Component :math:`l^2 + l + m` belongs to the real spherical
harmonic :math:`Y_{lm}` in VASP's order, so that expansion coefficients and augmentation
occupancies are read from features without a change of basis.
"""

from __future__ import annotations

from itertools import pairwise
from math import pi, sqrt
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from mlcharge_flows.density.harmonics import real_harmonics, sphere_quadrature

if TYPE_CHECKING:
    from mlcharge_flows.models.orbital.config import SiteConfig


def degree_of_component(lmax: int) -> torch.Tensor:
    """Degree l of each component (l, m).

    Parameters
    ----------
    lmax
        Highest degree.

    Returns
    -------
    torch.Tensor
        Integers, shape ((lmax + 1)^2,).

    Examples
    --------
    >>> degree_of_component(1).tolist()
    [0, 1, 1, 1]
    """
    degrees = torch.arange(lmax + 1)
    return torch.repeat_interleave(degrees, 2 * degrees + 1)


def scatter_sum(values: torch.Tensor, index: torch.Tensor, n: int) -> torch.Tensor:
    """Sum the rows that have the same index.

    Parameters
    ----------
    values
        Shape (rows, ..).
    index
        Row of the result that each row belongs to, shape (rows,).
    n
        Rows of the result.

    Returns
    -------
    torch.Tensor
        Shape (n, ..).

    Examples
    --------
    >>> scatter_sum(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0, 2, 0]), 3).tolist()
    [4.0, 0.0, 2.0]
    """
    return values.new_zeros(n, *values.shape[1:]).index_add(0, index, values)


def mlp(n_in: int, n_hidden: int, n_out: int, *, depth: int = 1) -> nn.Sequential:
    """Multilayer perceptron with SiLU activations between its layers.

    Parameters
    ----------
    n_in, n_hidden, n_out
        Width of the input, of every hidden layer and of the output.
    depth
        Number of hidden layers.

    Returns
    -------
    torch.nn.Sequential
        Takes shape (..., n_in) to (..., n_out).
    """
    widths = [n_in, *[n_hidden] * depth]
    layers: list[nn.Module] = []
    for wide, narrow in pairwise(widths):
        layers += [nn.Linear(wide, narrow), nn.SiLU()]
    return nn.Sequential(*layers, nn.Linear(n_hidden, n_out))


class EquivariantLinear(nn.Module):
    """Linear map of channels: one matrix per degree l, shared by its 2 l + 1 components.

    Parameters
    ----------
    n_in, n_out
        Channels of input and output.
    lmax
        Highest degree.
    """

    degrees: torch.Tensor

    def __init__(self, n_in: int, n_out: int, lmax: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(lmax + 1, n_in, n_out) / n_in**0.5)
        self.register_buffer("degrees", degree_of_component(lmax), persistent=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map the channels of features.

        Parameters
        ----------
        features
            Shape (sites, (lmax + 1)^2, n_in).

        Returns
        -------
        torch.Tensor
            Shape (sites, (lmax + 1)^2, n_out).
        """
        mapped = torch.bmm(features.transpose(0, 1), self.weight[self.degrees])
        return mapped.transpose(0, 1)


class GauntProduct(nn.Module):
    r"""Products of functions on the sphere, channel by channel.

    .. math::
        B^{(n)}_{lm} = \int Y_{lm}(\Omega)\, \prod_{p=1}^{n} a^{(p)}(\Omega)\, d\Omega, \qquad
        a^{(p)}(\Omega) = \sum_{lm} a^{(p)}_{lm} Y_{lm}(\Omega) ,

    evaluated by a quadrature that is exact for the degree of the integrand: equivariant to
    rounding, without tables of coupling coefficients. With two factors these are the tensor
    products whose coupling coefficients are Gaunt's, with n factors the many-body products of the
    atomic cluster expansion.

    Parameters
    ----------
    lmax
        Highest degree of the factors.
    n_factors
        Largest number of factors.
    lmax_out
        Highest degree of the products; `lmax` if not given.

    References
    ----------
    S. Luo, T. Chen and A. S. Krishnapriyan, ICLR 2024, arXiv:2401.10216, section 3 (Gaunt tensor
    product). R. Drautz, Phys. Rev. B 99, 014104 (2019), section II (products at a site).
    """

    values: torch.Tensor
    weighted: torch.Tensor

    def __init__(self, lmax: int, n_factors: int, lmax_out: int | None = None) -> None:
        super().__init__()
        self.n_factors = n_factors
        lmax_out = lmax if lmax_out is None else lmax_out
        points, weights = sphere_quadrature(lmax * n_factors + lmax_out)
        highest = max(lmax, lmax_out)
        all_ = np.concatenate(real_harmonics(highest, points), axis=-1) * sqrt(4 * pi)
        values, products = all_[:, : (lmax + 1) ** 2], all_[:, : (lmax_out + 1) ** 2]
        weighted = products * weights[:, None] / (4 * pi)
        for name, array in (("values", values), ("weighted", weighted)):
            tensor = torch.tensor(array, dtype=torch.get_default_dtype())
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, factors: torch.Tensor) -> list[torch.Tensor]:
        """Products of the first two, the first three, .. factors.

        Parameters
        ----------
        factors
            Shape (sites, (lmax + 1)^2, n_factors, channels).

        Returns
        -------
        list of torch.Tensor
            n_factors - 1 products, each of shape (sites, (lmax_out + 1)^2, channels).
        """
        sites, components, n_factors, channels = factors.shape
        on_sphere = (self.values @ factors.reshape(sites, components, -1)).view(
            sites, -1, n_factors, channels
        )
        product, products = on_sphere[:, :, 0], []
        for factor in range(1, self.n_factors):
            product = product * on_sphere[:, :, factor]
            products.append(self.weighted.T @ product)
        return products


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
