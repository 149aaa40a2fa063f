r"""One round of message passing: what a site hears of its neighbours, and makes of it.

Messages carry the direction of a neighbour and the neighbour's own features,

.. math::
    A_{ilm} = \frac{1}{\sqrt{\bar n}} \sum_j
        u_l(r_{ij}, s_i, s_j)\, Y_{lm}(\hat r_{ij}) + v_l(r_{ij}, s_i, s_j)\, h_{jlm} ,

with u, v perceptrons of the distance and the invariants s of both sites (channel index left out);
for neighbours that agree in these, the sum over the harmonics alone is left.
This is linear in the angles and cheap per pair; many-body terms come from products at the sites,
as in the atomic cluster expansion and MACE. The products are those of functions on the sphere,

.. math::
    B^{(n)}_{lm} = \int Y_{lm}(\Omega)\, \prod_{p=1}^{n} a^{(p)}(\Omega)\, d\Omega, \qquad
    a^{(p)}(\Omega) = \sum_{lm} a^{(p)}_{lm} Y_{lm}(\Omega) ,

taken by a quadrature that is exact for their degree: equivariant to rounding, without tables of
coupling coefficients.
"""

from __future__ import annotations

from itertools import pairwise
from math import pi, sqrt

import numpy as np
import torch
from torch import nn

from mlcharge_flows.density.harmonics import real_harmonics, sphere_quadrature
from mlcharge_flows.models.orbital.degrees import DegreeLinear, degree_of_component


def perceptron(n_in: int, n_hidden: int, n_out: int, *, depth: int = 1) -> nn.Sequential:
    """Perceptron with SiLU between its layers."""
    widths = [n_in, *[n_hidden] * depth]
    layers: list[nn.Module] = []
    for wide, narrow in pairwise(widths):
        layers += [nn.Linear(wide, narrow), nn.SiLU()]
    return nn.Sequential(*layers, nn.Linear(n_hidden, n_out))


class SphereProduct(nn.Module):
    """Products of two, three, .. functions on the sphere, channel by channel.

    Parameters
    ----------
    lmax
        Highest degree of the factors.
    n_factors
        Most factors.
    lmax_out
        Highest degree of the products; that of the factors if not given.
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
            Shape (sites, components, n_factors, channels).

        Returns
        -------
        list of torch.Tensor
            Each of shape (sites, components of the products, channels).
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
    """Products, on the sphere, of where a neighbour is and what it looks like.

    Messages alone carry the one or the other; only this tells which way the features of a
    neighbour point as seen along the bond. Products are linear in either factor, so the images of
    a neighbour may be summed before.

    Parameters
    ----------
    lmax
        Highest degree.
    n_channels
        Features per component, in and out.
    n_coupled
        Channels of the products.
    """

    def __init__(self, lmax: int, n_channels: int, n_coupled: int) -> None:
        super().__init__()
        self.where = DegreeLinear(n_channels, n_coupled, lmax)
        self.what = DegreeLinear(n_channels, n_coupled, lmax)
        self.product = SphereProduct(lmax, 2)
        self.mixed = DegreeLinear(n_coupled, n_channels, lmax)

    def silence(self) -> None:
        """Let it change nothing, until it is trained."""
        nn.init.zeros_(self.mixed.weight)

    def forward(
        self,
        features: torch.Tensor,
        directed: torch.Tensor,
        centres: torch.Tensor,
        others: torch.Tensor,
    ) -> torch.Tensor:
        """Sum over the neighbours of every site.

        Parameters
        ----------
        features
            Of all sites, shape (sites, components, channels).
        directed
            Where the neighbours are, shape (bonds, components, channels).
        centres, others
            Sites of each bond.
        """
        where = self.product.values @ self.where(directed)
        what = self.product.values @ self.what(features)
        products = where * what.index_select(0, others)
        sums = products.new_zeros(len(features), *products.shape[1:])
        return self.mixed(self.product.weighted.T @ sums.index_add(0, centres, products))


class Interaction(nn.Module):
    """Messages from the neighbours, products at the site, and a residual update.

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
        self.kept = None if first else DegreeLinear(n_channels, n_channels, lmax)
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
        centres: torch.Tensor,
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
            neighbours, whose number is the first component.
        centres, others
            Sites of each pair.
        """
        bonds, of_pair = (centres * len(embedding) + others).unique(return_inverse=True)
        bonded, neighbours = bonds // len(embedding), bonds % len(embedding)
        scalars = embedding if features is None else features[:, 0]
        described = torch.cat([pairs, scalars[centres], scalars[others]], dim=-1)
        weights = self.weights(described) * envelope[:, None]
        weights = weights.view(len(centres), -1, self.lmax + 1, self.n_channels)
        sizes = [2 * degree + 1 for degree in range(self.lmax + 1)]
        angular = directions[:, :, None].split(sizes, dim=1)
        # Degree by degree: weights that are repeated for every component are twice the work.
        of_directions, *of_features = weights.unbind(1)
        parts = [
            weight * part for weight, part in zip(of_directions.split(1, 1), angular, strict=True)
        ]
        shape = (len(bonds), (self.lmax + 1) ** 2, self.n_channels)
        directed = weights.new_zeros(shape).index_add(0, of_pair, torch.cat(parts, dim=1))
        messages = directed
        if features is not None:
            shape = (len(bonds), self.lmax + 1, self.n_channels)
            radial = weights.new_zeros(shape).index_add(0, of_pair, of_features[0] * angular[0])
            heard = features.index_select(0, neighbours).split(sizes, dim=1)
            messages = directed + torch.cat(
                [w * f for w, f in zip(radial.split(1, 1), heard, strict=True)], dim=1
            )
        sums = messages.new_zeros(len(embedding), *messages.shape[1:])
        sums = sums.index_add(0, bonded, messages) / self.mean_neighbours**0.5

        own = self.heard(sums)
        if self.kept is not None and features is not None:
            own = own + self.kept(features)
        if self.coupling is not None and features is not None:
            own = own + self.coupling(features, directed, bonded, neighbours) / (
                self.mean_neighbours**0.5
            )
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
