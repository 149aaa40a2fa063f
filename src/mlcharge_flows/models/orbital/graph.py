"""Graph of the ions and virtual sites of a crystal, with edges across periodic boundaries."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import pi, sqrt
from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from mlcharge_flows.density.crystal import NeighborList
from mlcharge_flows.models.orbital.equivariant import harmonics
from mlcharge_flows.models.orbital.virtual_sites import virtual_sites

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.models.orbital.config import SiteConfig

_MIN_DISTANCE = 1e-6
"""Coinciding sites, which have no direction, have no edge, angstrom."""
_DISTANCE_TOLERANCE = 1e-5
"""Distances that agree to this are equal, angstrom."""


def scatter_sum(values: torch.Tensor, index: torch.Tensor, n: int) -> torch.Tensor:
    """Sum the rows that have the same index.

    Parameters
    ----------
    values
        Shape (rows, ..).
    index
        Row of the result that each row belongs to, shape (rows,).
    n
        Rows of the result.

    Returns
    -------
    torch.Tensor
        Shape (n, ..).

    Examples
    --------
    >>> scatter_sum(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0, 2, 0]), 3).tolist()
    [4.0, 0.0, 2.0]
    """
    return values.new_zeros(n, *values.shape[1:]).index_add(0, index, values)


@dataclass(frozen=True, eq=False)
class Graph:
    """Sites (ions first, then virtual sites) of one or several crystals, and directed edges.

    Messages are linear in the spherical harmonics of an edge, and depend otherwise on the two
    sites and their distance only. So periodic images of a neighbor at one distance from a center
    may share an edge that holds the sum of their harmonics (:meth:`merge_images`); in crystals
    this leaves a third of the edges.

    Parameters
    ----------
    species
        Index of the element or kind of virtual site, shape (sites,).
    centers, neighbors
        Receiving and sending site of each edge, shape (edges,).
    distances
        Length of each edge, shape (edges,), angstrom.
    harmonics
        Real spherical harmonics of the directions from center to neighbor, summed over the images
        that share the edge, shape (edges, (lmax + 1)^2). The first component divided by Y_00 is
        the number of images.
    positions
        Fractional coordinates, shape (sites, 3), double precision.
    n_sites
        Sites of each crystal.
    n_ions
        Ions of each crystal: the first of its sites.
    """

    species: torch.Tensor
    centers: torch.Tensor
    neighbors: torch.Tensor
    distances: torch.Tensor
    harmonics: torch.Tensor
    positions: torch.Tensor
    n_sites: tuple[int, ...]
    n_ions: tuple[int, ...]

    @classmethod
    def of(cls, crystal: Crystal, config: SiteConfig) -> Self:
        """Graph of a periodic crystal.

        Parameters
        ----------
        crystal
            The ions.
        config
            Elements, virtual sites, cutoff and highest degree.

        Returns
        -------
        Graph
            With one edge for all images of a neighbor at one distance.

        Raises
        ------
        ValueError
            The config lacks an element of the crystal.
        """
        positions, kinds = virtual_sites(crystal, config.virtual)
        positions = np.concatenate([crystal.positions, positions])
        sites = (positions % 1.0) @ crystal.lattice
        neighbors = NeighborList.of_sites(sites, config.cutoff, crystal.lattice)
        graph = cls.from_neighbors(crystal.symbols, kinds, positions, neighbors, config)
        return graph.merge_images()

    @classmethod
    def from_neighbors(
        cls,
        symbols: Sequence[str],
        kinds: Sequence[int],
        positions: np.ndarray,
        neighbors: NeighborList,
        config: SiteConfig,
    ) -> Self:
        """Graph of given sites, one edge for each pair of neighbors.

        Parameters
        ----------
        symbols
            Element of each ion.
        kinds
            Kind of each virtual site.
        positions
            Fractional coordinates of ions and virtual sites, shape (sites, 3).
        neighbors
            Of the sites among themselves.
        config
            Its elements are the species.

        Returns
        -------
        Graph
            Of one crystal.

        Raises
        ------
        ValueError
            The config lacks an element of the crystal.
        """
        if unknown := sorted(set(symbols) - set(config.elements)):
            raise ValueError(f"the model does not know {', '.join(unknown)}")
        species = [config.elements.index(symbol) for symbol in symbols]
        species += [len(config.elements) + kind for kind in kinds]
        apart = neighbors.distances > _MIN_DISTANCE
        return cls(
            torch.tensor(species),
            torch.from_numpy(neighbors.centers[apart]),
            torch.from_numpy(neighbors.others[apart]),
            torch.from_numpy(neighbors.distances[apart]).to(torch.get_default_dtype()),
            harmonics(neighbors.vectors[apart], config.lmax),
            torch.from_numpy(positions),
            (len(species),),
            (len(symbols),),
        )

    def merge_images(self) -> Self:
        """Merge the edges to images of one neighbor at one distance from a center.

        Returns
        -------
        Graph
            Edges sorted by center, neighbor and distance.
        """
        steps = (self.distances / _DISTANCE_TOLERANCE).round().long()
        keys = torch.stack([self.centers, self.neighbors, steps], dim=1)
        merged, index = keys.unique(dim=0, return_inverse=True)
        distances, counts, harmonics = (
            scatter_sum(values, index, len(merged))
            for values in (self.distances, torch.ones_like(self.distances), self.harmonics)
        )
        return replace(
            self,
            centers=merged[:, 0],
            neighbors=merged[:, 1],
            distances=distances / counts,
            harmonics=harmonics,
        )

    @classmethod
    def batch(cls, graphs: Sequence[Graph]) -> Self:
        """Disjoint union of the graphs of several crystals.

        Parameters
        ----------
        graphs
            At least one.

        Returns
        -------
        Graph
            Sites and edges in the order of the graphs.
        """
        offsets = np.cumsum([0, *(len(graph.species) for graph in graphs)])[:-1].tolist()
        shifted = list(zip(graphs, offsets, strict=True))
        return cls(
            torch.cat([graph.species for graph in graphs]),
            torch.cat([graph.centers + offset for graph, offset in shifted]),
            torch.cat([graph.neighbors + offset for graph, offset in shifted]),
            torch.cat([graph.distances for graph in graphs]),
            torch.cat([graph.harmonics for graph in graphs]),
            torch.cat([graph.positions for graph in graphs]),
            tuple(n for graph in graphs for n in graph.n_sites),
            tuple(n for graph in graphs for n in graph.n_ions),
        )

    def to(self, device: torch.device | str) -> Graph:
        """Copy the graph to a device.

        Parameters
        ----------
        device
            Such as ``cpu`` or ``cuda``.

        Returns
        -------
        Graph
            The same graph there.
        """
        names = ("species", "centers", "neighbors", "distances", "harmonics", "positions")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})

    @property
    def n_neighbors(self) -> float:
        """Number of neighbors of all sites together, every periodic image counted."""
        return float(self.harmonics[:, 0].sum()) * sqrt(4 * pi)

    @property
    def crystal_of_site(self) -> torch.Tensor:
        """Index of the crystal that each site belongs to, shape (sites,)."""
        sizes = torch.tensor(self.n_sites, device=self.species.device)
        return torch.repeat_interleave(torch.arange(len(self.n_sites), device=sizes.device), sizes)
