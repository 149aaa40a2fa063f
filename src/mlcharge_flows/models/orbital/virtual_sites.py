"""Virtual sites: bond midpoints and interstitial sites that carry orbitals besides the ions.

Bond midpoints are those of SCDP's virtual nodes; interstitial sites are vertices of the Voronoi
cells. Both sets follow from interatomic distances alone and merge coinciding sites, so that they
rotate, translate and repeat with the crystal.

References
----------
X. Fu et al., NeurIPS 2024, arXiv:2405.19276, section 4 (virtual orbitals).
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

BOND_FACTOR = 1.2
"""A bond is at most this times as long as the shortest pair of either of its ions."""
MERGE_DISTANCE = 0.7
"""Virtual sites closer than this are merged into one at their center, angstrom."""
MIN_ION_DISTANCE = 1.2
"""Least distance of an interstitial site from an ion, angstrom."""


def virtual_sites(crystal: Crystal, kind: VirtualSites) -> tuple[np.ndarray, list[int]]:
    """Virtual sites of a crystal.

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
