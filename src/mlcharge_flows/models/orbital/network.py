"""The equivariant network from crystal graph to coefficients, density and occupancies."""

from __future__ import annotations

from dataclasses import replace
from math import pi
from typing import TYPE_CHECKING

import torch
from torch import nn

from mlcharge_flows.models.orbital.augmentation_response import AugmentationResponse
from mlcharge_flows.models.orbital.config import OrbitalConfig
from mlcharge_flows.models.orbital.elements import Embedding, FormFactors
from mlcharge_flows.models.orbital.equivariant import degree_of_component, mlp, scatter_sum
from mlcharge_flows.models.orbital.expansion import Expansion, SpinExpansion
from mlcharge_flows.models.orbital.g_vectors import GVectors
from mlcharge_flows.models.orbital.gaussians import GaussianBasis
from mlcharge_flows.models.orbital.graph import Graph
from mlcharge_flows.models.orbital.interaction import Interaction
from mlcharge_flows.models.orbital.site_sums import g_vectors_for_sites
from mlcharge_flows.models.orbital.spin import SpinPart, neutral_where

if TYPE_CHECKING:
    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.models.orbital.config import SiteConfig
    from mlcharge_flows.models.orbital.fourier_box import FourierBox
    from mlcharge_flows.models.orbital.gaussians import Basis, SiteOrbitals

_SMALLEST_SCALE, _LARGEST_SCALE = 0.5, 2.0
"""Range of the factors of the exponents (SCDP, appendix)."""


