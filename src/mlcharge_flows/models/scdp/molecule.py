"""A molecule in a periodic box: one copy of it, and its bonds."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
from pymatgen.analysis.molecule_structure_comparator import CovalentRadius

from mlcharge_flows.models.model import ModelError
from mlcharge_flows.models.orbital.graph import neighbors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlcharge_flows.density.crystal import Crystal

BONDED = 1.3
"""Two atoms are bonded if nearer than this times the sum of their covalent radii."""
APART = 1.2
"""Copies are farther apart than this times the widest gap within the molecule."""

_UNKNOWN_RADIUS = 1.5


class NotAMoleculeError(ModelError):
    """A crystal, or a molecule in too small a box; one line."""


def one_copy(crystal: Crystal) -> np.ndarray:
    """Cartesian positions of one whole copy of the molecule, however the walls cut it.

    From the first ion on, the ion nearest to those placed already comes next, as its nearest image.
    If copies are farther from each other than the widest gap that this bridges, there is only one
    such copy, but for a lattice vector.

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
    placed = crystal.positions @ lattice
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
        last = min(left, key=lambda ion: gaps[ion])
        left.remove(last)
        placed[last], widest = nearest[last], max(widest, float(gaps[last]))
    _check(crystal, placed, widest)
    return placed


def _check(crystal: Crystal, placed: np.ndarray, widest: float) -> None:
    positions = placed @ np.linalg.inv(crystal.lattice)
    centers, others, vectors = neighbors(crystal.lattice, positions, APART * widest)
    elsewhere = np.linalg.norm(vectors - (placed[others] - placed[centers]), axis=1) > 1e-3
    if np.any(elsewhere):
        between = np.linalg.norm(vectors[elsewhere], axis=1).min()
        raise NotAMoleculeError(
            f"not a molecule alone in its box: ions of two copies are {between:.2f} angstrom "
            f"apart, gaps within one are up to {widest:.2f}; enlarge the box, or take a model of "
            "crystals"
        )


def bond_midpoints(symbols: Sequence[str], placed: np.ndarray) -> np.ndarray:
    """Middles of the bonds of a molecule.

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

    Examples
    --------
    >>> import numpy as np
    >>> water = np.array([[0.0, 0.0, 0.12], [0.0, 0.76, -0.48], [0.0, -0.76, -0.48]])
    >>> bond_midpoints(["O", "H", "H"], water).round(2).tolist()
    [[0.0, 0.38, -0.18], [0.0, -0.38, -0.18]]
    """
    # Cordero et al., Dalton Trans. 2832 (2008), as tabulated in pymatgen.
    radii = np.array([CovalentRadius.radius.get(symbol, _UNKNOWN_RADIUS) for symbol in symbols])
    distances = np.linalg.norm(placed[:, None] - placed, axis=-1)
    first, second = np.nonzero(np.triu(distances < BONDED * np.add.outer(radii, radii), k=1))
    return (placed[first] + placed[second]) / 2
