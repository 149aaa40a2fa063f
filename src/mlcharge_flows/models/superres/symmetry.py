"""How far a prediction is from the symmetry of its crystal, and its symmetric part.

The network commutes with translations by steps of its grid, and with nothing else: a rotation or
reflection of the crystal changes the image, and what the network makes of it. Neither does it know
that a crystal can be described by other lattice vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from mlcharge_flows.models.orbits import images, operations
from mlcharge_flows.models.superres.axis_permutation import AXIS_PERMUTATIONS

if TYPE_CHECKING:
    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.models.model import DensityModel


@dataclass(frozen=True)
class Asymmetry:
    """Mean absolute differences of densities that should be equal, in percent of the electrons.

    Parameters
    ----------
    crystal
        Between a prediction and its images under the operations of the crystal, as far as they map
        the grid onto itself: mean over all but the identity; 0 where there is none.
    operations
        How many these are.
    axes
        Between the predictions for a crystal and for the same one with its lattice vectors in
        another order or reversed: mean over the 47 other descriptions.
    """

    crystal: float
    operations: int
    axes: float


def symmetrized(values: np.ndarray, crystal: Crystal) -> np.ndarray:
    """Average a function on a grid over the symmetry of a crystal.

    Parameters
    ----------
    values
        Function on the points i/n, shape (nx, ny, nz).
    crystal
        The ions. Operations that do not map the grid onto itself are left out.

    Returns
    -------
    numpy.ndarray
        The mean over all operations; it has the same integral.
    """
    nx, ny, nz = values.shape
    found = operations(crystal, (nx, ny, nz))
    if not found:
        return values.copy()
    total = np.zeros(values.size)
    for matrix, shift in found:
        total += values.ravel()[images(matrix, shift, (nx, ny, nz))]
    return (total / len(found)).reshape(values.shape)


def asymmetry(model: DensityModel, crystal: Crystal, shape: tuple[int, int, int]) -> Asymmetry:
    """Measure what of its symmetries a model breaks; takes 48 predictions.

    Parameters
    ----------
    model
        Any model of the density; an equivariant one has none but that of rounding and of the grid.
    crystal
        The ions.
    shape
        Fine grid (NGXF, NGYF, NGZF).
    """
    density = model.predict(crystal, shape).total
    size = np.abs(density).sum()
    flat = density.ravel()
    found = [
        100.0 * float(np.abs(flat[images(matrix, shift, shape)] - flat).sum() / size)
        for matrix, shift in operations(crystal, shape)
        if shift.any() or not np.array_equal(matrix, np.eye(3))
    ]
    axes = []
    for permutation in AXIS_PERMUTATIONS[1:]:
        i, j, k = permutation.order
        other = (shape[i], shape[j], shape[k])
        predicted = model.predict(permutation.of_crystal(crystal), other).total
        expected = permutation.of_grid(torch.from_numpy(density)).numpy()
        axes.append(100.0 * float(np.abs(predicted - expected).sum() / size))
    return Asymmetry(float(np.mean(found)) if found else 0.0, len(found), float(np.mean(axes)))
