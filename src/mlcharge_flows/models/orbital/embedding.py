"""Embedding of elements and edges: tabulated properties, learned vectors, radial functions.

Rare elements lean on the tabulated properties more than common ones: the learned vector of an
element starts small.
"""

from __future__ import annotations

import warnings
from functools import cache
from math import pi
from typing import TYPE_CHECKING

import numpy as np
import torch
from pymatgen.core.periodic_table import Element
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.models.orbital.config import SiteConfig
    from mlcharge_flows.models.orbital.graph import Graph

_PROPERTIES = (
    "X",  # Pauling electronegativity
    "row",
    "group",
    "mendeleev_no",
    "atomic_radius",
    "ionization_energy",
    "electron_affinity",
)
N_PROPERTIES = len(_PROPERTIES)
_LAST_ELEMENT = 86
"""Properties are standardized over the elements up to radon."""
_DEFAULT_RADIUS = 1.5
"""Radius of elements without a tabulated one, angstrom."""
_VIRTUAL_RADIUS = 1.0
"""Radius of a virtual site, angstrom."""
_INITIAL_STD = 0.1
"""Initial standard deviation of the learned vectors; that of the properties is 1."""
_MESH_STEP = 0.1
"""Radial mesh of the free-atom densities, angstrom."""
_MIN_DENSITY = 1e-4
"""Free-atom densities are taken as zero below this, electrons/angstrom^3."""


