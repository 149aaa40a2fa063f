"""Fourier coefficients of a real density: half of the G vectors of its grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

from mlcharge_flows.density.grid import half_frequencies

if TYPE_CHECKING:
    from mlcharge_flows.density.crystal import Crystal


@dataclass(frozen=True, eq=False)
class GVectors:
    """G vectors of a grid without the Nyquist frequencies, half of the space.

    Parameters
    ----------
    indices
        Of the kept components in the flat half spectrum, shape (n,).
    miller
        Miller indices, shape (n, 3).
    q
        Lengths in 1/angstrom, shape (n,).
    multiplicity
        2 where the other half holds the conjugate, shape (n,).
    volume
        Of the cell in angstrom^3.
    """

    indices: np.ndarray
    miller: np.ndarray
    q: np.ndarray
    multiplicity: np.ndarray
    volume: float

    @classmethod
    def of(cls, crystal: Crystal, shape: tuple[int, int, int], zero: bool = False) -> GVectors:
        """G vectors of a grid.

        Parameters
        ----------
        crystal
            Its lattice is taken.
        shape
            The grid (NGXF, NGYF, NGZF).
        zero
            Whether G = 0 is among them.

        Returns
        -------
        GVectors
            In the order of the half spectrum.
        """
        miller = np.stack(np.meshgrid(*half_frequencies(shape), indexing="ij"), -1).reshape(-1, 3)
        size = np.asarray(shape)
        kept = np.any(miller != 0, axis=1) | zero
        kept &= np.all((2 * np.abs(miller) != size) | (size % 2 == 1), axis=1)
        miller = miller[kept]
        q = np.linalg.norm(miller @ crystal.reciprocal, axis=1)
        multiplicity = np.where(miller[:, 2] == 0, 1.0, 2.0)
        return cls(np.flatnonzero(kept), miller, q, multiplicity, crystal.volume)

    def where(self, chosen: np.ndarray) -> GVectors:
        """Some of the G vectors.

        Parameters
        ----------
        chosen
            Which ones, shape (n,).

        Returns
        -------
        GVectors
            Those that are chosen.
        """
        return GVectors(
            self.indices[chosen],
            self.miller[chosen],
            self.q[chosen],
            self.multiplicity[chosen],
            self.volume,
        )

    def coefficients(self, grid: np.ndarray) -> np.ndarray:
        """Fourier coefficients of a density.

        Parameters
        ----------
        grid
            Electrons/angstrom^3, index order (x, y, z).

        Returns
        -------
        numpy.ndarray
            Electrons, shape (n,), complex.
        """
        spectrum: np.ndarray = fft.rfftn(grid).ravel()[self.indices]
        return spectrum * (self.volume / grid.size)
