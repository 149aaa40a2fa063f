"""The superposition of atoms on the grids of the network, which have nearly constant spacing.

VASP's fine grid follows ENCUT and PREC, so that the same crystal has points at 0.1 angstrom in one
run and at 0.06 in another; a convolution would take it for another crystal. The network therefore
has grids of its own, with the spacing that it was trained with, and its correction is regridded to
VASP's grid in Fourier space. Components with G vectors beyond the network's grid are those of the
superposition.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from mlcharge_flows.density.density import superpose

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.models.superres.config import SuperResConfig
    from mlcharge_flows.models.superres.symmetry import AxisPermutation


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
