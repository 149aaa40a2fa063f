"""Network of SCDP: molecules in boxes, its basis, output head and scaling factors."""

from __future__ import annotations

import itertools
from math import log
from typing import TYPE_CHECKING

import numpy as np
import torch
from pymatgen.analysis.molecule_structure_comparator import CovalentRadius
from torch import nn
from typing_extensions import override

from mlcharge_flows.density.crystal import NeighborList
from mlcharge_flows.models.checkpoint import network_of
from mlcharge_flows.models.model import ModelError
from mlcharge_flows.models.orbital.equivariant import EquivariantLinear, GauntProduct
from mlcharge_flows.models.orbital.error_estimate import estimate_of
from mlcharge_flows.models.orbital.graph import Graph
from mlcharge_flows.models.orbital.model import OrbitalModel
from mlcharge_flows.models.orbital.network import OrbitalNetwork
from mlcharge_flows.models.scdp.basis import SpeciesBasis
from mlcharge_flows.models.scdp.config import ScdpConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.models.checkpoint import Checkpoint

BOND_FACTOR = 1.3
"""Two atoms are bonded if nearer than this times the sum of their covalent radii."""
GAP_FACTOR = 1.2
"""Copies are farther apart than this times the widest gap within the molecule."""

_DEFAULT_RADIUS = 1.5
"""Covalent radius of elements without a tabulated one, angstrom."""


class ScdpNetwork(OrbitalNetwork):
    """Equivariant network of SCDP, of molecules in boxes or of crystals.

    Parameters
    ----------
    config
        Its size and options.

    References
    ----------
    X. Fu et al., NeurIPS 2024, arXiv:2405.19276, section 4 and appendix (scaling factors).
    """

    def __init__(self, config: ScdpConfig) -> None:
        basis = SpeciesBasis([config.shells[symbol] for symbol in config.species], config.ratio)
        super().__init__(config, basis)
        self.scdp = config
        self.head = SquareHead(config.n_channels, config.lmax, basis.lmax)

    @override
    def graph(self, crystal: Crystal) -> Graph:
        return graph_of(crystal, self.scdp)

    @override
    def features(self, graph: Graph) -> torch.Tensor:
        features: torch.Tensor = self.head(super().features(graph))
        return features

    @override
    def scales(self, raw: torch.Tensor) -> torch.Tensor:
        fractions: torch.Tensor = torch.sigmoid(raw - log(2))
        scales: torch.Tensor = 0.5 + 1.5 * fractions.unflatten(-1, (-1, self.basis.n_exponents))
        return scales


