"""What a network knows of each element: embedding, radii, free-atom density, form factor."""

from __future__ import annotations

import warnings
from functools import cache, partial
from math import ceil, pi
from typing import TYPE_CHECKING

import numpy as np
import torch
from pymatgen.core.periodic_table import Element
from torch import nn

from mlcharge_flows.models.orbital.config import N_VIRTUAL_KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.models.orbital.config import SiteConfig
    from mlcharge_flows.models.orbital.fourier_box import FourierBox
    from mlcharge_flows.models.orbital.g_vectors import GVectors
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

FIRST_KNOT, KNOT_STEP = 4.0, 0.5
"""First knot, where corrections are zero, and distance of the knots, 1/angstrom."""
_RIDGE = 1e-3
"""Damping of the form factors' regression, relative to the diagonal of its normal matrix."""


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


def _element_properties(symbols: Sequence[str]) -> np.ndarray:
    """Standardized properties of elements, shape (elements, properties); 0 where none is known."""
    mean, deviation = _statistics()
    values = np.array([_values(Element(symbol)) for symbol in symbols])
    standardized: np.ndarray = np.nan_to_num((values - mean) / deviation)
    return standardized


def _atomic_radii(symbols: Sequence[str]) -> np.ndarray:
    """Empirical atomic radii, shape (elements,), angstrom."""
    found = (Element(symbol).atomic_radius for symbol in symbols)
    return np.array([_DEFAULT_RADIUS if radius is None else float(radius) for radius in found])


class Embedding(nn.Module):
    """Invariant features of species and edges.

    A species has a learned vector and a linear map of its tabulated properties: electronegativity,
    row, group, Mendeleev number, radius, ionization energy and electron affinity, each less its
    mean and divided by its standard deviation over the periodic table. Rare elements lean on the
    properties more than common ones, for the learned vector of an element starts small. An edge has
    its length in three forms: radial Bessel functions up to the cutoff, Gaussians of the length in
    units of the sum of both radii, and the density that either free atom has at the other site.

    Parameters
    ----------
    config
        Which of these features, and how many.

    References
    ----------
    J. C. Slater, J. Chem. Phys. 41, 3199 (1964): atomic radii, as tabulated in pymatgen.
    """

    properties: torch.Tensor
    radii: torch.Tensor
    profiles: torch.Tensor

    def __init__(self, config: SiteConfig) -> None:
        super().__init__()
        self.config = config
        n_virtual, n_properties = N_VIRTUAL_KINDS[config.virtual], len(_PROPERTIES)
        n_species = len(config.elements) + n_virtual
        self.learned = nn.Embedding(n_species, config.n_embedding)
        nn.init.normal_(self.learned.weight, std=_INITIAL_STD if config.tabulated else 1.0)
        self.from_properties = (
            nn.Linear(n_properties, config.n_embedding, bias=False) if config.tabulated else None
        )
        no_properties = np.zeros((n_virtual, n_properties))
        known = np.vstack([_element_properties(config.elements), no_properties])
        radii = np.concatenate(
            [_atomic_radii(config.elements), np.full(n_virtual, _VIRTUAL_RADIUS)]
        )
        n_mesh = int(np.ceil(config.cutoff / _MESH_STEP)) + 2
        dtype = torch.get_default_dtype()
        for name, values in (("properties", known), ("radii", radii)):
            self.register_buffer(name, torch.tensor(values, dtype=dtype), persistent=False)
        if config.profiles:
            self.register_buffer("profiles", torch.zeros(n_species, n_mesh))

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


