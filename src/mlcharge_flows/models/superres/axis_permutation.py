"""The same crystal and grid with its lattice vectors in another order, or reversed.

A crystal does not change with its description, but an image network sees another image. The 48
descriptions serve to train it (it learns that they mean the same) and to measure what it did not
learn.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations, product
from typing import TYPE_CHECKING

import numpy as np

from mlcharge_flows.density.crystal import Crystal

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class AxisPermutation:
    """New lattice vectors: each is an old one or its reverse.

    Parameters
    ----------
    order
        Which old vector each new one is.
    signs
        1, or -1 where it is reversed.

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
        """The same ions in the new vectors."""
        order, signs = list(self.order), np.array(self.signs)
        return Crystal(
            crystal.lattice[order] * signs[:, None],
            crystal.symbols,
            crystal.positions[:, order] * signs,
        )

    def of_grid(self, values: torch.Tensor) -> torch.Tensor:
        """The same function on the grid of the new vectors: the last three axes are the grid's."""
        first = values.ndim - 3
        moved = values.permute(*range(first), *(first + axis for axis in self.order))
        reversed_ = [first + axis for axis, sign in enumerate(self.signs) if sign < 0]
        # Point 0 stays where it is, and point i becomes n - i.
        return moved.flip(reversed_).roll([1] * len(reversed_), reversed_) if reversed_ else moved

    def of_metric(self, metric: torch.Tensor) -> torch.Tensor:
        """Scalar products of the new vectors, the last two axes being 3 by 3."""
        order = list(self.order)
        signs = metric.new_tensor(self.signs)
        return metric[..., order, :][..., :, order] * signs[:, None] * signs


AXIS_PERMUTATIONS = tuple(
    AxisPermutation((i, j, k), (u, v, w))
    for i, j, k in permutations(range(3))
    for u, v, w in product((1, -1), repeat=3)
)
"""All 48; the first changes nothing."""