class SquareHead(nn.Module):
    """Features up to the degree of the orbitals, from those of the network and their squares.

    The Gaunt product of the features with themselves reaches twice their degree, as the tensor
    product at the end of the published network.

    Parameters
    ----------
    n_channels
        Channels of the features, in and out.
    lmax, lmax_out
        Highest degree in and out.
    """

    def __init__(self, n_channels: int, lmax: int, lmax_out: int) -> None:
        super().__init__()
        kept = min(lmax, lmax_out)
        self.n_channels, self.n_kept, self.n_out = n_channels, (kept + 1) ** 2, (lmax_out + 1) ** 2
        self.residual = EquivariantLinear(n_channels, n_channels, kept)
        self.factors = EquivariantLinear(n_channels, 2 * n_channels, lmax)
        self.product = GauntProduct(lmax, 2, lmax_out)
        self.update = EquivariantLinear(n_channels, n_channels, lmax_out)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Features of the degrees of the orbitals.

        Parameters
        ----------
        features
            Shape (sites, (lmax + 1)^2, n_channels).

        Returns
        -------
        torch.Tensor
            Shape (sites, (lmax_out + 1)^2, n_channels).
        """
        factors = self.factors(features).unflatten(-1, (2, self.n_channels))
        (square,) = self.product(factors)
        residual = self.residual(features[:, : self.n_kept])
        update: torch.Tensor = self.update(square)
        return update + nn.functional.pad(residual, (0, 0, 0, self.n_out - self.n_kept))


class NotAMoleculeError(ModelError):
    """The cell holds a crystal, or a molecule in too small a box."""


def graph_of(crystal: Crystal, config: ScdpConfig) -> Graph:
    """Graph of a molecule, without edges to periodic images, or of a crystal.

    Parameters
    ----------
    crystal
        A crystal, or a molecule in a box.
    config
        ``periodic`` selects one of the two; ``virtual`` the virtual sites.

    Returns
    -------
    Graph
        Ions and virtual sites with their edges.

    Raises
    ------
    NotAMoleculeError
        A molecule is expected, and this is none.
    ValueError
        The config lacks an element of the crystal.
    """
    if config.periodic:
        return Graph.of(crystal, config)
    ions = one_copy(crystal)
    midpoints = bond_midpoints(crystal.symbols, ions) if config.virtual == "bonds" else ions[:0]
    sites = np.concatenate([ions, midpoints])
    return Graph.from_neighbors(
        crystal.symbols,
        [0] * len(midpoints),
        sites @ np.linalg.inv(crystal.lattice),
        NeighborList.of_sites(sites, config.cutoff),
        config,
    )


def one_copy(crystal: Crystal) -> np.ndarray:
    """Cartesian positions of one whole copy of the molecule, wherever the box cuts it.

    From the first ion on, the ion nearest to those placed already comes next, as its nearest image.
    If copies are farther from each other than the widest gap that this bridges, there is only one
    such copy, up to a lattice vector.

    Parameters
    ----------
    crystal
        The ions of the box.

    Returns
    -------
    numpy.ndarray
        Shape (n, 3), angstrom.

    Raises
    ------
    NotAMoleculeError
        Ions of another copy are about as near as those of the same.
    """
    lattice = crystal.lattice
    cells = np.array(list(itertools.product((-1, 0, 1), repeat=3))) @ lattice
    placed: np.ndarray = crystal.positions @ lattice
    left = set(range(1, len(crystal)))
    gaps = np.full(len(crystal), np.inf)
    nearest = placed.copy()
    last, widest = 0, 0.0
    while left:
        away = crystal.positions - placed[last] @ np.linalg.inv(lattice)
        images = ((away - np.round(away)) @ lattice)[:, None] + cells
        lengths = np.linalg.norm(images, axis=-1)
        chosen = lengths.argmin(axis=1)
        rows = np.arange(len(crystal))
        closer = lengths[rows, chosen] < gaps
        gaps[closer] = lengths[rows, chosen][closer]
        nearest[closer] = placed[last] + images[rows, chosen][closer]
        last = min(left, key=lambda ion: float(gaps[ion]))
        left.remove(last)
        placed[last], widest = nearest[last], max(widest, float(gaps[last]))
    _check_gap(crystal, placed, widest)
    return placed


def _check_gap(crystal: Crystal, placed: np.ndarray, widest: float) -> None:
    found = NeighborList.of_sites(placed, GAP_FACTOR * widest, crystal.lattice)
    within = placed[found.others] - placed[found.centers]
    elsewhere = np.linalg.norm(found.vectors - within, axis=1) > 1e-3
    if np.any(elsewhere):
        between = found.distances[elsewhere].min()
        raise NotAMoleculeError(
            f"not an isolated molecule: ions of two periodic images are {between:.2f} angstrom "
            f"apart, gaps within one are up to {widest:.2f}; enlarge the box, or use a model of "
            "crystals"
        )


def bond_midpoints(symbols: Sequence[str], placed: np.ndarray) -> np.ndarray:
    """Midpoints of the bonds of a molecule.

    Parameters
    ----------
    symbols
        Elements.
    placed
        Cartesian positions of one copy, shape (n, 3), angstrom.

    Returns
    -------
    numpy.ndarray
        Shape (bonds, 3), angstrom.

    References
    ----------
    B. Cordero et al., Dalton Trans. 2832 (2008): covalent radii, as tabulated in pymatgen.

    Examples
    --------
    >>> import numpy as np
    >>> water = np.array([[0.0, 0.0, 0.12], [0.0, 0.76, -0.48], [0.0, -0.76, -0.48]])
    >>> bond_midpoints(["O", "H", "H"], water).round(2).tolist()
    [[0.0, 0.38, -0.18], [0.0, -0.38, -0.18]]
    """
    radii = np.array([CovalentRadius.radius.get(symbol, _DEFAULT_RADIUS) for symbol in symbols])
    distances = np.linalg.norm(placed[:, None] - placed, axis=-1)
    bonded = np.triu(distances < BOND_FACTOR * np.add.outer(radii, radii), k=1)
    first, second = np.nonzero(bonded)
    midpoints: np.ndarray = (placed[first] + placed[second]) / 2
    return midpoints


def load(checkpoint: Checkpoint) -> OrbitalModel:
    """Build the model of a checkpoint; it predicts as the orbital model does.

    Parameters
    ----------
    checkpoint
        With the free atom of every element.

    Returns
    -------
    OrbitalModel
        Ready to predict.

    Raises
    ------
    CheckpointError
        Its weights do not fit its card, or free atoms are missing.
    """
    network = network_of(checkpoint, lambda given: ScdpNetwork(ScdpConfig.model_validate(given)))
    estimate = estimate_of(checkpoint)
    return OrbitalModel(checkpoint.card, network, checkpoint.card.free_atoms, estimate)
