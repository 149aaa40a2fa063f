"""From a crystal graph to the coefficients of orbitals; from those to a complete start."""

from __future__ import annotations

from math import pi
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn

from mlcharge_flows.models.orbital.basis import GaussianBasis
from mlcharge_flows.models.orbital.degrees import degree_of_component
from mlcharge_flows.models.orbital.description import Description
from mlcharge_flows.models.orbital.interaction import Interaction, perceptron
from mlcharge_flows.models.orbital.occupancies import OccupancyResponse

if TYPE_CHECKING:
    from mlcharge_flows.models.orbital.config import OrbitalConfig
    from mlcharge_flows.models.orbital.graph import Graph
    from mlcharge_flows.models.orbital.plane_waves import PlaneWaves

_SMALLEST_SCALE, _LARGEST_SCALE = 0.5, 2.0
"""Range of the scaling factors (SCDP, appendix)."""


class Prediction(NamedTuple):
    """What the network says of one crystal.

    Parameters
    ----------
    coefficients
        Of the Gaussians, shape (sites, (lmax + 1)^2, exponents).
    scales
        Factors of the exponents, shape (sites, lmax + 1, exponents), or None.
    species
        Element of each ion.
    """

    coefficients: torch.Tensor
    scales: torch.Tensor | None
    species: torch.Tensor


class OrbitalNetwork(nn.Module):
    """Equivariant network of the orbital model.

    Parameters
    ----------
    config
        Its size and options.
    """

    def __init__(self, config: OrbitalConfig) -> None:
        super().__init__()
        self.config = config
        lmax, n_channels, hidden = config.lmax, config.n_channels, config.n_hidden
        self.basis = GaussianBasis(config.smallest_exponent, config.ratio, config.n_exponents, lmax)
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
            )
            for round_ in range(config.n_interactions)
        )
        # A read-out common to all elements, and a part that depends on the element smoothly. Zero:
        # before any training the density is the superposition's.
        shape = (config.rank + 1, lmax + 1, n_channels, config.n_exponents)
        self.readout = nn.Parameter(torch.zeros(shape))
        self.element_mix = nn.Linear(config.n_embedding, config.rank, bias=False)
        self.softness = perceptron(n_channels, hidden, 1)
        self.occupancies = OccupancyResponse(
            config.elements, config.channels, lmax, config.n_exponents
        )
        self.scaling = (
            perceptron(n_channels, hidden, (lmax + 1) * config.n_exponents)
            if config.scaling
            else None
        )
        if self.scaling is not None:  # no scaling before any training
            for parameter in self.scaling[-1].parameters():
                nn.init.zeros_(parameter)
        self.register_buffer("degrees", degree_of_component(lmax), persistent=False)

    degrees: torch.Tensor

    def forward(self, graph: Graph) -> list[Prediction]:
        """Predict for all crystals of a graph."""
        features = self.features(graph)
        scalars = features[:, 0]
        coefficients = self.basis.uncontracted(self._read(features, graph.species))
        scales = None if self.scaling is None else self._scales(scalars)
        coefficients = self._neutral(coefficients, scales, scalars, graph)
        predictions, first = [], 0
        for size, ions in zip(graph.sizes, graph.ions, strict=True):
            sites, atoms = slice(first, first + size), slice(first, first + ions)
            own = None if scales is None else scales[sites]
            predictions.append(Prediction(coefficients[sites], own, graph.species[atoms]))
            first += size
        return predictions

    def density(
        self, prediction: Prediction, waves: PlaneWaves, phases: torch.Tensor
    ) -> torch.Tensor:
        """Correction of the superposed density of one crystal: plane waves, complex, electrons."""
        return waves.density(prediction.coefficients, phases, self.basis, prediction.scales)

    def records(
        self,
        density: torch.Tensor,
        species: torch.Tensor,
        waves: PlaneWaves,
        phases: torch.Tensor,
    ) -> list[torch.Tensor]:
        """Corrections of the occupancies that belong to a correction of the density.

        Parameters
        ----------
        density
            Plane waves of the correction, whoever predicted it, complex, electrons.
        species
            Element of each ion.
        waves, phases
            The plane waves, and the structure factors of the ions (more sites may follow).

        Returns
        -------
        list of torch.Tensor
            One record per ion.
        """
        around = waves.projections(density, phases[: len(species)], self.basis)
        return self.occupancies(self.basis.uncontracted(around), species)

    def features(self, graph: Graph) -> torch.Tensor:
        """Features of all sites, shape (sites, (lmax + 1)^2, n_channels)."""
        pairs, envelope = self.description.pairs(graph)
        directions = graph.directions * (4 * pi) ** 0.5
        embedding = self.description.species()[graph.species]
        features: torch.Tensor | None = None
        for interaction in self.interactions:
            features = interaction(
                features, embedding, pairs, envelope, directions, graph.centres, graph.others
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

    def _scales(self, scalars: torch.Tensor) -> torch.Tensor:
        """Factors of the exponents, between a half and two; 1 before any training."""
        assert self.scaling is not None
        raw = self.scaling(scalars).unflatten(-1, (self.config.lmax + 1, self.config.n_exponents))
        # exp(x) stays between the bounds and is 1 at 0.
        reach = torch.tensor(_LARGEST_SCALE / _SMALLEST_SCALE).log() / 2
        return torch.exp(reach * torch.tanh(raw))

    def _neutral(
        self,
        coefficients: torch.Tensor,
        scales: torch.Tensor | None,
        scalars: torch.Tensor,
        graph: Graph,
    ) -> torch.Tensor:
        """Take the net charge of each crystal off its sites, more of it where they are softer.

        The correction then holds no electrons, and the sum of the free atoms' ZVAL is NELECT.
        """
        charges = self.basis.charges(None if scales is None else scales[:, 0])
        charges = charges.expand(len(coefficients), -1)
        net = (coefficients[:, 0] * charges).sum(-1)
        soft = nn.functional.softplus(self.softness(scalars)[:, 0])
        crystal = graph.crystal_of_site
        zeros = net.new_zeros(len(graph.sizes))
        share = soft / zeros.index_add(0, crystal, soft)[crystal]
        excess = zeros.index_add(0, crystal, net)[crystal] * share
        correction = excess[:, None] * charges / (charges**2).sum(-1, keepdim=True)
        return torch.cat([(coefficients[:, 0] - correction)[:, None], coefficients[:, 1:]], dim=1)
