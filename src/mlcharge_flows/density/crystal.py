"""The ions of a periodic cell."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure


@dataclass(frozen=True, eq=False)
class Crystal:
    """Lattice and ions, in the order of the POSCAR.

    Parameters
    ----------
    lattice
        Lattice vectors as rows, shape (3, 3), in angstrom.
    symbols
        Element of each ion.
    positions
        Fractional coordinates, shape (n, 3).

    Raises
    ------
    ValueError
        The lattice or the positions have another shape.

    Examples
    --------
    >>> import numpy as np
    >>> from mlcharge_flows.density.crystal import Crystal
    >>> salt = Crystal(np.eye(3) * 4.0, ("Na", "Cl"), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]))
    >>> round(salt.volume, 9)
    64.0
    >>> salt.species
    (('Na', 1), ('Cl', 1))
    """

    lattice: np.ndarray
    symbols: tuple[str, ...]
    positions: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "lattice", np.asarray(self.lattice, dtype=float))
        object.__setattr__(self, "positions", np.asarray(self.positions, dtype=float))
        object.__setattr__(self, "symbols", tuple(self.symbols))
        if self.lattice.shape != (3, 3):
            raise ValueError(f"lattice has shape {self.lattice.shape}, expected (3, 3)")
        if self.positions.shape != (len(self.symbols), 3):
            raise ValueError(
                f"positions have shape {self.positions.shape}, expected ({len(self.symbols)}, 3)"
            )

    @classmethod
    def from_structure(cls, structure: Structure) -> Self:
        """Ions of a pymatgen Structure, in its order and without oxidation states.

        Parameters
        ----------
        structure
            Ordered structure.

        Returns
        -------
        Crystal
            Its lattice and ions.
        """
        symbols = tuple(site.specie.symbol for site in structure)
        return cls(structure.lattice.matrix, symbols, structure.frac_coords)

    def __len__(self) -> int:
        return len(self.symbols)

    @property
    def volume(self) -> float:
        """Cell volume in cubic angstrom."""
        return float(abs(np.linalg.det(self.lattice)))

    @property
    def reciprocal(self) -> np.ndarray:
        """Reciprocal lattice vectors as rows, with the factor 2 pi, in 1/angstrom."""
        return 2.0 * np.pi * np.linalg.inv(self.lattice).T

    @property
    def species(self) -> tuple[tuple[str, int], ...]:
        """Element and number of each run of equal ions, as a POSCAR lists them."""
        return tuple((symbol, len(list(run))) for symbol, run in groupby(self.symbols))
