"""How elements and distances are described to the network, before it has learned anything."""

from __future__ import annotations

from math import pi
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from mlcharge_flows.models.orbital.elements import N_PROPERTIES, properties, radii

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.models.orbital.config import SiteConfig
    from mlcharge_flows.models.orbital.graph import Graph

_APART = 0.1
"""Spread of what is learned of elements before any training; their properties spread by 1."""
_VIRTUAL_RADIUS = 1.0
"""Size of a virtual site, angstrom."""
_STEP = 0.1
"""Mesh of the atomic densities, angstrom."""
_FAINT = 1e-4
"""Electrons per cubic angstrom below which an atom ends."""


class Description(nn.Module):
    """Numbers for each species and for each pair of sites.

    An element has tabulated properties and a learned vector that starts small, so that rare
    elements stay near their kin. A pair has its distance in three ways: as waves up to the cutoff,
    in units of both atoms' radii, and as the density that either free atom has at the other.

    Parameters
    ----------
    config
        Which of these, and how many numbers.
    """

    properties: torch.Tensor
    radii: torch.Tensor
    profiles: torch.Tensor

    def __init__(self, config: SiteConfig) -> None:
        super().__init__()
        self.config = config
        self.learned = nn.Embedding(config.n_species, config.n_embedding)
        nn.init.normal_(self.learned.weight, std=_APART if config.tabulated else 1.0)
        self.from_properties = (
            nn.Linear(N_PROPERTIES, config.n_embedding, bias=False) if config.tabulated else None
        )
        n_virtual = config.n_species - len(config.elements)
        known = np.vstack([properties(config.elements), np.zeros((n_virtual, N_PROPERTIES))])
        sizes = np.concatenate([radii(config.elements), np.full(n_virtual, _VIRTUAL_RADIUS)])
        n_mesh = int(np.ceil(config.cutoff / _STEP)) + 2
        dtype = torch.get_default_dtype()
        for name, values in (("properties", known), ("radii", sizes)):
            self.register_buffer(name, torch.tensor(values, dtype=dtype), persistent=False)
        if config.profiles:
            self.register_buffer("profiles", torch.zeros(config.n_species, n_mesh))

    @property
    def n_pair(self) -> int:
        """Numbers that describe a pair."""
        return self.config.n_radial + self.config.n_scaled + 2 * self.config.profiles

    def set_atoms(self, atoms: Mapping[str, PawDataset]) -> None:
        r"""Take the densities of the free atoms from their form factors.

        .. math:: \rho(r) = \frac{1}{2\pi^2} \int f(q)\, j_0(qr)\, q^2\, dq
        """
        if not self.config.profiles:
            return
        r = np.arange(self.profiles.shape[1]) * _STEP
        for index, symbol in enumerate(self.config.elements):
            density = atoms[symbol].density_at(r)
            levels = np.log10(np.maximum(density, _FAINT) / _FAINT)
            self.profiles[index] = torch.tensor(levels, dtype=self.profiles.dtype)

    def species(self) -> torch.Tensor:
        """Numbers of each species, shape (species, n_embedding)."""
        learned = self.learned.weight
        if self.from_properties is None:
            return learned
        return learned + self.from_properties(self.properties)

    def pairs(self, graph: Graph) -> tuple[torch.Tensor, torch.Tensor]:
        """Numbers of each pair, shape (pairs, n_pair), and its smooth cutoff, shape (pairs,)."""
        centers, others = graph.species[graph.centers], graph.species[graph.others]
        distances = graph.distances
        share = distances / self.config.cutoff
        # Spherical Bessel waves of order zero and the envelope of DimeNet (Gasteiger, 2020).
        n = torch.arange(1, self.config.n_radial + 1, device=distances.device)
        height = 2 * (2 / self.config.cutoff) ** 0.5
        numbers = [height * torch.sin(pi * n * share[:, None]) / distances[:, None]]
        envelope = 1 - 28 * share**6 + 48 * share**7 - 21 * share**8
        if self.config.n_scaled:
            marks = torch.linspace(0.6, 2.6, self.config.n_scaled, device=distances.device)
            width = 2.0 / max(self.config.n_scaled - 1, 1)
            bonds = distances / (self.radii[centers] + self.radii[others])
            numbers.append(torch.exp(-(((bonds[:, None] - marks) / width) ** 2)))
        if self.config.profiles:
            place = (distances / _STEP).clamp(max=self.profiles.shape[1] - 1.001)
            before = place.floor().long()
            beyond = place - before
            for kind in (centers, others):
                left, right = self.profiles[kind, before], self.profiles[kind, before + 1]
                numbers.append((left + beyond * (right - left))[:, None])
        return torch.cat(numbers, dim=-1), envelope * (share < 1)
