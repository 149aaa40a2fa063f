"""Real and periodic functions as small integers, to a stated error.

A density's difference from the superposition of atoms is smooth: its plane-wave coefficients fall
off quickly, and rounding all of them to multiples of one step spreads an error like white noise
over the cell, of which nothing is longer in wavelength or larger in energy than the rest. The
integers are mostly zero, and compress to a hundredth of the grid. Steps are powers of two, so that
every machine rounds alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

from mlcharge_flows.density.fourier import half_frequencies

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_SMALLEST = 2.0**-60


@dataclass(frozen=True, eq=False)
class Quantized:
    """Numbers as multiples of a step.

    Parameters
    ----------
    integers
        Any shape.
    step
        Unit of the numbers.
    """

    integers: np.ndarray
    step: float

    @property
    def values(self) -> np.ndarray:
        """The numbers, rounded."""
        return self.integers * self.step


def quantize(values: np.ndarray, share: float) -> Quantized:
    """Round to the coarsest step whose error is at most a share of the numbers.

    Parameters
    ----------
    values
        Real numbers.
    share
        Bound of sum|error| / sum|values|.

    Examples
    --------
    >>> import numpy as np
    >>> from mlcharge_flows.training.quantized import quantize
    >>> packed = quantize(np.array([3.0, 0.76, 0.0]), share=0.01)
    >>> packed.step, packed.integers.tolist()
    (0.25, [12, 3, 0])
    """
    values = np.asarray(values, dtype=float)
    bound = share * np.abs(values).sum()
    return _coarsest(values, lambda rounded: float(np.abs(rounded - values).sum()) <= bound)


def quantize_waves(grid: np.ndarray, share: float) -> Quantized:
    """Round the plane-wave coefficients of a real function on a grid.

    Parameters
    ----------
    grid
        The function at the points i/n, shape (nx, ny, nz).
    share
        Bound of sum|error| / sum|grid| over the grid points.

    Returns
    -------
    Quantized
        Real and imaginary parts, shape (2, kx, ky, kz), of the half spectrum (see :func:`waves`)
        inside the smallest box that holds all that are not zero.
    """
    grid = np.asarray(grid, dtype=float)
    coefficients = fft.rfftn(grid) / grid.size
    bound = share * np.abs(grid).sum()

    def fine(rounded: np.ndarray) -> bool:
        back = fft.irfftn(rounded[0] + 1j * rounded[1], s=grid.shape) * grid.size
        return float(np.abs(back - grid).sum()) <= bound

    packed = _coarsest(np.stack([coefficients.real, coefficients.imag]), fine)
    filled = np.nonzero(packed.integers.any(axis=0))
    reach = [
        int(np.abs(axis[found]).max(initial=0))
        for axis, found in zip(half_frequencies(grid.shape), filled, strict=True)
    ]
    real, imaginary = (part[_box(grid.shape, reach)] for part in packed.integers)
    return Quantized(np.stack([real, imaginary]), packed.step)


def waves(packed: Quantized, shape: Sequence[int]) -> np.ndarray:
    """Plane-wave coefficients that :func:`quantize_waves` kept.

    Parameters
    ----------
    packed
        Its result.
    shape
        The grid (nx, ny, nz).

    Returns
    -------
    numpy.ndarray
        Half spectrum, shape (nx, ny, nz // 2 + 1), FFT order, normalized so that the first is the
        mean of the function.
    """
    coefficients = np.zeros((*shape[:2], shape[2] // 2 + 1), dtype=complex)
    sizes = packed.integers.shape[1:]
    # An axis of 2m + 1 frequencies reaches m; one that is whole may be even.
    reach = [sizes[0] // 2, sizes[1] // 2, sizes[2] - 1]
    real, imaginary = packed.values
    coefficients[_box(shape, reach)] = real + 1j * imaginary
    return coefficients


def on_grid(coefficients: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Real function of a half spectrum on its grid."""
    return fft.irfftn(coefficients, s=tuple(shape)) * np.prod(shape)


def _coarsest(values: np.ndarray, fine: Callable[[np.ndarray], bool]) -> Quantized:
    largest = float(np.abs(values).max(initial=0.0))
    if not np.isfinite(largest):
        raise ValueError("values that are not finite cannot be packed")
    if largest < _SMALLEST:
        return Quantized(np.zeros(values.shape, dtype=np.int32), 1.0)
    step = 2.0 ** np.floor(np.log2(largest))
    while largest / step < np.iinfo(np.int32).max:
        integers = np.rint(values / step)
        if fine(integers * step):
            return Quantized(integers.astype(np.int32), float(step))
        step /= 2
    raise ValueError("the values range too widely for the error asked for")


def _box(shape: Sequence[int], reach: Sequence[int]) -> tuple[np.ndarray, ...]:
    """Indices of all frequencies up to the reach along each axis."""
    axes = zip(half_frequencies(shape), reach, strict=True)
    kept = [np.flatnonzero(np.abs(axis) <= m) for axis, m in axes]
    return np.ix_(*kept)
