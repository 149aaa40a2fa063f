"""The orbital network with the basis, the head and the scaling factors of SCDP."""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING

import torch
from torch import nn

from mlcharge_flows.models.orbital.degrees import DegreeLinear
from mlcharge_flows.models.orbital.network import OrbitalNetwork
from mlcharge_flows.models.orbital.sphere_product import SphereProduct
from mlcharge_flows.models.scdp.basis import SpeciesBasis
from mlcharge_flows.models.scdp.graph import graph_of

if TYPE_CHECKING:
    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.models.orbital.graph import Graph
    from mlcharge_flows.models.scdp.config import ScdpConfig


class ScdpNetwork(OrbitalNetwork):
    """Equivariant network of SCDP.

    Parameters
    ----------
    config
        Its size and options.
    """

    def __init__(self, config: ScdpConfig) -> None:
        basis = SpeciesBasis([config.shells[symbol] for symbol in config.species], config.ratio)
        super().__init__(config, basis)
        self.scdp = config
        self.head = SquareHead(config.n_channels, config.lmax, basis.lmax)

    def graph(self, crystal: Crystal) -> Graph:
        """Sites of a molecule in a box, or of a crystal.

        Raises
        ------
        ValueError
            It is not what the model is for.
        """
        return graph_of(crystal, self.scdp)

    def features(self, graph: Graph) -> torch.Tensor:
        """Features of all sites, of the degrees of the orbitals."""
        return self.head(super().features(graph))

    def scales(self, raw: torch.Tensor) -> torch.Tensor:
        """Factors of the exponents, 0.5 to 2, and 1 before any training (the paper's form)."""
        return 0.5 + 1.5 * torch.sigmoid(raw - log(2)).unflatten(-1, (-1, self.basis.n_exponents))


class SquareHead(nn.Module):
    """Features of the degrees of the orbitals, from those of the network and their squares.

    The product of two functions on the sphere reaches twice their degree, as the tensor product of
    the features with themselves at the end of the published network.

    Parameters
    ----------
    n_channels
        In and out.
    lmax, lmax_out
        Highest degree in and out.
    """

    def __init__(self, n_channels: int, lmax: int, lmax_out: int) -> None:
        super().__init__()
        kept = min(lmax, lmax_out)
        self.n_channels, self.n_kept, self.n_out = n_channels, (kept + 1) ** 2, (lmax_out + 1) ** 2
        self.kept = DegreeLinear(n_channels, n_channels, kept)
        self.factors = DegreeLinear(n_channels, 2 * n_channels, lmax)
        self.product = SphereProduct(lmax, 2, lmax_out)
        self.mixed = DegreeLinear(n_channels, n_channels, lmax_out)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Shape (sites, components in, channels) to (sites, components out, channels)."""
        factors = self.factors(features).unflatten(-1, (2, self.n_channels))
        (square,) = self.product(factors)
        kept = self.kept(features[:, : self.n_kept])
        return self.mixed(square) + nn.functional.pad(kept, (0, 0, 0, self.n_out - self.n_kept))
