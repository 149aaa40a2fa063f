"""From a crystal graph to the coefficients of orbitals."""

from __future__ import annotations

from math import pi
from typing import TYPE_CHECKING

import torch
from torch import nn

from mlcharge_flows.models.orbital.degrees import degree_of_component
from mlcharge_flows.models.orbital.description import Description
from mlcharge_flows.models.orbital.interaction import Interaction, perceptron
from mlcharge_flows.models.orbital.summed import summed

if TYPE_CHECKING:
    from mlcharge_flows.models.orbital.basis import Basis, SiteOrbitals
    from mlcharge_flows.models.orbital.config import SiteConfig
    from mlcharge_flows.models.orbital.graph import Graph

_SMALLEST_SCALE, _LARGEST_SCALE = 0.5, 2.0
"""Range of the scaling factors (SCDP, appendix)."""


class CoefficientNetwork(nn.Module):
    """Equivariant network that says the coefficients of orbitals on all sites.

    Parameters
    ----------
    config
        Its size and options.
    basis
        The orbitals.
    """

    basis: Basis
    degrees: torch.Tensor

    def __init__(self, config: SiteConfig, basis: Basis) -> None:
        super().__init__()
        self.config, self.basis = config, basis
        lmax, n_channels, hidden = config.lmax, config.n_channels, config.n_hidden
        self.description = Description(config)
        self.interactions = nn.ModuleList(
            Interaction(
                lmax,
                n_channels,
                self.description.n_pair,
                config.n_embedding,
                hidden,
                config.n_factors,
                first=round_ == 0,
                n_coupled=config.n_coupled,
            )
            for round_ in range(config.n_interactions)
        )
        # Later rounds change nothing at first: so three are trained as quickly as two.
        for later in self.interactions[1:]:
            assert isinstance(later, Interaction)
            later.silence()
        # A read-out common to all elements, and a part that depends on the element smoothly. Zero:
        # before any training the density is the superposition's.
        degree, n_exponents = self.basis.lmax, self.basis.n_exponents
        shape = (config.rank + 1, degree + 1, n_channels, n_exponents)
        self.readout = nn.Parameter(torch.zeros(shape))
        self.element_mix = nn.Linear(config.n_embedding, config.rank, bias=False)
        self.softness = perceptron(n_channels, hidden, 1)
        self.scaling = (
            perceptron(n_channels, hidden, (degree + 1) * n_exponents) if config.scaling else None
        )
        if self.scaling is not None:  # no scaling before any training
            for parameter in self.scaling[-1].parameters():
                nn.init.zeros_(parameter)
        self.register_buffer("degrees", degree_of_component(degree), persistent=False)

    def coefficients(self, graph: Graph) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Coefficients for all sites of a graph; those of a crystal hold no electrons.

        Returns
        -------
        coefficients : torch.Tensor
            Of the Gaussians, shape (sites, (lmax + 1)^2, exponents).
        scales : torch.Tensor or None
            Factors of the exponents, shape (sites, lmax + 1, exponents).
        """
        features = self.features(graph)
        scalars = features[:, 0]
        basis = self.basis.of(graph.species)
        coefficients = basis.uncontracted(self._read(features, graph.species))
        scales = None if self.scaling is None else self.scales(self.scaling(scalars))
        return self._neutral(coefficients, scales, scalars, graph, basis), scales

    def features(self, graph: Graph) -> torch.Tensor:
        """Features of all sites, of the degrees of the orbitals.

        Shape (sites, (lmax + 1)^2, n_channels).
        """
        pairs, envelope = self.description.pairs(graph)
        directions = graph.directions * (4 * pi) ** 0.5
        embedding = self.description.species()[graph.species]
        features: torch.Tensor | None = None
        for interaction in self.interactions:
            features = interaction(
                features, embedding, pairs, envelope, directions, graph.centers, graph.others
            )
        assert features is not None
        return features

    def _read(self, features: torch.Tensor, species: torch.Tensor) -> torch.Tensor:
        """Coefficients of the orthonormal orbitals, shape (sites, components, exponents)."""
        # Per element rather than per site: there are few elements in a batch.
        kinds, of_site = species.unique(return_inverse=True)
        mix = self.element_mix(self.description.species()[kinds])
        own = torch.einsum("zr,rlck->zlck", mix, self.readout[1:])
        maps = (self.readout[0] + own)[:, self.degrees]
        return torch.einsum("smc,smck->smk", features, maps[of_site])

    def scales(self, raw: torch.Tensor) -> torch.Tensor:
        """Factors of the exponents, between a half and two; 1 before any training.

        Parameters
        ----------
        raw
            Any numbers, shape (sites, degrees * exponents).

        Returns
        -------
        torch.Tensor
            Shape (sites, degrees, exponents).
        """
        # exp(x) stays between the bounds and is 1 at 0.
        reach = torch.tensor(_LARGEST_SCALE / _SMALLEST_SCALE).log() / 2
        return torch.exp(reach * torch.tanh(raw.unflatten(-1, (-1, self.basis.n_exponents))))

    def _neutral(
        self,
        coefficients: torch.Tensor,
        scales: torch.Tensor | None,
        scalars: torch.Tensor,
        graph: Graph,
        basis: SiteOrbitals,
    ) -> torch.Tensor:
        """Take the net charge of each crystal off its sites, more of it where they are softer.

        The correction then holds no electrons, and the sum of the free atoms' ZVAL is NELECT.
        """
        charges = basis.charges(None if scales is None else scales[:, 0])
        charges = charges.expand(len(coefficients), -1)
        net = (coefficients[:, 0] * charges).sum(-1)
        soft = nn.functional.softplus(self.softness(scalars)[:, 0])
        crystal = graph.crystal_of_site
        share = soft / summed(soft, crystal, len(graph.sizes))[crystal]
        excess = summed(net, crystal, len(graph.sizes))[crystal] * share
        correction = excess[:, None] * charges / (charges**2).sum(-1, keepdim=True)
        return torch.cat([(coefficients[:, 0] - correction)[:, None], coefficients[:, 1:]], dim=1)
