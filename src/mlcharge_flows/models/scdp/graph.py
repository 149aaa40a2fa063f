"""Which sites see which: within one copy of a molecule, or across a crystal's boundaries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from mlcharge_flows.models.orbital.graph import Graph
from mlcharge_flows.models.scdp.molecule import bond_midpoints, one_copy

if TYPE_CHECKING:
    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.models.scdp.config import ScdpConfig


def graph_of(crystal: Crystal, config: ScdpConfig) -> Graph:
    """Ions and virtual sites with their neighbors.

    Parameters
    ----------
    crystal
        A crystal, or a molecule in a box.
    config
        Says which of the two, and which virtual sites.

    Raises
    ------
    NotAMoleculeError
        A molecule is expected, and this is none.
    ValueError
        An element is not one of the model's.
    """
    if config.periodic:
        return Graph.of(crystal, config)
    ions = one_copy(crystal)
    middles = bond_midpoints(crystal.symbols, ions) if config.virtual == "bonds" else ions[:0]
    sites = np.concatenate([ions, middles])
    return Graph.joining(
        crystal.symbols,
        [0] * len(middles),
        sites @ np.linalg.inv(crystal.lattice),
        _pairs(sites, config.cutoff),
        config,
    )


def _pairs(sites: np.ndarray, cutoff: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs closer than a cutoff, both directions, and the vectors between; no images."""
    pairs = cKDTree(sites).query_pairs(cutoff, output_type="ndarray")
    pairs = np.concatenate([pairs, pairs[:, ::-1]])
    pairs = pairs[np.lexsort(pairs.T[::-1])]
    centers, others = pairs.T
    return centers, others, sites[others] - sites[centers]
