"""The orbital model: an equivariant network from crystal graph to density and occupancies."""

from __future__ import annotations

from dataclasses import replace
from math import pi
from typing import TYPE_CHECKING

import torch
from torch import nn
from typing_extensions import override

from mlcharge_flows.density.density import superpose
from mlcharge_flows.models.checkpoint import network_of
from mlcharge_flows.models.model import DensityModel, ModelError
from mlcharge_flows.models.orbital.config import OrbitalConfig
from mlcharge_flows.models.orbital.elements import Embedding, FormFactors
from mlcharge_flows.models.orbital.equivariant import (
    Interaction,
    degree_of_component,
    mlp,
    scatter_sum,
)
from mlcharge_flows.models.orbital.g_vectors import Expansion, GVectors
from mlcharge_flows.models.orbital.gaussians import (
    MAX_RELATIVE_CHANGE,
    AugmentationResponse,
    GaussianBasis,
)
from mlcharge_flows.models.orbital.graph import Graph

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.density.density import Density
    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.models.card import Card
    from mlcharge_flows.models.checkpoint import Checkpoint
    from mlcharge_flows.models.orbital.config import SiteConfig
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
        coefficients, scales = self.coefficients(graph)
        expansions, first = [], 0
        for n_sites, n_ions in zip(graph.n_sites, graph.n_ions, strict=True):
            sites = slice(first, first + n_sites)
            factors = None if scales is None else scales[sites]
            expansions.append(Expansion(coefficients[sites], factors, graph.species[sites], n_ions))
            first += n_sites
        return expansions

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
        features = self.features(graph)
        scalars = features[:, 0]
        orbitals = self.basis.of(graph.species)
        coefficients = orbitals.uncontracted(self._read(features, graph.species))
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
        features: torch.Tensor | None = None
        for interaction in self.interactions:
            features = interaction(
                features, embedding, edges, envelope, harmonics, graph.centers, graph.neighbors
            )
        assert features is not None
        return features

    def _read(self, features: torch.Tensor, species: torch.Tensor) -> torch.Tensor:
        """Coefficients of the contracted orbitals, shape (sites, (lmax + 1)^2, exponents)."""
        # Once per species, not per site: a batch has few.
        kinds, of_site = species.unique(return_inverse=True)
        mix = self.element_mix(self.embedding.species()[kinds])
        of_kind = torch.einsum("zr,rlck->zlck", mix, self.readout[1:])
        maps = (self.readout[0] + of_kind)[:, self.degrees]
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
        self, expansion: Expansion, g_vectors: GVectors, phases: torch.Tensor
    ) -> torch.Tensor:
        """Fourier coefficients of the predicted density less the superposition of atoms.

        Parameters
        ----------
        expansion
            Of one crystal.
        g_vectors
            The G vectors of its grid.
        phases
            Phase factors of its sites, shape (sites, G vectors).

        Returns
        -------
        torch.Tensor
            Shape (G vectors,), complex, electrons.
        """
        orbitals = self.basis.of(expansion.species)
        density = g_vectors.density(expansion.coefficients, phases, orbitals, expansion.scales)
        if self.form_factors is not None:
            density = density + self.form_factors(
                expansion.ions, g_vectors, phases[: expansion.n_ions]
            )
        return density

    def occupancy_changes(
        self, density: torch.Tensor, ions: torch.Tensor, g_vectors: GVectors, phases: torch.Tensor
    ) -> list[torch.Tensor]:
        """Changes of the augmentation occupancies that belong to a change of the density.

        Parameters
        ----------
        density
            Fourier coefficients of any density less the superposition of atoms, shape
            (G vectors,), complex, electrons.
        ions
            Element of each ion.
        g_vectors
            The G vectors.
        phases
            Phase factors of the ions, shape (ions, G vectors); those of more sites may follow.

        Returns
        -------
        list of torch.Tensor
            Occupancies of the converged less the free atom, of each ion.
        """
        projections = self.augmentation.projections(density, g_vectors, phases[: len(ions)])
        changes: list[torch.Tensor] = self.augmentation(projections, ions)
        return changes


