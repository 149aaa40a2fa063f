"""A converged magnetization, packed as the density of a sample is."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Self

import numpy as np

from mlcharge_flows.density.density import Magnetization
from mlcharge_flows.training.quantization import (
    Quantized,
    coefficients_of,
    quantize,
    quantize_grid,
    to_grid,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TOLERANCE = 1e-3
"""Bound of the packing error relative to the magnetization (L1 norms)."""
NO_MOMENT = 0.01
"""Integral of |up - down| per ion below which a run ended without moments, Bohr magnetons."""
COMPENSATED = 0.1
"""Total moment over the integral of |up - down| below which a magnetization is antiferromagnetic.
"""


@dataclass(frozen=True, eq=False)
class PackedMagnetization:
    """Magnetization as integers; reversing all moments changes the signs of all of them.

    Parameters
    ----------
    grid
        G-vector coefficients of up minus down, electrons/angstrom^3.
    augmentation
        Augmentation occupancies of up minus down, ion after ion.
    magmom
        MAGMOM of the run, with signs, Bohr magnetons, shape (ions,).
    """

    grid: Quantized
    augmentation: Quantized
    magmom: np.ndarray

    @classmethod
    def pack(cls, magnetization: Magnetization, volume: float) -> Self | None:
        """Pack a magnetization; that of a run which ended without moments is zero.

        Parameters
        ----------
        magnetization
            Converged, with the MAGMOM of the run.
        volume
            Of the cell, angstrom^3.

        Returns
        -------
        PackedMagnetization or None
            None if it has no augmentation occupancies.

        Raises
        ------
        ValueError
            The numbers are not finite.
        """
        grid, augmentation = magnetization.grid, magnetization.augmentation
        if augmentation is None:
            return None
        flat = np.concatenate(augmentation)
        if np.abs(grid).mean() * volume < NO_MOMENT * len(augmentation):
            grid, flat = np.zeros_like(grid), np.zeros_like(flat)
        return cls(
            quantize_grid(grid, TOLERANCE),
            quantize(flat, TOLERANCE),
            np.array(magnetization.moments, dtype=float),
        )

    @property
    def is_zero(self) -> bool:
        """Whether the run ended without moments."""
        return not (self.grid.integers.any() or self.augmentation.integers.any())

    def is_antiferromagnetic(self, shape: Sequence[int]) -> bool:
        """Whether the moments cancel.

        Parameters
        ----------
        shape
            The fine grid (NGXF, NGYF, NGZF).

        Returns
        -------
        bool
            False without moments.
        """
        values = to_grid(coefficients_of(self.grid, shape), shape)
        return not self.is_zero and abs(values.sum()) < COMPENSATED * np.abs(values).sum()

    def coefficients(self, shape: Sequence[int]) -> np.ndarray:
        """G-vector coefficients of the magnetization.

        Parameters
        ----------
        shape
            The fine grid (NGXF, NGYF, NGZF).

        Returns
        -------
        numpy.ndarray
            Half spectrum in FFT order, shape (nx, ny, nz // 2 + 1), electrons/angstrom^3.
        """
        return coefficients_of(self.grid, shape)

    def unpack(self, shape: Sequence[int], lengths: Iterable[int]) -> Magnetization:
        """Unpack the magnetization.

        Parameters
        ----------
        shape
            The fine grid (NGXF, NGYF, NGZF).
        lengths
            Number of augmentation occupancies of each ion.

        Returns
        -------
        Magnetization
            With MAGMOM of the run as its moments.
        """
        flat = self.augmentation.values
        occupancies = tuple(flat[i:j] for i, j in pairwise(accumulate(lengths, initial=0)))
        grid = to_grid(self.coefficients(shape), shape)
        return Magnetization(grid, occupancies, np.array(self.magmom))
