r"""What a neighbor looks like, as seen along the bond to it.

.. math::
    C_{ilm} = \sum_j \int Y_{lm}(\Omega)\, a_{ij}(\Omega)\, h_j(\Omega)\, d\Omega ,

with the features h of the neighbor, and in :math:`a_{ij}` the harmonics of the directions to all
its images: one product for a pair of sites, not for every pair of neighbors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from mlcharge_flows.models.orbital.degrees import DegreeLinear
from mlcharge_flows.models.orbital.sphere_product import SphereProduct
from mlcharge_flows.models.orbital.summed import summed

if TYPE_CHECKING:
    import torch


class Coupling(nn.Module):
    """Products, on the sphere, of where a neighbor is and what it looks like.

    Messages alone carry the one or the other; only this tells which way the features of a
    neighbor point as seen along the bond. Products are linear in either factor, so the images of
    a neighbor may be summed before.

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
        centers: torch.Tensor,
        others: torch.Tensor,
    ) -> torch.Tensor:
        """Sum over the neighbors of every site.

        Parameters
        ----------
        features
            Of all sites, shape (sites, components, channels).
        directed
            Where the neighbors are, shape (bonds, components, channels).
        centers, others
            Sites of each bond.
        """
        where = self.product.values @ self.where(directed)
        what = self.product.values @ self.what(features)
        products = summed(where * what.index_select(0, others), centers, len(features))
        return self.mixed(self.product.weighted.T @ products)
