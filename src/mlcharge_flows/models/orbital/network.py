"""From a crystal graph to a complete start: density and occupancies, in plane waves."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mlcharge_flows.models.orbital.basis import GaussianBasis
from mlcharge_flows.models.orbital.coefficients import CoefficientNetwork
from mlcharge_flows.models.orbital.config import OrbitalConfig
from mlcharge_flows.models.orbital.form_factors import FormFactors
from mlcharge_flows.models.orbital.graph import Graph
from mlcharge_flows.models.orbital.occupancies import OccupancyResponse

if TYPE_CHECKING:
    import torch

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.models.orbital.basis import Basis
    from mlcharge_flows.models.orbital.config import SiteConfig
    from mlcharge_flows.models.orbital.plane_waves import PlaneWaves


class Prediction(NamedTuple):
    """What the network says of one crystal.

    Parameters
    ----------
    coefficients
        Of the Gaussians, shape (sites, (lmax + 1)^2, exponents).
    scales
        Factors of the exponents, shape (sites, lmax + 1, exponents), or None.
    species
        Of the sites.
    n_ions
        Sites that are ions; they come first.
    """

    coefficients: torch.Tensor
    scales: torch.Tensor | None
    species: torch.Tensor
    n_ions: int

    @property
    def ions(self) -> torch.Tensor:
        """Element of each ion."""
        return self.species[: self.n_ions]


class OrbitalNetwork(CoefficientNetwork):
    """Equivariant network of the orbital model.

    Parameters
    ----------
    config
        Its size and options.
    basis
        The orbitals; if not given, those of an :class:`OrbitalConfig`, the same on all sites.
    """

    def __init__(self, config: SiteConfig, basis: Basis | None = None) -> None:
        if basis is None:
            assert isinstance(config, OrbitalConfig)
            basis = GaussianBasis(
                config.smallest_exponent, config.ratio, config.n_exponents, config.lmax
            )
        super().__init__(config, basis)
        self.occupancies = OccupancyResponse(config.elements, config.channels, basis.lmax)
        self.form_factors = (
            FormFactors(len(config.elements), config.largest_wave) if config.form_factors else None
        )

    def graph(self, crystal: Crystal) -> Graph:
        """Sites of a crystal as this network sees them.

        Raises
        ------
        ValueError
            It cannot be seen by this network.
        """
        return Graph.of(crystal, self.config)

    def forward(self, graph: Graph) -> list[Prediction]:
        """Predict for all crystals of a graph."""
        coefficients, scales = self.coefficients(graph)
        predictions, first = [], 0
        for size, ions in zip(graph.sizes, graph.ions, strict=True):
            sites = slice(first, first + size)
            own = None if scales is None else scales[sites]
            predictions.append(Prediction(coefficients[sites], own, graph.species[sites], ions))
            first += size
        return predictions

    def density(
        self, prediction: Prediction, waves: PlaneWaves, phases: torch.Tensor
    ) -> torch.Tensor:
        """Correction of the superposed density of one crystal: plane waves, complex, electrons."""
        orbitals = self.basis.of(prediction.species)
        density = waves.density(prediction.coefficients, phases, orbitals, prediction.scales)
        if self.form_factors is not None:
            density = density + self.form_factors(
                prediction.ions, waves, phases[: prediction.n_ions]
            )
        return density

    def records(
        self,
        density: torch.Tensor,
        ions: torch.Tensor,
        waves: PlaneWaves,
        phases: torch.Tensor,
    ) -> list[torch.Tensor]:
        """Corrections of the occupancies that belong to a correction of the density.

        Parameters
        ----------
        density
            Plane waves of the correction, whoever predicted it, complex, electrons.
        ions
            Element of each ion.
        waves, phases
            The plane waves, and the structure factors of the ions (more sites may follow).

        Returns
        -------
        list of torch.Tensor
            One record per ion.
        """
        return self.occupancies(self.occupancies.seen(density, waves, phases[: len(ions)]), ions)
