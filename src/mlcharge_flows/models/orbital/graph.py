"""Graph of the ions and virtual sites of a crystal, with edges across periodic boundaries."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import pi, sqrt
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import Voronoi, cKDTree

from mlcharge_flows.density.crystal import NeighborList
from mlcharge_flows.density.harmonics import real_harmonics
from mlcharge_flows.models.orbital.equivariant import scatter_sum

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.models.orbital.config import SiteConfig, VirtualSites

_MIN_DISTANCE = 1e-6
"""Coinciding sites, which have no direction, have no edge, angstrom."""
_DISTANCE_TOLERANCE = 1e-5
"""Distances that agree to this are equal, angstrom."""
BOND_FACTOR = 1.2
"""A bond is at most this times as long as the shortest pair of either of its ions."""
MERGE_DISTANCE = 0.7
"""Virtual sites closer than this are merged into one at their center, angstrom."""
MIN_ION_DISTANCE = 1.2
"""Least distance of an interstitial site from an ion, angstrom."""


def harmonics(vectors: np.ndarray, lmax: int) -> torch.Tensor:
    """Real spherical harmonics of all degrees up to `lmax`.

    Parameters
    ----------
    vectors
        Cartesian vectors of any length but zero, shape (n, 3).
    lmax
        Highest degree.

    Returns
    -------
    torch.Tensor
        Shape (n, (lmax + 1)^2), orthonormal on the unit sphere, m = -l..l; computed in double
        precision, returned in torch's default type.

    Examples
    --------
    >>> import numpy as np
    >>> round(float(harmonics(np.array([[0.0, 0.0, 2.0]]), 1)[0, 2]), 4)  # Y_10 along z
    0.4886
    """
    directions = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    values = np.concatenate(real_harmonics(lmax, directions), axis=-1)
    return torch.from_numpy(values).to(torch.get_default_dtype())


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
    spins
        Sign of the moment of each site, 1, -1 or 0, shape (sites,); None where all are zero.
    """

    species: torch.Tensor
    centers: torch.Tensor
    neighbors: torch.Tensor
    distances: torch.Tensor
    harmonics: torch.Tensor
    positions: torch.Tensor
    n_sites: tuple[int, ...]
    n_ions: tuple[int, ...]
    spins: torch.Tensor | None = None

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
        spins = [
            torch.zeros_like(graph.distances[:1]).expand(len(graph.species))
            if graph.spins is None
            else graph.spins
            for graph in graphs
        ]
        has_spins = any(graph.spins is not None for graph in graphs)
        return cls(
            torch.cat([graph.species for graph in graphs]),
            torch.cat([graph.centers + offset for graph, offset in shifted]),
            torch.cat([graph.neighbors + offset for graph, offset in shifted]),
            torch.cat([graph.distances for graph in graphs]),
            torch.cat([graph.harmonics for graph in graphs]),
            torch.cat([graph.positions for graph in graphs]),
            tuple(n for graph in graphs for n in graph.n_sites),
            tuple(n for graph in graphs for n in graph.n_ions),
            torch.cat(spins) if has_spins else None,
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
        spins = None if self.spins is None else self.spins.to(device)
        return replace(
            self, spins=spins, **{name: getattr(self, name).to(device) for name in names}
        )

    @property
    def n_neighbors(self) -> float:
        """Number of neighbors of all sites together, every periodic image counted."""
        return float(self.harmonics[:, 0].sum()) * sqrt(4 * pi)

    @property
    def crystal_of_site(self) -> torch.Tensor:
        """Index of the crystal that each site belongs to, shape (sites,)."""
        sizes = torch.tensor(self.n_sites, device=self.species.device)
        return torch.repeat_interleave(torch.arange(len(self.n_sites), device=sizes.device), sizes)


def virtual_sites(crystal: Crystal, kind: VirtualSites) -> tuple[np.ndarray, list[int]]:
    """Virtual sites of a crystal, which carry orbitals besides the ions.

    Bond midpoints are those of SCDP's virtual nodes; interstitial sites are vertices of the Voronoi
    cells. Both sets follow from interatomic distances alone and merge coinciding sites, so that
    they rotate, translate and repeat with the crystal.

    Parameters
    ----------
    crystal
        The ions.
    kind
        ``none``, ``bonds``, ``interstitials`` or ``both``.

    Returns
    -------
    positions : numpy.ndarray
        Fractional coordinates, shape (n, 3).
    kinds : list of int
        Index of the kind of each site, 0 or 1, in the order bonds, interstitials.

    References
    ----------
    X. Fu et al., NeurIPS 2024, arXiv:2405.19276, section 4 (virtual orbitals).
    """
    sets = []
    if kind in ("bonds", "both"):
        sets.append(bond_midpoints(crystal))
    if kind in ("interstitials", "both"):
        sets.append(interstitial_sites(crystal))
    kinds = [index for index, sites in enumerate(sets) for _ in range(len(sites))]
    return np.concatenate(sets) if sets else np.empty((0, 3)), kinds


def bond_midpoints(crystal: Crystal) -> np.ndarray:
    """Midpoints of the bonds of a crystal.

    Parameters
    ----------
    crystal
        The ions.

    Returns
    -------
    numpy.ndarray
        Fractional coordinates, shape (n, 3).
    """
    images, owners = _images(crystal, 1)
    home = len(images) // 2 // len(crystal) * len(crystal)
    cell = slice(home, home + len(crystal))
    tree = cKDTree(images)
    nearest = tree.query(images[cell], k=2)[0][:, 1]
    midpoints = []
    for ion, (center, radius) in enumerate(zip(images[cell], nearest, strict=True)):
        for other in tree.query_ball_point(center, BOND_FACTOR * radius * (1 + 1e-9)):
            distance = np.linalg.norm(images[other] - center)
            longest = BOND_FACTOR * nearest[owners[other]] * (1 + 1e-9)
            if other != home + ion and distance <= longest:
                midpoints.append((images[other] + center) / 2)
    return _merged(np.array(midpoints).reshape(-1, 3) @ np.linalg.inv(crystal.lattice), crystal)


def interstitial_sites(crystal: Crystal) -> np.ndarray:
    """Voronoi vertices at least :data:`MIN_ION_DISTANCE` from every ion.

    Parameters
    ----------
    crystal
        The ions.

    Returns
    -------
    numpy.ndarray
        Fractional coordinates, shape (n, 3).
    """
    images, _ = _images(crystal, 2)
    vertices = Voronoi(images).vertices @ np.linalg.inv(crystal.lattice)
    inside = vertices[np.all((vertices > -0.5 - 1e-9) & (vertices < 0.5 + 1e-9), axis=1)]
    distances = cKDTree(images).query(inside @ crystal.lattice)[0]
    return _merged(inside[distances >= MIN_ION_DISTANCE], crystal)


def _images(crystal: Crystal, reach: int) -> tuple[np.ndarray, np.ndarray]:
    """Cartesian positions of the ions of the cells around the home cell, and index of each ion."""
    # Along a short axis more cells are needed to surround the home cell.
    lengths = 1 / np.linalg.norm(np.linalg.inv(crystal.lattice), axis=0)
    cells = np.ceil(reach * np.maximum(1.0, lengths.max() / lengths)).astype(int)
    steps = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in cells), indexing="ij"), -1)
    steps = steps.reshape(-1, 3)
    wrapped = crystal.positions - np.round(crystal.positions)
    fractional = (steps[:, None] + wrapped[None]).reshape(-1, 3)
    return fractional @ crystal.lattice, np.tile(np.arange(len(crystal)), len(steps))


def _merged(positions: np.ndarray, crystal: Crystal) -> np.ndarray:
    """Replace clusters of sites, and of their periodic images, by their centers."""
    if not len(positions):
        return positions
    positions = positions - np.floor(positions + 1e-9)
    shifts = np.stack(np.meshgrid(*([(-1, 0, 1)] * 3), indexing="ij"), -1).reshape(-1, 3)
    images = (positions[None] + shifts[:, None]).reshape(-1, 3)
    pairs = cKDTree(positions @ crystal.lattice).query_ball_tree(
        cKDTree(images @ crystal.lattice), MERGE_DISTANCE
    )
    rows = np.repeat(np.arange(len(positions)), [len(found) for found in pairs])
    columns = np.concatenate([np.array(found, dtype=int) for found in pairs])
    near = coo_array((np.ones(len(rows)), (rows, columns % len(positions))))
    near.resize(len(positions), len(positions))
    count, cluster = connected_components(near, directed=False)
    centers = np.empty((count, 3))
    for index in range(count):
        members = positions[cluster == index]
        # The mean is taken over the images of the members nearest to the first of them.
        offsets = members - members[0]
        centers[index] = members[0] + np.mean(offsets - np.round(offsets), axis=0)
    return centers % 1.0