@cache
def _statistics() -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each property over the periodic table."""
    values = np.array([_values(Element.from_Z(z)) for z in range(1, _LAST_ELEMENT + 1)])
    return np.nanmean(values, axis=0), np.nanstd(values, axis=0)


def _values(element: Element) -> list[float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pymatgen warns of every missing value
        found = [getattr(element, name) for name in _PROPERTIES]
    return [float("nan") if value is None else float(value) for value in found]


def element_properties(symbols: Sequence[str]) -> np.ndarray:
    """Standardized properties of elements from pymatgen's tables.

    Electronegativity, row, group, Mendeleev number, radius, ionization energy and electron
    affinity, each less its mean and divided by its standard deviation over the periodic table.

    Parameters
    ----------
    symbols
        Elements.

    Returns
    -------
    numpy.ndarray
        Shape (elements, properties), dimensionless; 0 (the mean) where no value is tabulated.

    Examples
    --------
    >>> salt = element_properties(["Na", "Cl"])
    >>> bool(salt[0, 0] < 0 < salt[1, 0])  # electronegativity
    True
    """
    mean, deviation = _statistics()
    values = np.array([_values(Element(symbol)) for symbol in symbols])
    standardized: np.ndarray = np.nan_to_num((values - mean) / deviation)
    return standardized


def atomic_radii(symbols: Sequence[str]) -> np.ndarray:
    """Empirical atomic radii.

    Parameters
    ----------
    symbols
        Elements.

    Returns
    -------
    numpy.ndarray
        Shape (elements,), angstrom; 1.5 where none is tabulated.

    References
    ----------
    J. C. Slater, J. Chem. Phys. 41, 3199 (1964), as tabulated in pymatgen.
    """
    found = (Element(symbol).atomic_radius for symbol in symbols)
    return np.array([_DEFAULT_RADIUS if radius is None else float(radius) for radius in found])


class Embedding(nn.Module):
    """Invariant features of species and edges.

    A species has a learned vector and a linear map of its tabulated properties. An edge has its
    length in three forms: radial Bessel functions up to the cutoff, Gaussians of the length in
    units of the sum of both radii, and the density that either free atom has at the other site.

    Parameters
    ----------
    config
        Which of these features, and how many.
    """

    properties: torch.Tensor
    radii: torch.Tensor
    profiles: torch.Tensor

    def __init__(self, config: SiteConfig) -> None:
        super().__init__()
        self.config = config
        self.learned = nn.Embedding(config.n_species, config.n_embedding)
        nn.init.normal_(self.learned.weight, std=_INITIAL_STD if config.tabulated else 1.0)
        self.from_properties = (
            nn.Linear(N_PROPERTIES, config.n_embedding, bias=False) if config.tabulated else None
        )
        n_virtual = config.n_species - len(config.elements)
        no_properties = np.zeros((n_virtual, N_PROPERTIES))
        known = np.vstack([element_properties(config.elements), no_properties])
        radii = np.concatenate([atomic_radii(config.elements), np.full(n_virtual, _VIRTUAL_RADIUS)])
        n_mesh = int(np.ceil(config.cutoff / _MESH_STEP)) + 2
        dtype = torch.get_default_dtype()
        for name, values in (("properties", known), ("radii", radii)):
            self.register_buffer(name, torch.tensor(values, dtype=dtype), persistent=False)
        if config.profiles:
            self.register_buffer("profiles", torch.zeros(config.n_species, n_mesh))

    @property
    def n_edge(self) -> int:
        """Number of features of an edge."""
        return self.config.n_radial + self.config.n_scaled + 2 * self.config.profiles

    def set_atoms(self, atoms: Mapping[str, PawDataset]) -> None:
        """Tabulate the decadic logarithms of the densities of the free atoms.

        Parameters
        ----------
        atoms
            Free atom of each element.
        """
        if not self.config.profiles:
            return
        r = np.arange(self.profiles.shape[1]) * _MESH_STEP
        for index, symbol in enumerate(self.config.elements):
            density = atoms[symbol].density_at(r)
            levels = np.log10(np.maximum(density, _MIN_DENSITY) / _MIN_DENSITY)
            self.profiles[index] = torch.tensor(levels, dtype=self.profiles.dtype)

    def species(self) -> torch.Tensor:
        """Features of each species.

        Returns
        -------
        torch.Tensor
            Shape (species, n_embedding).
        """
        learned = self.learned.weight
        if self.from_properties is None:
            return learned
        mapped: torch.Tensor = self.from_properties(self.properties)
        return learned + mapped

    def edges(self, graph: Graph) -> tuple[torch.Tensor, torch.Tensor]:
        r"""Features of each edge, and its smooth cutoff.

        With :math:`x = r/r_c`,

        .. math::
            e_n(r) = \sqrt{2/r_c}\, \frac{\sin(n \pi x)}{r}, \qquad
            u(x) = 1 - 28 x^6 + 48 x^7 - 21 x^8 .

        Parameters
        ----------
        graph
            Sites and edges.

        Returns
        -------
        features : torch.Tensor
            Shape (edges, n_edge).
        envelope : torch.Tensor
            Shape (edges,), 1 at distance 0 and 0 with three derivatives at the cutoff.

        References
        ----------
        J. Gasteiger, J. Gross and S. Guennemann, ICLR 2020, arXiv:2003.03123 (DimeNet), eqs. 7
        and 8.
        """
        centers, neighbors = graph.species[graph.centers], graph.species[graph.neighbors]
        distances = graph.distances
        x = distances / self.config.cutoff
        n = torch.arange(1, self.config.n_radial + 1, device=distances.device)
        # Twice the amplitude of the reference: features of mean square about one.
        amplitude = 2 * (2 / self.config.cutoff) ** 0.5
        features = [amplitude * torch.sin(pi * n * x[:, None]) / distances[:, None]]
        envelope = 1 - 28 * x**6 + 48 * x**7 - 21 * x**8
        if self.config.n_scaled:
            means = torch.linspace(0.6, 2.6, self.config.n_scaled, device=distances.device)
            width = 2.0 / max(self.config.n_scaled - 1, 1)
            bonds = distances / (self.radii[centers] + self.radii[neighbors])
            features.append(torch.exp(-(((bonds[:, None] - means) / width) ** 2)))
        if self.config.profiles:
            place = (distances / _MESH_STEP).clamp(max=self.profiles.shape[1] - 1.001)
            lower = place.floor().long()
            fraction = place - lower
            for species in (centers, neighbors):
                left, right = self.profiles[species, lower], self.profiles[species, lower + 1]
                features.append((left + fraction * (right - left))[:, None])
        return torch.cat(features, dim=-1), envelope * (x < 1)
