"""A complete electronic start: the density on a grid and the on-site PAW occupancies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mlcharge_flows.density.crystal import Crystal


@dataclass(frozen=True, eq=False)
class Magnetisation:
    """The spin part of a collinear density.

    Parameters
    ----------
    grid
        Up minus down, in electrons per cubic angstrom, index order (x, y, z).
    occupancies
        On-site occupancies of up minus down, one record per ion, or None.
    moments
        The moment line of a spin-polarised CHGCAR, one value per ion: the *input* MAGMOM.
    """

    grid: np.ndarray
    occupancies: tuple[np.ndarray, ...] | None
    moments: np.ndarray


@dataclass(frozen=True, eq=False)
class Density:
    """A valence charge density and the PAW occupancies that belong to it.

    The grid holds what VASP's CHGCAR holds: smooth pseudo density plus compensation charge. It
    integrates to NELECT and may be negative near nuclei; nothing here clips it.

    Parameters
    ----------
    crystal
        The ions.
    total
        Electrons per cubic angstrom on the fine grid, index order (x, y, z), points at i/n.
    occupancies
        One flat record per ion in VASP's order (see :mod:`mlcharge_flows.density.occupancies`),
        or None where the file has none.
    magnetisation
        The spin part, or None.
    comment
        First line of the file; VASP echoes it when it reads the density, so it carries the proof.
    """

    crystal: Crystal
    total: np.ndarray
    occupancies: tuple[np.ndarray, ...] | None = None
    magnetisation: Magnetisation | None = None
    comment: str = "unknown system"

    def __post_init__(self) -> None:
        if self.total.ndim != 3:
            raise ValueError(f"the grid has {self.total.ndim} dimensions, expected 3")
        if self.occupancies is not None and len(self.occupancies) != len(self.crystal):
            raise ValueError(
                f"{len(self.occupancies)} occupancy records for {len(self.crystal)} ions"
            )
        if self.magnetisation is not None and self.magnetisation.grid.shape != self.total.shape:
            raise ValueError("total and magnetisation are on different grids")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Grid points along each lattice vector: (NGXF, NGYF, NGZF)."""
        nx, ny, nz = self.total.shape
        return nx, ny, nz

    @property
    def n_electrons(self) -> float:
        """Integral of the density over the cell."""
        return float(np.mean(self.total) * self.crystal.volume)
