"""The superposition of atoms on the grids of the network, which have nearly constant spacing.

VASP's fine grid follows ENCUT and PREC, so that the same crystal has points at 0.1 angstrom in one
run and at 0.06 in another; a convolution would take it for another crystal. The network therefore
has grids of its own, with the spacing that it was trained with, and its correction is regridded to
VASP's grid in Fourier space. Components with G vectors beyond the network's grid are those of the
superposition.

The network commutes with translations by steps of its grid, and with nothing else. A rotation or
reflection of the crystal changes the image and the prediction; so does another choice of lattice
vectors for the same crystal. Of these choices, the 48 that permute or reverse the vectors serve as
augmentation in training, and to measure the asymmetry that is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations, product
from math import ceil
from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.density import superpose
from mlcharge_flows.density.grid import GridSymmetry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.models.model import DensityModel
    from mlcharge_flows.models.superres.config import SuperResConfig


@dataclass(frozen=True, eq=False)
class Image:
    """Superposition of the atoms of one crystal on the grids of the network.

    Parameters
    ----------
    density
        On the input grid, electrons/angstrom^3, shape (1, 1, nx, ny, nz).
    superposition
        On the output grid, electrons/angstrom^3: the same shape, or twice as many points along
        each lattice vector.
    metric
        Scalar products of the edges of an input voxel, in units of the input spacing squared,
        shape (1, 3, 3).
    """

    density: torch.Tensor
    superposition: torch.Tensor
    metric: torch.Tensor

    @classmethod
    def of(cls, crystal: Crystal, atoms: Mapping[str, PawDataset], config: SuperResConfig) -> Self:
        """Superpose the atoms of a crystal.

        Parameters
        ----------
        crystal
            The ions.
        atoms
            Free atom of each element.
        config
            Spacing and upscaling.

        Returns
        -------
        Image
            In single precision, on the CPU.

        Raises
        ------
        ValueError
            An element has no free atom.
        """
        shape = input_shape(crystal, config)
        grids = (shape, tuple(config.upscale * n for n in shape))
        density, superposition = (
            torch.from_numpy(superpose(crystal, atoms, grid).total.astype(np.float32))[None, None]
            for grid in grids
        )
        edges = crystal.lattice / np.array(shape)[:, None] / config.input_spacing
        metric = torch.from_numpy((edges @ edges.T).astype(np.float32))[None]
        return cls(density, superposition, metric)

    def permuted(self, permutation: AxisPermutation) -> Self:
        """The image of the same crystal with permuted lattice vectors.

        Parameters
        ----------
        permutation
            New order and directions of the lattice vectors.

        Returns
        -------
        Image
            On the permuted grids.
        """
        return type(self)(
            permutation.of_grid(self.density),
            permutation.of_grid(self.superposition),
            permutation.of_metric(self.metric),
        )

    def to(self, device: torch.device | None = None, dtype: torch.dtype | None = None) -> Self:
        """The same image on another device or in another precision.

        Parameters
        ----------
        device
            New device; unchanged if None.
        dtype
            New precision; unchanged if None.

        Returns
        -------
        Image
            A copy, where anything changes.
        """
        tensors = (self.density, self.superposition, self.metric)
        return type(self)(*(tensor.to(device, dtype) for tensor in tensors))


def input_shape(crystal: Crystal, config: SuperResConfig) -> tuple[int, int, int]:
    """Shape of the input grid.

    Even numbers of points, so that half lattice translations are steps of the grid, at most the
    input spacing apart.

    Parameters
    ----------
    crystal
        The ions.
    config
        Spacing, upscaling and kernels.

    Returns
    -------
    tuple of int
        Points along each lattice vector.

    Examples
    --------
    >>> import numpy as np
    >>> from mlcharge_flows.density.crystal import Crystal
    >>> from mlcharge_flows.models.superres.config import SuperResConfig
    >>> cell = Crystal(np.diag([3.0, 4.0, 10.0]), ("H",), np.zeros((1, 3)))
    >>> input_shape(cell, SuperResConfig(spacing=0.2))
    (16, 20, 50)
    """
    lengths = np.linalg.norm(crystal.lattice, axis=1)
    # Rounded, lest numerical noise of a lattice makes the grid a step larger.
    steps = (ceil(round(float(length) / config.input_spacing, 6) / 2) for length in lengths)
    nx, ny, nz = (max(2 * step, config.reach) for step in steps)
    return nx, ny, nz


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
