"""The correction of the on-site occupancies, read from a site's features.

The record of an ion is a direct sum of blocks (channel pair and L), each of 2L+1 components that
rotate as the features of degree L do. A block is a linear map of those features, with weights of
its own element: which projector is which differs from one PAW data set to the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from mlcharge_flows.density.occupancies import blocks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class OccupancyHead(nn.Module):
    """Occupancy corrections of all ions.

    Blocks of a degree that the features do not have stay as in the free atom: with VASP's
    f channels these are L = 6, which LMAXMIX = 4 drops anyway.

    Parameters
    ----------
    elements
        In the order of the species.
    channels
        l of each projector channel, per element.
    n_channels, lmax
        Of the features.
    """

    def __init__(
        self,
        elements: Sequence[str],
        channels: Mapping[str, Sequence[int]],
        n_channels: int,
        lmax: int,
    ) -> None:
        super().__init__()
        self.weights = nn.ParameterList()
        for index, element in enumerate(elements):
            known = blocks(channels[element])
            self.weights.append(nn.Parameter(torch.zeros(len(known), n_channels)))
            block, component = [], []
            for place, entry in enumerate(known):
                inside = lmax >= entry.L
                block += [place if inside else len(known)] * (2 * entry.L + 1)
                first = entry.L**2 if inside else 0
                component += [first + (m if inside else 0) for m in range(2 * entry.L + 1)]
            self.register_buffer(f"block_{index}", torch.tensor(block), persistent=False)
            self.register_buffer(f"component_{index}", torch.tensor(component), persistent=False)
            # How much a block changes in solids, so that all blocks learn at the same pace; the
            # last entry stands for those that are not learned.
            scale = torch.cat([torch.full((len(known),), 0.1), torch.zeros(1)])
            self.register_buffer(f"scale_{index}", scale)

    def set_scales(self, species: int, changes: np.ndarray) -> None:
        """Take the typical size of each block from a training set.

        Parameters
        ----------
        species
            Index of the element.
        changes
            Differences from the free atom, shape (ions, record).
        """
        block = getattr(self, f"block_{species}")
        scale = getattr(self, f"scale_{species}")
        for place in range(len(scale) - 1):
            if len(values := changes[:, (block == place).numpy()].ravel()):
                scale[place] = max(float(np.sqrt(np.mean(values**2))), 1e-4)

    def forward(self, features: torch.Tensor, species: torch.Tensor) -> list[torch.Tensor]:
        """Correction of the record of each ion.

        Parameters
        ----------
        features
            Of the ions, shape (ions, components, channels).
        species
            Element of each ion.

        Returns
        -------
        list of torch.Tensor
            One record per ion, in electrons.
        """
        records: list[torch.Tensor] = [features.new_empty(0)] * len(species)
        for index in species.unique().tolist():
            ions = (species == index).nonzero()[:, 0]
            block = getattr(self, f"block_{index}")
            weights = torch.cat(
                [self.weights[index], self.weights[index].new_zeros(1, features.shape[-1])]
            )
            weights = weights * getattr(self, f"scale_{index}")[:, None]
            chosen = features[ions][:, getattr(self, f"component_{index}")]
            for ion, record in zip(ions.tolist(), (chosen * weights[block]).sum(-1), strict=True):
                records[ion] = record
        return records
