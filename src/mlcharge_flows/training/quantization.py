"""Real numbers and periodic functions as small integers, to a stated error.

The difference of a density from the superposition of atoms is smooth: its coefficients at the G
vectors decay quickly. Rounding all of them to multiples of one step spreads the error like white
noise over the cell, without any preference for long wavelengths, where the Hartree energy is large.
Most integers are zero, and compress to a hundredth of the grid. Steps are powers of two, so that
every machine rounds alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

from mlcharge_flows.density.grid import half_frequencies

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_MIN_MAGNITUDE = 2.0**-60


@dataclass(frozen=True, eq=False)
class Quantized:
    """Numbers as multiples of a step.

    Parameters
    ----------
    integers
        Multiples, any shape.
    step
        Unit of the numbers.
    """

    integers: np.ndarray
    step: float

    @property
    def values(self) -> np.ndarray:
        """The rounded numbers, shape of ``integers``."""
        return self.integers * self.step


def quantize(values: np.ndarray, tolerance: float) -> Quantized:
    """Round numbers to the coarsest step within a relative error.

    Parameters
    ----------
    values
        Real numbers, any shape.
    tolerance
        Bound of sum|error| / sum|values|.

    Returns
    -------
    Quantized
        32-bit integers, shape of `values`.

    Raises
    ------
    ValueError
        The numbers are not finite, or need more than 32 bits.

    Examples
    --------
    >>> import numpy as np
    >>> from mlcharge_flows.training.quantization import quantize
    >>> packed = quantize(np.array([3.0, 0.76, 0.0]), tolerance=0.01)
    >>> packed.step, packed.integers.tolist()
    (0.25, [12, 3, 0])
    """
    values = np.asarray(values, dtype=float)
    bound = tolerance * np.abs(values).sum()
    return _coarsest(values, lambda rounded: float(np.abs(rounded - values).sum()) <= bound)


def quantize_grid(grid: np.ndarray, tolerance: float) -> Quantized:
    """Round the G-vector coefficients of a real periodic function within a relative error.

    Parameters
    ----------
    grid
        The function at the points i/n, shape (nx, ny, nz).
    tolerance
        Bound of sum|error| / sum|grid| over the grid points.

    Returns
    -------
    Quantized
        Real and imaginary parts, shape (2, kx, ky, kz), of the half spectrum (see
        :func:`coefficients_of`) inside the smallest box that holds all nonzero integers.

    Raises
    ------
    ValueError
        The function is not finite, or needs more than 32 bits.
    """
    grid = np.asarray(grid, dtype=float)
    coefficients = fft.rfftn(grid) / grid.size
    bound = tolerance * float(np.abs(grid).sum())

    def within_bound(rounded: np.ndarray) -> bool:
        back = to_grid(rounded[0] + 1j * rounded[1], grid.shape)
        return float(np.abs(back - grid).sum()) <= bound

    packed = _coarsest(np.stack([coefficients.real, coefficients.imag]), within_bound)
    filled = np.nonzero(packed.integers.any(axis=0))
    reach = [
        int(np.abs(axis[found]).max(initial=0))
        for axis, found in zip(half_frequencies(grid.shape), filled, strict=True)
    ]
    real, imaginary = (part[_box(grid.shape, reach)] for part in packed.integers)
    return Quantized(np.stack([real, imaginary]), packed.step)


def coefficients_of(packed: Quantized, shape: Sequence[int]) -> np.ndarray:
    """G-vector coefficients of a function that :func:`quantize_grid` has packed.

    Parameters
    ----------
    packed
        Its result.
    shape
        The grid (nx, ny, nz).

    Returns
    -------
    numpy.ndarray
        Half spectrum in FFT order, shape (nx, ny, nz // 2 + 1), normalized so that the coefficient
        at G = 0 is the mean of the function.
    """
    coefficients = np.zeros((*shape[:2], shape[2] // 2 + 1), dtype=complex)
    sizes = packed.integers.shape[1:]
    # 2m + 1 frequencies along an axis reach m; an axis of all frequencies may be even.
    reach = [sizes[0] // 2, sizes[1] // 2, sizes[2] - 1]
    real, imaginary = packed.values
    coefficients[_box(shape, reach)] = real + 1j * imaginary
    return coefficients


def to_grid(coefficients: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Real function of a half spectrum.

    Parameters
    ----------
    coefficients
        Half spectrum in FFT order, shape (nx, ny, nz // 2 + 1).
    shape
        The grid (nx, ny, nz).

    Returns
    -------
    numpy.ndarray
        Values at the points i/n, shape (nx, ny, nz).
    """
    values: np.ndarray = fft.irfftn(coefficients, s=tuple(shape)) * np.prod(shape)
    return values


def _coarsest(values: np.ndarray, within_bound: Callable[[np.ndarray], bool]) -> Quantized:
    largest = float(np.abs(values).max(initial=0.0))
    if not np.isfinite(largest):
        raise ValueError("values that are not finite cannot be packed")
    if largest < _MIN_MAGNITUDE:
        return Quantized(np.zeros(values.shape, dtype=np.int32), 1.0)
    step = 2.0 ** np.floor(np.log2(largest))
    while largest / step < np.iinfo(np.int32).max:
        integers = np.rint(values / step)
        if within_bound(integers * step):
            return Quantized(integers.astype(np.int32), float(step))
        step /= 2
    raise ValueError("the values range too widely for the error asked for")


def _box(shape: Sequence[int], reach: Sequence[int]) -> tuple[np.ndarray, ...]:
    """Indices of all frequencies up to the reach along each axis."""
    axes = zip(half_frequencies(shape), reach, strict=True)
    kept = [np.flatnonzero(np.abs(axis) <= m) for axis, m in axes]
    return np.ix_(*kept)
