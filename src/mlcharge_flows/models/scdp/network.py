"""The orbital network with the basis, the output head and the scaling factors of SCDP."""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING

import torch
from torch import nn

from mlcharge_flows.models.checkpoint import network_of
from mlcharge_flows.models.orbital.equivariant import EquivariantLinear, GauntProduct
from mlcharge_flows.models.orbital.network import OrbitalModel, OrbitalNetwork
from mlcharge_flows.models.scdp.basis import SpeciesBasis
from mlcharge_flows.models.scdp.config import ScdpConfig
from mlcharge_flows.models.scdp.molecule import graph_of

if TYPE_CHECKING:
    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.models.checkpoint import Checkpoint
    from mlcharge_flows.models.orbital.graph import Graph


class ScdpNetwork(OrbitalNetwork):
    """Equivariant network of SCDP.

    Parameters
    ----------
    config
        Its size and options.

    References
    ----------
    X. Fu et al., NeurIPS 2024, arXiv:2405.19276, section 4 and appendix (scaling factors).
    """

    def __init__(self, config: ScdpConfig) -> None:
        basis = SpeciesBasis([config.shells[symbol] for symbol in config.species], config.ratio)
        super().__init__(config, basis)
        self.scdp = config
        self.head = SquareHead(config.n_channels, config.lmax, basis.lmax)

    def graph(self, crystal: Crystal) -> Graph:
        """Graph of a molecule in a box, or of a crystal.

        Parameters
        ----------
        crystal
            The ions.

        Returns
        -------
        Graph
            Of one molecule or crystal.

        Raises
        ------
        ValueError
            The network does not know an element, or a molecule is expected and this is none.
        """
        return graph_of(crystal, self.scdp)

    def features(self, graph: Graph) -> torch.Tensor:
        """Equivariant features of all sites.

        Parameters
        ----------
        graph
            Of one or several crystals.

        Returns
        -------
        torch.Tensor
            Shape (sites, (lmax + 1)^2, n_channels), with lmax of the orbitals.
        """
        features: torch.Tensor = self.head(super().features(graph))
        return features

    def scales(self, raw: torch.Tensor) -> torch.Tensor:
        """Factors of the exponents, between 0.5 and 2; 1 before training.

        Parameters
        ----------
        raw
            Output of an MLP, shape (sites, (lmax + 1) * exponents).

        Returns
        -------
        torch.Tensor
            Shape (sites, lmax + 1, exponents).
        """
        fractions: torch.Tensor = torch.sigmoid(raw - log(2))
        scales: torch.Tensor = 0.5 + 1.5 * fractions.unflatten(-1, (-1, self.basis.n_exponents))
        return scales


class SquareHead(nn.Module):
    """Features up to the degree of the orbitals, from those of the network and their squares.

    The Gaunt product of the features with themselves reaches twice their degree, as the tensor
    product at the end of the published network.

    Parameters
    ----------
    n_channels
        Channels of the features, in and out.
    lmax, lmax_out
        Highest degree in and out.
    """

    def __init__(self, n_channels: int, lmax: int, lmax_out: int) -> None:
        super().__init__()
        kept = min(lmax, lmax_out)
        self.n_channels, self.n_kept, self.n_out = n_channels, (kept + 1) ** 2, (lmax_out + 1) ** 2
        self.residual = EquivariantLinear(n_channels, n_channels, kept)
        self.factors = EquivariantLinear(n_channels, 2 * n_channels, lmax)
        self.product = GauntProduct(lmax, 2, lmax_out)
        self.update = EquivariantLinear(n_channels, n_channels, lmax_out)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Features of the degrees of the orbitals.

        Parameters
        ----------
        features
            Shape (sites, (lmax + 1)^2, n_channels).

        Returns
        -------
        torch.Tensor
            Shape (sites, (lmax_out + 1)^2, n_channels).
        """
        factors = self.factors(features).unflatten(-1, (2, self.n_channels))
        (square,) = self.product(factors)
        residual = self.residual(features[:, : self.n_kept])
        update: torch.Tensor = self.update(square)
        return update + nn.functional.pad(residual, (0, 0, 0, self.n_out - self.n_kept))


def load(checkpoint: Checkpoint) -> OrbitalModel:
    """Build the model of a checkpoint; it predicts as the orbital model does.

    Parameters
    ----------
    checkpoint
        With the free atom of every element.

    Returns
    -------
    OrbitalModel
        Ready to predict.

    Raises
    ------
    CheckpointError
        Its weights do not fit its card, or free atoms are missing.
    """
    network = network_of(checkpoint, lambda given: ScdpNetwork(ScdpConfig.model_validate(given)))
    return OrbitalModel(checkpoint.card, network, checkpoint.atoms)
