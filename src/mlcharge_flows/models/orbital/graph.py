"""Which sites of a crystal see which, across its periodic boundaries."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import pi
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from scipy.spatial import cKDTree

from mlcharge_flows.models.orbital.degrees import harmonics
from mlcharge_flows.models.orbital.summed import summed
from mlcharge_flows.models.orbital.virtual import virtual_sites

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.models.orbital.config import SiteConfig

_SAME = 1e-6
"""A site is not its own neighbor, angstrom."""
_EQUAL = 1e-5
"""Distances that agree so far are one to the network, angstrom."""


def neighbors(
    lattice: np.ndarray, positions: np.ndarray, cutoff: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All pairs of sites closer than a cutoff, with every periodic image.

    Parameters
    ----------
    lattice
        Lattice vectors as rows, angstrom.
    positions
        Fractional coordinates, shape (n, 3).
    cutoff
        Angstrom.

    Returns
    -------
    centers, others : numpy.ndarray
        Indices of the two sites of each pair; both directions are there.
    vectors : numpy.ndarray
        From the center to the (image of the) other site, shape (pairs, 3), angstrom.
    """
    cart = (positions % 1.0) @ lattice
    reach = np.ceil(cutoff * np.linalg.norm(np.linalg.inv(lattice), axis=0)).astype(int)
    cells = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), -1)
    images = (cart[None] + (cells.reshape(-1, 3) @ lattice)[:, None]).reshape(-1, 3)
    pairs = cKDTree(cart).sparse_distance_matrix(cKDTree(images), cutoff, output_type="ndarray")
    pairs = np.sort(pairs[pairs["v"] > _SAME], order=("i", "j"))
    centers, of_images = pairs["i"], pairs["j"]
    return centers, of_images % len(cart), images[of_images] - cart[centers]


@dataclass(frozen=True, eq=False)
class Graph:
    """Sites (ions first, then virtual ones) of one or several crystals, and their neighbors.

    What a site hears of a neighbor is linear in the harmonics of its direction, and all else
    depends on the two sites and their distance. So the images of a site that are equally far from
    a center may be one pair, whose harmonics are their sum (:meth:`condensed`): in crystals, a
    third of the pairs.

    Parameters
    ----------
    species
        Index of element or kind of virtual site, shape (sites,).
    centers, others
        Sites of each directed pair, shape (pairs,).
    distances
        Of each pair, shape (pairs,), angstrom.
    directions
        Real harmonics of the directions from center to other, shape (pairs, (lmax + 1)^2). The
        first, in units of that of one direction, is the number of images.
    positions
        Fractional coordinates, shape (sites, 3), double precision.
    sizes
        Sites of each crystal.
    ions
        Ions of each crystal: the first of its sites.
    """

    species: torch.Tensor
    centers: torch.Tensor
    others: torch.Tensor
    distances: torch.Tensor
    directions: torch.Tensor
    positions: torch.Tensor
    sizes: tuple[int, ...]
    ions: tuple[int, ...]

    @classmethod
    def of(cls, crystal: Crystal, config: SiteConfig) -> Self:
        """Graph of one crystal, across its boundaries.

        Raises
        ------
        ValueError
            An element is not one of the model's.
        """
        positions, kinds = virtual_sites(crystal, config.virtual)
        positions = np.concatenate([crystal.positions, positions])
        pairs = neighbors(crystal.lattice, positions, config.cutoff)
        return cls.joining(crystal.symbols, kinds, positions, pairs, config).condensed()

    @classmethod
    def joining(
        cls,
        symbols: Sequence[str],
        kinds: Sequence[int],
        positions: np.ndarray,
        pairs: tuple[np.ndarray, np.ndarray, np.ndarray],
        config: SiteConfig,
    ) -> Self:
        """Graph of sites and pairs that are known.

        Parameters
        ----------
        symbols
            Element of each ion.
        kinds
            Kind of each virtual site.
        positions
            Fractional coordinates of ions and virtual sites, shape (sites, 3).
        pairs
            As :func:`neighbors` gives them.
        config
            Its elements are the species.

        Raises
        ------
        ValueError
            An element is not one of the model's.
        """
        if unknown := sorted(set(symbols) - set(config.elements)):
            raise ValueError(f"the model does not know {', '.join(unknown)}")
        species = [config.elements.index(symbol) for symbol in symbols]
        species += [len(config.elements) + kind for kind in kinds]
        centers, others, vectors = pairs
        return cls(
            torch.tensor(species),
            torch.from_numpy(centers.astype(np.int64)),
            torch.from_numpy(others.astype(np.int64)),
            torch.from_numpy(np.linalg.norm(vectors, axis=1)).to(torch.get_default_dtype()),
            harmonics(vectors, config.lmax),
            torch.from_numpy(positions),
            (len(species),),
            (len(symbols),),
        )

    def condensed(self) -> Self:
        """Make one pair of the images of a site that are equally far from a center."""
        steps = (self.distances / _EQUAL).round().long()
        keys = torch.stack([self.centers, self.others, steps], dim=1)
        alike, kind = keys.unique(dim=0, return_inverse=True)
        distances, counts, directions = (
            summed(values, kind, len(alike))
            for values in (self.distances, torch.ones_like(self.distances), self.directions)
        )
        return replace(
            self,
            centers=alike[:, 0],
            others=alike[:, 1],
            distances=distances / counts,
            directions=directions,
        )

    @classmethod
    def batch(cls, graphs: Sequence[Graph]) -> Self:
        """Several crystals beside each other, without pairs between them."""
        firsts = np.cumsum([0, *(len(graph.species) for graph in graphs)])[:-1].tolist()
        return cls(
            torch.cat([graph.species for graph in graphs]),
            torch.cat([graph.centers + first for graph, first in zip(graphs, firsts, strict=True)]),
            torch.cat([graph.others + first for graph, first in zip(graphs, firsts, strict=True)]),
            torch.cat([graph.distances for graph in graphs]),
            torch.cat([graph.directions for graph in graphs]),
            torch.cat([graph.positions for graph in graphs]),
            tuple(size for graph in graphs for size in graph.sizes),
            tuple(ions for graph in graphs for ions in graph.ions),
        )

    def to(self, device: torch.device | str) -> Graph:
        """Return the same graph on a device."""
        names = ("species", "centers", "others", "distances", "directions", "positions")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})

    @property
    def n_neighbors(self) -> float:
        """Neighbors of all sites together, every image counted."""
        return float(self.directions[:, 0].sum()) * (4 * pi) ** 0.5

    @property
    def crystal_of_site(self) -> torch.Tensor:
        """Index of the crystal that each site belongs to, shape (sites,)."""
        sizes = torch.tensor(self.sizes, device=self.species.device)
        return torch.repeat_interleave(torch.arange(len(self.sizes), device=sizes.device), sizes)
