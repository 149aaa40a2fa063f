"""Gaunt products of the directions to the neighbors and the neighbors' features."""

from __future__ import annotations

import torch
from torch import nn

from mlcharge_flows.models.orbital.equivariant import (
    EquivariantLinear,
    GauntProduct,
    scatter_sum,
)


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
        direction = self.direction_of_pairs(directions)
        return self.summed(direction, self.on_sphere(features), centers, neighbors, len(features))

    def on_sphere(self, features: torch.Tensor) -> torch.Tensor:
        """Values of the features of neighbors at the points of the quadrature.

        Parameters
        ----------
        features
            Shape (sites, (lmax + 1)^2, n_channels).

        Returns
        -------
        torch.Tensor
            Shape (sites, points, n_coupled).
        """
        values: torch.Tensor = self.product.values @ self.feature(features)
        return values

    def direction_of_pairs(self, directions: torch.Tensor) -> torch.Tensor:
        """Values of the weighted directions at the points of the quadrature.

        Parameters
        ----------
        directions
            Weighted harmonics, shape (pairs, (lmax + 1)^2, n_channels).

        Returns
        -------
        torch.Tensor
            Shape (pairs, points, n_coupled).
        """
        values: torch.Tensor = self.product.values @ self.direction(directions)
        return values

    def factors_of_edges(
        self, weights: torch.Tensor, harmonics: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Factors of the weighted directions at the points of the quadrature.

        Their matrix product is :meth:`direction_of_pairs` of the products of both. Weights do not
        depend on m: their channels are mapped before they meet the harmonics, at a quarter of the
        cost.

        Parameters
        ----------
        weights
            Shape (edges, lmax + 1, n_channels).
        harmonics
            Shape (edges, (lmax + 1)^2).

        Returns
        -------
        angular : torch.Tensor
            Shape (edges, points, lmax + 1).
        mapped : torch.Tensor
            Shape (edges, lmax + 1, n_coupled).
        """
        mapped = (weights.transpose(0, 1) @ self.direction.weight).transpose(0, 1)
        sizes = [2 * degree + 1 for degree in range(weights.shape[1])]
        parts = zip(harmonics.split(sizes, 1), self.product.values.split(sizes, 1), strict=True)
        angular = torch.stack([here @ values.T for here, values in parts], dim=-1)
        return angular, mapped

    def summed(
        self,
        direction: torch.Tensor,
        on_sphere: torch.Tensor,
        centers: torch.Tensor,
        neighbors: torch.Tensor,
        n_sites: int,
    ) -> torch.Tensor:
        """Sum of the products over the neighbors of some sites.

        Parameters
        ----------
        direction
            Weighted directions at the points of the quadrature, shape (pairs, points, n_coupled).
        on_sphere
            Features of all sites there, shape (sites, points, n_coupled).
        centers, neighbors
            Receiving and sending site of each pair, shape (pairs,).
        n_sites
            Number of receiving sites.

        Returns
        -------
        torch.Tensor
            Shape (n_sites, (lmax + 1)^2, n_channels).
        """
        products = scatter_sum(direction * on_sphere.index_select(0, neighbors), centers, n_sites)
        return self.to_components(products)

    def to_components(self, products: torch.Tensor) -> torch.Tensor:
        """Update of the features from the products at the points of the quadrature.

        Parameters
        ----------
        products
            Shape (sites, points, n_coupled).

        Returns
        -------
        torch.Tensor
            Shape (sites, (lmax + 1)^2, n_channels).
        """
        update: torch.Tensor = self.update(self.product.weighted.T @ products)
        return update
