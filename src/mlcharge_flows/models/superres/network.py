r"""A periodic residual network on images of the density.

C. Li, O. Sharir, S. Yuan, G. K.-L. Chan, Image super-resolution inspired electron density
prediction, Nature Communications 16, 4811 (2025): a convolution and PReLU; residual blocks of two
convolutions with instance normalization; a convolution whose result is added to the features before
the blocks; doubling of the grid by pixel shuffling; a last convolution. All convolutions wrap
around, so the network commutes with translations by steps of its grid, and since norms are means
over the cell, a supercell gives the same as its cell.

The electrons of the superposition are kept, :math:`\sum_i \rho_i = \sum_i \rho^0_i`. The density of
the paper is ReLU of the last convolution, scaled to them. The difference takes what electrons it
holds too many from the superposed density :math:`\rho^0`, in proportion, so that none come into
vacuum:

.. math::
    \rho = \rho^0 + d - \rho^0 \frac{\sum_i d_i}{\sum_i \rho^0_i} .
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from mlcharge_flows.models.superres.config import SuperResConfig
    from mlcharge_flows.models.superres.image import Image

_GRID = (-3, -2, -1)
_POSITIVE = 0.1
"""First bias of the density: a ReLU that gives zero everywhere could not learn."""


class SuperResNetwork(nn.Module):
    """The network, of any size.

    Parameters
    ----------
    config
        Size and options.

    Examples
    --------
    >>> from mlcharge_flows.models.superres.config import PRESETS
    >>> network = SuperResNetwork(PRESETS["small"])
    >>> sum(weights.numel() for weights in network.parameters())
    106088
    """

    input_scale: torch.Tensor
    output_scale: torch.Tensor
    upper: torch.Tensor

    def __init__(self, config: SuperResConfig) -> None:
        super().__init__()
        self.config = config
        width, kernel, ends = config.channels, config.kernel, config.kernel_ends
        self.first = nn.Sequential(_convolution(7 if config.voxel else 1, width, ends), nn.PReLU())
        self.blocks = nn.Sequential(*(_Block(width, kernel) for _ in range(config.blocks)))
        self.joint = nn.Sequential(_convolution(width, width, kernel), nn.InstanceNorm3d(width))
        self.upscale = nn.Sequential()
        if config.upscale == 2:
            self.upscale.extend(
                [
                    _convolution(width, 8 * width, kernel),
                    nn.InstanceNorm3d(8 * width),
                    PixelShuffle(),
                    nn.PReLU(),
                ]
            )
        self.last = _convolution(width, 1, ends)
        assert self.last.bias is not None
        if config.target == "density":
            nn.init.constant_(self.last.bias, _POSITIVE)
        else:  # before any training, the superposition
            nn.init.zeros_(self.last.weight)
            nn.init.zeros_(self.last.bias)
        self.register_buffer("input_scale", torch.ones(()))
        self.register_buffer("output_scale", torch.ones(()))
        self.register_buffer("upper", torch.triu_indices(3, 3), persistent=False)

    def forward(self, image: Image) -> torch.Tensor:
        """Density on the grid that comes out, electrons/angstrom^3, shape of ``image.start``.

        It holds as many electrons as the superposition.
        """
        features = self.first(self._input(image))
        features = features + self.joint(self.blocks(features))
        values = self.last(self.upscale(features)) * self.output_scale
        start = image.start
        electrons = start.sum(_GRID, keepdim=True)
        if self.config.target == "density":
            values = values.relu()
            # Without any density, the quotient is not a number, and the caller says so.
            return values * (electrons / values.sum(_GRID, keepdim=True))
        return start + values - start * (values.sum(_GRID, keepdim=True) / electrons)

    def _input(self, image: Image) -> torch.Tensor:
        seen = image.seen / self.input_scale
        if not self.config.voxel:
            return seen
        shape = image.metric - torch.eye(3, dtype=seen.dtype, device=seen.device)
        constants = shape[:, self.upper[0], self.upper[1]][..., None, None, None]
        return torch.cat([seen, constants.expand(-1, -1, *seen.shape[2:])], dim=1)


class PixelShuffle(nn.Module):
    """Eight features of a point become one of each of the eight points of its octants."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Shape (n, 8 c, x, y, z) to (n, c, 2 x, 2 y, 2 z)."""
        n, channels, x, y, z = values.shape
        octants = values.reshape(n, channels // 8, 2, 2, 2, x, y, z)
        return octants.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(
            n, channels // 8, 2 * x, 2 * y, 2 * z
        )


class _Block(nn.Module):
    """Two normalized convolutions, and a way around them."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            _convolution(width, width, kernel),
            nn.InstanceNorm3d(width),
            nn.PReLU(),
            _convolution(width, width, kernel),
            nn.InstanceNorm3d(width),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        changed: torch.Tensor = self.inner(features)
        return features + changed


def _convolution(n_in: int, n_out: int, kernel: int) -> nn.Conv3d:
    return nn.Conv3d(n_in, n_out, kernel, padding=kernel // 2, padding_mode="circular")
