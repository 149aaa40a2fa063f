"""A crystal with its identifier, and what makes a crystal unusable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlcharge_flows.errors import MlchargeError

if TYPE_CHECKING:
    from pathlib import Path

    from pymatgen.core.structure import Structure

CLOSEST = 0.5
"""Atoms nearer than this are on top of each other, in angstrom (H2 measures 0.74)."""

MAX_IONS = 5000
"""Most ions of a structure; VASP runs of more are out of this package's reach."""

MAX_LENGTH = 1000.0
"""Longest lattice vector, in angstrom; more is a slip of the exponent."""


class StructureError(MlchargeError, ValueError):
    """A structure or its file cannot be used; the message is one line with what to do."""


@dataclass(frozen=True)
class Material:
    """A structure and the identifier that its results go by.

    Parameters
    ----------
    id
        Unique within a campaign, and usable as the name of a folder.
    structure
        Ordered crystal.
    source
        File that it came from.
    split
        What the file says it is for: ``train``, ``validation``, ``test``; empty if nothing.
    """

    id: str
    structure: Structure
    source: Path
    split: str = ""


def check_structure(structure: Structure) -> None:
    """Refuse what no plane-wave calculation can start from.

    Parameters
    ----------
    structure
        Any structure.

    Raises
    ------
    StructureError
        There are no atoms or too many, numbers are not finite, the cell is degenerate, sites are
        partly occupied, or atoms are on top of each other.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> check_structure(Structure(Lattice.cubic(1e-6), ["He"], [[0, 0, 0]]))
    Traceback (most recent call last):
    mlcharge_flows.structures.material.StructureError: a lattice vector measures 1e-06 angstrom; \
correct the cell
    """
    if len(structure) == 0:
        raise StructureError("there are no atoms in it; is the file complete?")
    if len(structure) > MAX_IONS:
        raise StructureError(f"has {len(structure)} atoms; the limit is {MAX_IONS}")
    if not structure.is_ordered:
        raise StructureError("sites are partly occupied; give an ordered structure")
    if not (
        np.isfinite(structure.lattice.matrix).all() and np.isfinite(structure.frac_coords).all()
    ):
        raise StructureError("a coordinate or a lattice vector is not a finite number")
    _check_cell(structure)
    first_ions, second_ions, _, distances = structure.get_neighbor_list(CLOSEST, exclude_self=True)
    if len(distances):
        nearest = distances.argmin()
        first, second = sorted((int(first_ions[nearest]), int(second_ions[nearest])))
        raise StructureError(
            f"atoms {first + 1} ({structure[first].specie}) and {second + 1} "
            f"({structure[second].specie}) are {distances[nearest]:.2f} angstrom apart; "
            "remove one of them or correct the cell"
        )


def _check_cell(structure: Structure) -> None:
    """Refuse a cell in which a search for neighbors would never end."""
    with np.errstate(all="ignore"):
        lengths = np.linalg.norm(structure.lattice.matrix, axis=1)
        volume = abs(np.linalg.det(structure.lattice.matrix))
    for length in (lengths.min(), lengths.max()):
        if not CLOSEST <= length <= MAX_LENGTH:
            raise StructureError(f"a lattice vector measures {length:g} angstrom; correct the cell")
    # Nothing has less than half a cubic angstrom per atom, not even compressed helium.
    if volume < 0.5 * len(structure):
        raise StructureError(f"the cell has {volume:.3g} cubic angstrom; correct the cell")
    shortest = min(structure.lattice.get_lll_reduced_lattice().abc)
    if shortest < CLOSEST:
        raise StructureError(
            f"periodic images of an atom are {shortest:.2g} angstrom apart; correct the cell"
        )
