"""The superposition of atoms as the network sees it: on a grid of nearly constant spacing.

VASP's fine grid follows ENCUT and PREC, so that the same crystal has points at 0.1 angstrom in one
run and at 0.06 in another; a convolution would take it for another crystal. The network therefore
has grids of its own, whose points are as far apart as it was trained with, and its correction is
carried to VASP's grid in Fourier space. Waves that its grid cannot hold are those of the
superposition.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from mlcharge_flows.density.superposition import superpose

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.models.superres.axis_permutation import AxisPermutation
    from mlcharge_flows.models.superres.config import SuperResConfig


@dataclass(frozen=True, eq=False)
class Image:
    """Superposition of the atoms of one crystal on the grids of the network.

    Parameters
    ----------
    seen
        On the grid that goes in, electrons/angstrom^3, shape (1, 1, nx, ny, nz).
    start
        On the grid that comes out, as many or twice as many points along each axis.
    metric
        Scalar products of the edges of a voxel, in units of the spacing squared: shape (1, 3, 3).
    """

    seen: torch.Tensor
    start: torch.Tensor
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
        """
        shape = seen_shape(crystal, config)
        grids = (shape, tuple(config.upscale * n for n in shape))
        seen, start = (
            torch.from_numpy(superpose(crystal, atoms, grid).total.astype(np.float32))[None, None]
            for grid in grids
        )
        edges = crystal.lattice / np.array(shape)[:, None] / config.seen_spacing
        metric = torch.from_numpy((edges @ edges.T).astype(np.float32))[None]
        return cls(seen, start, metric)

    def relabeled(self, by: AxisPermutation) -> Self:
        """The image of the same crystal in other lattice vectors."""
        return type(self)(by.of_grid(self.seen), by.of_grid(self.start), by.of_metric(self.metric))

    def to(self, device: torch.device | None = None, dtype: torch.dtype | None = None) -> Self:
        """The same on a device, or in another precision."""
        return type(self)(*(t.to(device, dtype) for t in (self.seen, self.start, self.metric)))


def seen_shape(crystal: Crystal, config: SuperResConfig) -> tuple[int, int, int]:
    """Points along each lattice vector of the grid that goes in.

    Even numbers, so that half translations of the crystal are steps of the grid; never farther
    apart than the spacing.

    Examples
    --------
    >>> import numpy as np
    >>> from mlcharge_flows.density.crystal import Crystal
    >>> from mlcharge_flows.models.superres.config import SuperResConfig
    >>> cell = Crystal(np.diag([3.0, 4.0, 10.0]), ("H",), np.zeros((1, 3)))
    >>> seen_shape(cell, SuperResConfig(spacing=0.2))
    (16, 20, 50)
    """
    lengths = np.linalg.norm(crystal.lattice, axis=1)
    # The rounding keeps noise of a lattice from making the grid a step larger.
    steps = (ceil(round(float(length) / config.seen_spacing, 6) / 2) for length in lengths)
    nx, ny, nz = (max(2 * step, config.reach) for step in steps)
    return nx, ny, nz
