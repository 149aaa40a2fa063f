"""Where orbitals may sit besides the ions: middles of bonds, and interstices.

SCDP (Fu et al., NeurIPS 2024) puts virtual nodes on bond midpoints of molecules. In crystals the
interstices, vertices of the Voronoi cells, are the other natural choice. Both sets follow from
distances alone and merge what coincides, so that they turn, shift and repeat with the crystal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import Voronoi, cKDTree

if TYPE_CHECKING:
    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.models.orbital.config import VirtualSites

BOND = 1.2
"""A pair is a bond if it is no longer than this times the shortest pair of either ion."""
MERGED = 0.7
"""Virtual sites closer than this (angstrom) become one, at their center."""
ROOM = 1.2
"""An interstice is at least this far (angstrom) from the nearest ion."""


def virtual_sites(crystal: Crystal, kind: VirtualSites) -> tuple[np.ndarray, list[int]]:
    """Virtual sites of a crystal.

    Parameters
    ----------
    crystal
        The ions.
    kind
        Which sites to make.

    Returns
    -------
    positions : numpy.ndarray
        Fractional coordinates, shape (n, 3).
    kinds : list of int
        0 or 1 for each: its kind, in the order bonds, interstices.
    """
    sets = []
    if kind in ("bonds", "both"):
        sets.append(bond_midpoints(crystal))
    if kind in ("interstitials", "both"):
        sets.append(interstices(crystal))
    kinds = [index for index, sites in enumerate(sets) for _ in range(len(sites))]
    return np.concatenate(sets) if sets else np.empty((0, 3)), kinds


def bond_midpoints(crystal: Crystal) -> np.ndarray:
    """Middles of the bonds of a crystal, fractional coordinates, shape (n, 3)."""
    images, owners = _images(crystal, 1)
    home = len(images) // 2 // len(crystal) * len(crystal)
    here = slice(home, home + len(crystal))
    tree = cKDTree(images)
    nearest = tree.query(images[here], k=2)[0][:, 1]
    middles = []
    for ion, (center, radius) in enumerate(zip(images[here], nearest, strict=True)):
        for other in tree.query_ball_point(center, BOND * radius * (1 + 1e-9)):
            distance = np.linalg.norm(images[other] - center)
            if other != home + ion and distance <= BOND * nearest[owners[other]] * (1 + 1e-9):
                middles.append((images[other] + center) / 2)
    return _merged(np.array(middles).reshape(-1, 3) @ np.linalg.inv(crystal.lattice), crystal)


def interstices(crystal: Crystal) -> np.ndarray:
    """Voronoi vertices with room for an orbital, fractional coordinates, shape (n, 3)."""
    images, _ = _images(crystal, 2)
    vertices = Voronoi(images).vertices @ np.linalg.inv(crystal.lattice)
    inside = vertices[np.all((vertices > -0.5 - 1e-9) & (vertices < 0.5 + 1e-9), axis=1)]
    room = cKDTree(images).query(inside @ crystal.lattice)[0]
    return _merged(inside[room >= ROOM], crystal)


def _images(crystal: Crystal, reach: int) -> tuple[np.ndarray, np.ndarray]:
    """Ions of the cells around the home cell, cartesian, and which ion each is an image of."""
    # Along a short axis more cells are needed to surround the home cell.
    lengths = 1 / np.linalg.norm(np.linalg.inv(crystal.lattice), axis=0)
    cells = np.ceil(reach * np.maximum(1.0, lengths.max() / lengths)).astype(int)
    steps = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in cells), indexing="ij"), -1)
    steps = steps.reshape(-1, 3)
    wrapped = crystal.positions - np.round(crystal.positions)
    fractional = (steps[:, None] + wrapped[None]).reshape(-1, 3)
    return fractional @ crystal.lattice, np.tile(np.arange(len(crystal)), len(steps))


def _merged(positions: np.ndarray, crystal: Crystal) -> np.ndarray:
    """Replace clusters of sites (and periodic images of them) by their centers."""
    if not len(positions):
        return positions
    positions = positions - np.floor(positions + 1e-9)
    shifts = np.stack(np.meshgrid(*([(-1, 0, 1)] * 3), indexing="ij"), -1).reshape(-1, 3)
    images = (positions[None] + shifts[:, None]).reshape(-1, 3)
    pairs = cKDTree(positions @ crystal.lattice).query_ball_tree(
        cKDTree(images @ crystal.lattice), MERGED
    )
    rows = np.repeat(np.arange(len(positions)), [len(found) for found in pairs])
    columns = np.concatenate([np.array(found, dtype=int) for found in pairs])
    near = coo_array((np.ones(len(rows)), (rows, columns % len(positions))))
    near.resize(len(positions), len(positions))
    count, cluster = connected_components(near, directed=False)
    centers = np.empty((count, 3))
    for index in range(count):
        members = positions[cluster == index]
        # Images of the members beside the first of them, not across the cell.
        offsets = members - members[0]
        centers[index] = members[0] + np.mean(offsets - np.round(offsets), axis=0)
    return centers % 1.0