class OrbitalNetwork(nn.Module):
    """Equivariant network that predicts the coefficients of orbitals on all sites.

    Parameters
    ----------
    config
        Its size and options.
    basis
        The orbitals; if not given, those of an :class:`OrbitalConfig`, the same on all sites.
    """

    basis: Basis
    degrees: torch.Tensor

    def __init__(self, config: SiteConfig, basis: Basis | None = None) -> None:
        super().__init__()
        if basis is None:
            assert isinstance(config, OrbitalConfig)
            basis = GaussianBasis(
                config.smallest_exponent, config.ratio, config.n_exponents, config.lmax
            )
        self.config, self.basis = config, basis
        n_channels, hidden = config.n_channels, config.n_hidden
        self.embedding = Embedding(config)
        interactions = [
            Interaction(config, self.embedding.n_edge, first=index == 0)
            for index in range(config.n_interactions)
        ]
        # Later interactions change nothing at first: so three train as fast as two.
        for later in interactions[1:]:
            later.zero_init()
        self.interactions = nn.ModuleList(interactions)
        # A read-out common to all elements, and one that depends on the embedding of the element.
        # Zero: before training the density is that of the superposition.
        degree, n_exponents = basis.lmax, basis.n_exponents
        shape = (config.rank + 1, degree + 1, n_channels, n_exponents)
        self.readout = nn.Parameter(torch.zeros(shape))
        self.element_mix = nn.Linear(config.n_embedding, config.rank, bias=False)
        self.charge_weight = mlp(n_channels, hidden, 1)
        self.scaling = (
            mlp(n_channels, hidden, (degree + 1) * n_exponents) if config.scaling else None
        )
        if self.scaling is not None:  # all factors are 1 before training
            for parameter in self.scaling[-1].parameters():
                nn.init.zeros_(parameter)
        self.register_buffer("degrees", degree_of_component(degree), persistent=False)
        self.augmentation = AugmentationResponse(config.elements, config.channels, basis.lmax)
        self.form_factors = (
            FormFactors(len(config.elements), config.g_max) if config.form_factors else None
        )
        self.spin: SpinPart | None = None
        if isinstance(config, OrbitalConfig) and config.spin:
            self.spin = SpinPart(config, basis, shape)

    def graph(self, crystal: Crystal) -> Graph:
        """Graph of a crystal with the sites and edges of this network.

        Parameters
        ----------
        crystal
            The ions.

        Returns
        -------
        Graph
            Of one crystal.

        Raises
        ------
        ValueError
            The network does not know an element of the crystal.
        """
        return Graph.of(crystal, self.config)

    @property
    def takes_transforms(self) -> bool:
        """Whether sums by Fourier transforms can be used: all sites have the same Gaussians."""
        return isinstance(self.basis, GaussianBasis) and self.scaling is None

    def g_vectors(
        self, crystal: Crystal, shape: tuple[int, int, int], n_sites: int
    ) -> GVectors | FourierBox:
        """G vectors of a grid, with the faster sums over sites for the size of a crystal.

        Parameters
        ----------
        crystal
            The cell.
        shape
            The fine grid (NGXF, NGYF, NGZF).
        n_sites
            Number of sites.

        Returns
        -------
        GVectors or FourierBox
            On the CPU.
        """
        g_max, lmax = self.config.g_max, self.basis.lmax
        if self.takes_transforms:
            return g_vectors_for_sites(crystal, shape, g_max, lmax, n_sites)
        return GVectors.of(crystal, shape, g_max, lmax)

    def forward(self, graph: Graph) -> list[Expansion]:
        """Predict the expansions of all crystals of a graph.

        Parameters
        ----------
        graph
            Of one or several crystals.

        Returns
        -------
        list of Expansion
            One per crystal.
        """
        features, odd = self.spin_features(graph)
        coefficients, scales = self._coefficients(features, graph)
        spin = None
        if self.spin is not None and odd is not None:
            spin = self._spin(self.spin, features, odd, graph)
        expansions, first = [], 0
        for n_sites, n_ions in zip(graph.n_sites, graph.n_ions, strict=True):
            sites = slice(first, first + n_sites)
            factors = None if scales is None else scales[sites]
            own = None if spin is None else SpinExpansion(*(tensor[sites] for tensor in spin))
            species = graph.species[sites]
            expansions.append(Expansion(coefficients[sites], factors, species, n_ions, own))
            first += n_sites
        return expansions

    def spin_features(self, graph: Graph) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Features of all sites that are even and odd under a reversal of all moments.

        Reversed moments exchange two passes of the network, so that the even features are the same
        and the odd ones are reversed, bit for bit. Without moments there is one pass.

        Parameters
        ----------
        graph
            Of one or several crystals.

        Returns
        -------
        even : torch.Tensor
            Shape (sites, (lmax + 1)^2, n_channels).
        odd : torch.Tensor or None
            The same; None without moments.
        """
        features = self.features(graph)
        if graph.spins is None:
            return features, None
        reversed_ = self.features(replace(graph, spins=-graph.spins))
        return (features + reversed_) / 2, (features - reversed_) / 2

    def coefficients(self, graph: Graph) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Coefficients of the orbitals of all sites; those of each crystal integrate to zero.

        Parameters
        ----------
        graph
            Of one or several crystals.

        Returns
        -------
        coefficients : torch.Tensor
            Of the Gaussians, shape (sites, (lmax + 1)^2, exponents).
        scales : torch.Tensor or None
            Factors of the exponents, shape (sites, lmax + 1, exponents).
        """
        return self._coefficients(self.spin_features(graph)[0], graph)

    def _coefficients(
        self, features: torch.Tensor, graph: Graph
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        scalars = features[:, 0]
        orbitals = self.basis.of(graph.species)
        read = self._read(features, graph.species, self.readout)
        coefficients = orbitals.uncontracted(read)
        scales = None if self.scaling is None else self.scales(self.scaling(scalars))
        return self._neutral(coefficients, scales, scalars, graph, orbitals), scales

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
        edges, envelope = self.embedding.edges(graph)
        harmonics = graph.harmonics * (4 * pi) ** 0.5
        embedding = self.embedding.species()[graph.species]
        if self.spin is not None and graph.spins is not None:
            embedding = self.spin.embedded(embedding, graph.spins)
        features: torch.Tensor | None = None
        for interaction in self.interactions:
            features = interaction(
                features, embedding, edges, envelope, harmonics, graph.centers, graph.neighbors
            )
        assert features is not None
        return features

    def _spin(
        self, spin: SpinPart, features: torch.Tensor, odd: torch.Tensor, graph: Graph
    ) -> SpinExpansion:
        """Expansion of the magnetization, of all crystals of a graph."""
        assert graph.spins is not None
        orbitals = self.basis.of(graph.species)
        coefficients = orbitals.uncontracted(self._read(odd, graph.species, spin.readout))
        charges = orbitals.charges().expand(len(coefficients), -1)
        sizes, spreads = spin.sizes(features[:, 0], graph.species)
        # Virtual sites hold no moment, either: the moments are those of the ions.
        is_neutral = (graph.spins != 0) | (graph.species >= len(self.config.elements))
        coefficients = neutral_where(is_neutral, coefficients, charges)
        return SpinExpansion(coefficients, graph.spins, sizes, spreads)

    def _read(
        self, features: torch.Tensor, species: torch.Tensor, readout: torch.Tensor
    ) -> torch.Tensor:
        """Coefficients of the contracted orbitals, shape (sites, (lmax + 1)^2, exponents)."""
        # Once per species, not per site: a batch has few.
        kinds, of_site = species.unique(return_inverse=True)
        mix = self.element_mix(self.embedding.species()[kinds])
        of_kind = torch.einsum("zr,rlck->zlck", mix, readout[1:])
        maps = (readout[0] + of_kind)[:, self.degrees]
        return torch.einsum("smc,smck->smk", features, maps[of_site])

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
        # exp(c tanh x) stays between the bounds and is 1 at 0.
        reach = torch.tensor(_LARGEST_SCALE / _SMALLEST_SCALE).log() / 2
        return torch.exp(reach * torch.tanh(raw.unflatten(-1, (-1, self.basis.n_exponents))))

    def _neutral(
        self,
        coefficients: torch.Tensor,
        scales: torch.Tensor | None,
        scalars: torch.Tensor,
        graph: Graph,
        orbitals: SiteOrbitals,
    ) -> torch.Tensor:
        """Coefficients of degree zero corrected so that each crystal's sum of charges vanishes.

        The net charge is subtracted from the sites in proportion to predicted positive weights, as
        charge equilibration distributes it by the softness of the atoms. The superposition then
        holds all electrons, and NELECT is the sum of ZVAL.

        Returns
        -------
        torch.Tensor
            As `coefficients`, shape (sites, (lmax + 1)^2, exponents).
        """
        charges = orbitals.charges(None if scales is None else scales[:, 0])
        charges = charges.expand(len(coefficients), -1)
        net = (coefficients[:, 0] * charges).sum(-1)
        weight = nn.functional.softplus(self.charge_weight(scalars)[:, 0])
        crystal, n_crystals = graph.crystal_of_site, len(graph.n_sites)
        share = weight / scatter_sum(weight, crystal, n_crystals)[crystal]
        excess = scatter_sum(net, crystal, n_crystals)[crystal] * share
        correction = excess[:, None] * charges / (charges**2).sum(-1, keepdim=True)
        return torch.cat([(coefficients[:, 0] - correction)[:, None], coefficients[:, 1:]], dim=1)

    def density(
        self, expansion: Expansion, g_vectors: GVectors | FourierBox, phases: torch.Tensor
    ) -> torch.Tensor:
        """Fourier coefficients of the predicted density less the superposition of atoms.

        Parameters
        ----------
        expansion
            Of one crystal.
        g_vectors
            The G vectors of its grid.
        phases
            Its sites as the method `phases` of the G vectors gives them.

        Returns
        -------
        torch.Tensor
            Shape of the lengths of the G vectors, complex, electrons.
        """
        orbitals = self.basis.of(expansion.species)
        density = g_vectors.density(expansion.coefficients, phases, orbitals, expansion.scales)
        if self.form_factors is None:
            return density
        of_ions = phases[: expansion.n_ions]
        corrected: torch.Tensor = self.form_factors(expansion.ions, g_vectors, of_ions, density)
        return corrected

    def occupancy_changes(
        self,
        density: torch.Tensor,
        ions: torch.Tensor,
        g_vectors: GVectors | FourierBox,
        phases: torch.Tensor,
    ) -> list[torch.Tensor]:
        """Changes of the augmentation occupancies that belong to a change of the density.

        Parameters
        ----------
        density
            Fourier coefficients of any density less the superposition of atoms, complex,
            electrons.
        ions
            Element of each ion.
        g_vectors
            The G vectors.
        phases
            The ions as the method `phases` of the G vectors gives them; more sites may follow.

        Returns
        -------
        list of torch.Tensor
            Occupancies of the converged less the free atom, of each ion.
        """
        projections = self.augmentation.projections(density, g_vectors, phases[: len(ions)])
        changes: list[torch.Tensor] = self.augmentation(projections, ions)
        return changes