class OrbitalModel(DensityModel):
    """Superposition of atoms plus Gaussian orbitals whose coefficients a network predicts.

    NELECT is exact because the superposition of atoms integrates to it, the predicted monopoles
    cancel within the cell, and the component G = 0 is not changed. A density is refused whose
    occupancies would change more than :data:`.gaussians.MAX_RELATIVE_CHANGE` times as much as
    those of any ion in training.

    Parameters
    ----------
    card
        What the network was trained on.
    network
        Trained weights.
    atoms
        Free atom of each element.
    """

    completes_densities = True

    def __init__(
        self, card: Card, network: OrbitalNetwork, atoms: Mapping[str, PawDataset]
    ) -> None:
        self.card = card
        self.atoms = atoms
        self.network = network.eval().requires_grad_(requires_grad=False)

    @override
    def predict(self, crystal: Crystal, shape: tuple[int, int, int]) -> Density:
        network = self.network
        atomic = superpose(crystal, self.atoms, shape)
        graph = network.graph(crystal)
        g_vectors = GVectors.of(crystal, atomic.shape, network.config.g_max, network.basis.lmax)
        phases = g_vectors.phases(graph.positions)
        with torch.inference_mode():
            expansion = network(graph)[0]
            density = network.density(expansion, g_vectors, phases)
            changes = network.occupancy_changes(density, expansion.ions, g_vectors, phases)
            correction = g_vectors.to_grid(density)
        total = atomic.total + correction.double().numpy()
        return replace(self._changed(atomic, changes), total=total, comment=self.card.name)

    @override
    def complete(self, density: Density) -> Density:
        network, crystal = self.network, density.crystal
        atomic = superpose(crystal, self.atoms, density.shape)
        g_vectors = GVectors.of(crystal, density.shape, network.config.g_max, network.basis.lmax)
        change = torch.fft.rfftn(torch.from_numpy(density.total - atomic.total), norm="forward")
        ions = self._species(crystal)
        with torch.inference_mode():
            phases = g_vectors.phases(torch.from_numpy(crystal.positions))
            coefficients = (change.flatten()[g_vectors.index] * crystal.volume).to(phases.dtype)
            changes = network.occupancy_changes(coefficients, ions, g_vectors, phases)
        return replace(density, augmentation=self._changed(atomic, changes).augmentation)

    @override
    def with_element_means(self, density: Density) -> Density:
        atomic = superpose(density.crystal, self.atoms, density.shape)
        changes = self.network.augmentation.element_means(self._species(density.crystal))
        return replace(density, augmentation=self._changed(atomic, changes).augmentation)

    def _species(self, crystal: Crystal) -> torch.Tensor:
        elements = self.network.config.elements
        return torch.tensor([elements.index(symbol) for symbol in crystal.symbols])

    def _changed(self, atomic: Density, changes: Sequence[torch.Tensor]) -> Density:
        """Add changes to the occupancies of a superposition of atoms."""
        species = self._species(atomic.crystal).tolist()
        for ion, (index, change) in enumerate(zip(species, changes, strict=True)):
            relative = self.network.augmentation.relative_change(index, change)
            if relative > MAX_RELATIVE_CHANGE:
                raise ModelError(
                    f"{self.card.name}: the density around ion {ion + 1} "
                    f"({atomic.crystal.symbols[ion]}) is unlike any in training: its augmentation "
                    f"occupancies would change {relative:.1f} times as much as the largest there"
                )
        pairs = zip(atomic.augmentation or (), changes, strict=True)
        changed = tuple(values + change.double().numpy() for values, change in pairs)
        return replace(atomic, augmentation=changed)


def load(checkpoint: Checkpoint) -> OrbitalModel:
    """Build the model of a checkpoint.

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
    network = network_of(
        checkpoint, lambda options: OrbitalNetwork(OrbitalConfig.model_validate(options))
    )
    return OrbitalModel(checkpoint.card, network, checkpoint.card.free_atoms)
