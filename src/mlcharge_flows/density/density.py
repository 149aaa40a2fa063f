"""A complete initial density: valence charge on a grid, and augmentation occupancies."""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from mlcharge_flows.density.crystal import Crystal


@dataclass(frozen=True, eq=False)
class Magnetization:
    """The spin part of a collinear density.

    Parameters
    ----------
    grid
        Up minus down, in electrons per cubic angstrom, index order (x, y, z).
    augmentation
        Augmentation occupancies of up minus down, one array per ion, or None.
    moments
        The moment line of a spin-polarized CHGCAR, one value per ion in Bohr magnetons: the *input*
        MAGMOM.
    """

    grid: np.ndarray
    augmentation: tuple[np.ndarray, ...] | None
    moments: np.ndarray


@dataclass(frozen=True, eq=False)
class Density:
    """A valence charge density and the augmentation occupancies that belong to it.

    The grid holds what VASP's CHGCAR holds: smooth pseudo density plus compensation charge. It
    integrates to NELECT and may be negative near nuclei; negative values are kept.

    Parameters
    ----------
    crystal
        The ions.
    total
        Electrons per cubic angstrom on the fine grid, index order (x, y, z), points at i/n.
    augmentation
        Augmentation occupancies of each ion in VASP's order (layout:
        :mod:`mlcharge_flows.density.augmentation`), or None where the file has none.
    magnetization
        The spin part, or None.
    comment
        First line of the file. VASP echoes its first word when it reads the density.

    Raises
    ------
    ValueError
        The grid is not three-dimensional, the number of ions differs, or the magnetization is on
        another grid.
    """

    crystal: Crystal
    total: np.ndarray
    augmentation: tuple[np.ndarray, ...] | None = None
    magnetization: Magnetization | None = None
    comment: str = "unknown system"

    def __post_init__(self) -> None:
        if self.total.ndim != 3:
            raise ValueError(f"the grid has {self.total.ndim} dimensions, expected 3")
        if self.augmentation is not None and len(self.augmentation) != len(self.crystal):
            raise ValueError(
                f"augmentation occupancies of {len(self.augmentation)} ions, the crystal has "
                f"{len(self.crystal)}"
            )
        if self.magnetization is not None and self.magnetization.grid.shape != self.total.shape:
            raise ValueError("total and magnetization are on different grids")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Grid points along each lattice vector: (NGXF, NGYF, NGZF)."""
        nx, ny, nz = self.total.shape
        return nx, ny, nz

    @property
    def n_electrons(self) -> float:
        """Integral of the density over the cell."""
        return float(np.mean(self.total) * self.crystal.volume)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over ions, grids and augmentation occupancies, in hexadecimal.

        The comment is left out: it may hold the first digits of the fingerprint, so that VASP's
        echo of the comment identifies the density.
        """
        digest = sha256(repr((self.crystal.symbols, self.total.shape)).encode())
        grids = [self.crystal.lattice, self.crystal.positions, self.total]
        occupancies = [*(self.augmentation or ())]
        if self.magnetization is not None:
            grids.append(self.magnetization.grid)
            occupancies += self.magnetization.augmentation or ()
        for array in [*grids, *occupancies]:
            digest.update(np.ascontiguousarray(array, dtype="<f8").data)
        return digest.hexdigest()

    def scaled_to(self, n_electrons: float) -> Self:
        """Multiply the total grid so that it integrates to a number of electrons.

        Augmentation occupancies and magnetization stay as they are.

        Parameters
        ----------
        n_electrons
            NELECT.

        Returns
        -------
        Density
            Of the same type.

        Raises
        ------
        ValueError
            The integral of the grid is zero or not finite.

        Examples
        --------
        >>> import numpy as np
        >>> from mlcharge_flows.density.crystal import Crystal
        >>> from mlcharge_flows.density.density import Density
        >>> atom = Crystal(np.eye(3) * 3.0, ("Li",), np.zeros((1, 3)))
        >>> round(Density(atom, np.ones((2, 2, 2))).scaled_to(1.0).n_electrons, 12)
        1.0
        """
        held = self.n_electrons
        if not np.isfinite(held) or held == 0.0:
            raise ValueError(f"a density that integrates to {held} cannot be scaled")
        return replace(self, total=self.total * (n_electrons / held))
