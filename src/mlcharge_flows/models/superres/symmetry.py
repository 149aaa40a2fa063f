"""Symmetries that the image network breaks, and a measure of the asymmetry.

The network commutes with translations by steps of its grid, and with nothing else. A rotation or
reflection of the crystal changes the image and the prediction; so does another choice of lattice
vectors for the same crystal. Of these choices, the 48 that permute or reverse the vectors serve as
augmentation in training, and to measure the asymmetry that is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations, product
from typing import TYPE_CHECKING

import numpy as np
import torch

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.grid import GridSymmetry

if TYPE_CHECKING:
    from mlcharge_flows.models.model import DensityModel


@dataclass(frozen=True)
class AxisPermutation:
    """A permutation of the lattice vectors, each kept or reversed.

    Parameters
    ----------
    order
        Index of the old vector that each new one is.
    signs
        1, or -1 if it is reversed.

    Examples
    --------
    >>> import numpy as np
    >>> from mlcharge_flows.density.crystal import Crystal
    >>> chain = Crystal(np.diag([2.0, 3.0, 4.0]), ("H",), np.array([[0.1, 0.2, 0.3]]))
    >>> other = AxisPermutation((2, 0, 1), (1, -1, 1)).of_crystal(chain)
    >>> np.linalg.norm(other.lattice, axis=1).tolist(), other.positions.tolist()
    ([4.0, 2.0, 3.0], [[0.3, -0.1, 0.2]])
    """

    order: tuple[int, int, int]
    signs: tuple[int, int, int]

    def of_crystal(self, crystal: Crystal) -> Crystal:
        """The same ions with permuted lattice vectors.

        Parameters
        ----------
        crystal
            The ions.

        Returns
        -------
        Crystal
            New lattice and fractional coordinates.
        """
        order, signs = list(self.order), np.array(self.signs)
        return Crystal(
            crystal.lattice[order] * signs[:, None],
            crystal.symbols,
            crystal.positions[:, order] * signs,
        )

    def of_grid(self, values: torch.Tensor) -> torch.Tensor:
        """The same function on the grid of the permuted lattice vectors.

        Parameters
        ----------
        values
            Shape (..., nx, ny, nz).

        Returns
        -------
        torch.Tensor
            Its last three axes permuted, and reversed about point 0.
        """
        first = values.ndim - 3
        moved = values.permute(*range(first), *(first + axis for axis in self.order))
        reversed_ = [first + axis for axis, sign in enumerate(self.signs) if sign < 0]
        # Point 0 is kept, and point i becomes n - i.
        return moved.flip(reversed_).roll([1] * len(reversed_), reversed_) if reversed_ else moved

    def of_metric(self, metric: torch.Tensor) -> torch.Tensor:
        """Scalar products of the permuted vectors.

        Parameters
        ----------
        metric
            Shape (..., 3, 3).

        Returns
        -------
        torch.Tensor
            The same shape.
        """
        order = list(self.order)
        signs = metric.new_tensor(self.signs)
        return metric[..., order, :][..., :, order] * signs[:, None] * signs


AXIS_PERMUTATIONS = tuple(
    AxisPermutation((i, j, k), (u, v, w))
    for i, j, k in permutations(range(3))
    for u, v, w in product((1, -1), repeat=3)
)
"""All 48 permutations and reversals; the first is the identity."""


@dataclass(frozen=True)
class Asymmetry:
    """Mean absolute differences of densities that should be equal, in percent of the electrons.

    Parameters
    ----------
    crystal
        Between a prediction and its images under the crystal's symmetry operations that map the
        grid onto itself: mean over all but the identity; 0 if there is none.
    operations
        Number of these operations.
    axes
        Between the predictions for a crystal and for the same one with permuted lattice vectors:
        mean over the 47 other choices.
    """

    crystal: float
    operations: int
    axes: float


def asymmetry(model: DensityModel, crystal: Crystal, shape: tuple[int, int, int]) -> Asymmetry:
    """Measure the asymmetry of a model's predictions; takes 48 predictions.

    Parameters
    ----------
    model
        Any model of the density; that of an equivariant one is rounding and the grid.
    crystal
        The ions.
    shape
        Fine grid (NGXF, NGYF, NGZF).

    Returns
    -------
    Asymmetry
        In percent.
    """
    density = model.predict(crystal, shape).total
    size = np.abs(density).sum()
    flat = density.ravel()
    symmetry = GridSymmetry.of(crystal, shape)
    found = [
        100.0 * float(np.abs(flat[symmetry.images(operation)] - flat).sum() / size)
        for operation in range(len(symmetry))
        if symmetry.shifts[operation].any()
        or not np.array_equal(symmetry.matrices[operation], np.eye(3))
    ]
    axes = []
    for permutation in AXIS_PERMUTATIONS[1:]:
        i, j, k = permutation.order
        other = (shape[i], shape[j], shape[k])
        predicted = model.predict(permutation.of_crystal(crystal), other).total
        expected = permutation.of_grid(torch.from_numpy(density)).numpy()
        axes.append(100.0 * float(np.abs(predicted - expected).sum() / size))
    return Asymmetry(float(np.mean(found)) if found else 0.0, len(found), float(np.mean(axes)))