class FormFactors(nn.Module):
    r"""Spherical corrections of the free-atom form factors; fitted in closed form, not trained.

    The density of a converged run has structure about every nucleus that the superposition of atoms
    lacks: where pseudo and true partial waves meet, or where orbitals end at ENCUT (which of the
    two was not separated). It oscillates in the form factor (with a period of 5 to 6 per angstrom
    for F, O and N), which no sum of even-tempered Gaussians follows, and it hardly depends on the
    neighbors. So each element has a spherical correction

    .. math::
        V \Delta\rho(\mathbf G) = \sum_i f_{Z_i}(G)\, e^{-i \mathbf G \cdot \mathbf R_i} ,

    piecewise linear in G and zero below the first knot: low-:math:`|G|` components are left to the
    network. It is regressed on the residual of a trained network on converged densities. Fitting
    before training would absorb the Gaussian part and leave a kink at the first knot.

    Parameters
    ----------
    n_elements
        Number of elements.
    g_max
        Largest |G|, 1/angstrom.

    Examples
    --------
    >>> FormFactors(2, g_max=6.0).values.shape
    torch.Size([2, 5])
    """

    values: torch.Tensor

    def __init__(self, n_elements: int, g_max: float) -> None:
        super().__init__()
        n_knots = 1 + max(1, ceil((g_max - FIRST_KNOT) / KNOT_STEP))
        self.register_buffer("values", torch.zeros(n_elements, n_knots))

    def _interpolation(self, q: torch.Tensor) -> tuple[tuple[torch.Tensor, torch.Tensor], ...]:
        """Indices of the knots on either side of each length |G|, and their weights."""
        place = (q - FIRST_KNOT) / KNOT_STEP
        lower = place.floor().clamp(0, self.values.shape[1] - 2).long()
        fraction = (place - lower).clamp(0, 1)
        return (lower, (1 - fraction) * (lower > 0)), (lower + 1, fraction)

    def forward(
        self,
        species: torch.Tensor,
        g_vectors: GVectors | FourierBox,
        phases: torch.Tensor,
        onto: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Fourier coefficients of the corrections of all ions.

        Parameters
        ----------
        species
            Element of each ion, shape (ions,).
        g_vectors
            The G vectors.
        phases
            The ions as the method `phases` of the G vectors gives them.
        onto
            Coefficients to add them to, in their memory.

        Returns
        -------
        torch.Tensor
            Shape of the lengths of the G vectors, complex, electrons.
        """
        kinds, of_ion = species.unique(return_inverse=True)
        factors = [partial(self._at, values) for values in self.values[kinds]]
        return g_vectors.form_factors(factors, of_ion, phases, onto)

    def _at(self, values: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        """Form factor of an element at lengths |G|."""
        (lower, below), (upper, above) = self._interpolation(q)
        return values[lower] * below + values[upper] * above


class FormFactorFit:
    """Least-squares fit of the form factors over the densities of many crystals.

    A crystal is weighted by the square integral of its residual density per ion.

    Parameters
    ----------
    factors
        What is fitted.
    """

    def __init__(self, factors: FormFactors) -> None:
        self.factors = factors
        n_unknown = factors.values.numel()
        self.gram = factors.values.new_zeros(n_unknown, n_unknown, dtype=torch.float64)
        self.target = factors.values.new_zeros(n_unknown, dtype=torch.float64)

    def add(
        self,
        species: torch.Tensor,
        g_vectors: GVectors,
        phases: torch.Tensor,
        residual: torch.Tensor,
    ) -> None:
        """Add a crystal to the normal equations.

        Parameters
        ----------
        species
            Element of each ion, shape (ions,).
        g_vectors
            The G vectors.
        phases
            Phase factors of the ions, shape (ions, G vectors).
        residual
            Fourier coefficients of the converged less the predicted density, shape (G vectors,),
            complex, electrons.
        """
        n_unknown, n_knots = len(self.target), self.factors.values.shape[1]
        kinds, of_ion = species.unique(return_inverse=True)
        structure = g_vectors.structure_factors(of_ion, len(kinds), phases)
        weight = (g_vectors.multiplicity / (g_vectors.volume * len(species))).double()
        # Every |G| lies between two knots: a row of the design matrix has two entries per element.
        rows = [
            (int(kind) * n_knots + knots, weights * factor)
            for kind, factor in zip(kinds, structure.to(torch.complex128), strict=True)
            for knots, weights in self.factors._interpolation(g_vectors.q)
        ]
        for place, value in rows:
            weighted = weight * value.conj()
            self.target.index_add_(0, place, (weighted * residual).real)
            for other, against in rows:
                products = (weighted * against).real
                self.gram.view(-1).index_add_(0, place * n_unknown + other, products)

    def solve(self) -> None:
        """Add the solution of the damped normal equations to the form factors."""
        size = self.gram.diagonal()
        # Knots without data stay zero.
        damped = self.gram + torch.diag(_RIDGE * size + (size == 0))
        solution = torch.linalg.solve(damped, self.target)
        self.factors.values += solution.view_as(self.factors.values)
