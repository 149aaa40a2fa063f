r"""A periodic residual convolutional network on images of the density.

A convolution and PReLU; residual blocks of two convolutions with instance normalization; a
convolution whose result is added to the features before the blocks; doubling of the grid by pixel
shuffling; a last convolution. All convolutions are periodic, so the network commutes with
translations by steps of its grid; normalizations are means over the cell, so a supercell has the
density of its cell.

The number of electrons of the superposition :math:`\rho^0` is conserved, :math:`\sum_i \rho_i =
\sum_i \rho^0_i`. With the target ``density``, :math:`\rho` is ReLU of the last convolution, scaled,
as in the paper. With the target ``difference``, the integral of the output d is subtracted in
proportion to :math:`\rho^0`, which puts no electrons into vacuum:

.. math::
    \rho = \rho^0 + d - \rho^0 \frac{\sum_i d_i}{\sum_i \rho^0_i} .

References
----------
C. Li, O. Sharir, S. Yuan, G. K.-L. Chan, Image super-resolution inspired electron density
prediction, Nat. Commun. 16, 4811 (2025); pixel shuffling: W. Shi et al., arXiv:1609.05158.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from torch import nn
from typing_extensions import override

from mlcharge_flows.density.density import superpose
from mlcharge_flows.density.grid import GridSymmetry, regrid
from mlcharge_flows.models.checkpoint import network_of
from mlcharge_flows.models.model import DensityModel, ModelError
from mlcharge_flows.models.superres.config import SuperResConfig
from mlcharge_flows.models.superres.image import Image

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.density.density import Density
    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.models.card import Card
    from mlcharge_flows.models.checkpoint import Checkpoint


_GRID = (-3, -2, -1)
_INITIAL_DENSITY = 0.1
"""First bias for the target density: a ReLU that is zero everywhere has no gradient."""


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
            nn.init.constant_(self.last.bias, _INITIAL_DENSITY)
        else:  # the untrained network returns the superposition
            nn.init.zeros_(self.last.weight)
            nn.init.zeros_(self.last.bias)
        self.register_buffer("input_scale", torch.ones(()))
        self.register_buffer("output_scale", torch.ones(()))
        self.register_buffer("upper", torch.triu_indices(3, 3), persistent=False)

    def forward(self, image: Image) -> torch.Tensor:
        """Compute the density on the output grid.

        Parameters
        ----------
        image
            Superposition of atoms.

        Returns
        -------
        torch.Tensor
            Electrons/angstrom^3, shape of ``image.superposition``, and as many electrons.
        """
        features = self.first(self._input(image))
        features = features + self.joint(self.blocks(features))
        values: torch.Tensor = self.last(self.upscale(features)) * self.output_scale
        superposition = image.superposition
        electrons = superposition.sum(_GRID, keepdim=True)
        if self.config.target == "density":
            values = values.relu()
            # NaN if there is no density at all; the caller refuses it.
            return values * (electrons / values.sum(_GRID, keepdim=True))
        excess = values.sum(_GRID, keepdim=True) / electrons
        return superposition + values - superposition * excess

    def _input(self, image: Image) -> torch.Tensor:
        density = image.density / self.input_scale
        if not self.config.voxel:
            return density
        strain = image.metric - torch.eye(3, dtype=density.dtype, device=density.device)
        constants = strain[:, self.upper[0], self.upper[1]][..., None, None, None]
        return torch.cat([density, constants.expand(-1, -1, *density.shape[2:])], dim=1)


class PixelShuffle(nn.Module):
    """Rearrangement of eight channels of a point to one channel of the eight points of its octants.

    ``torch.nn.PixelShuffle`` has two spatial dimensions.
    """

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Double the grid.

        Parameters
        ----------
        values
            Shape (n, 8 c, x, y, z).

        Returns
        -------
        torch.Tensor
            Shape (n, c, 2 x, 2 y, 2 z).
        """
        n, channels, x, y, z = values.shape
        octants = values.reshape(n, channels // 8, 2, 2, 2, x, y, z)
        return octants.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(
            n, channels // 8, 2 * x, 2 * y, 2 * z
        )


class _Block(nn.Module):
    """Two normalized convolutions with a residual connection."""

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


class SuperResModel(DensityModel):
    """Superposition of atoms, corrected by a convolutional network on its image.

    It predicts no augmentation occupancies. The density integrates to the valence electrons: the
    superposition of atoms does, the network keeps its number of electrons, and the mean of the
    correction, zero up to rounding, is subtracted.

    Parameters
    ----------
    card
        Card of the checkpoint.
    network
        Trained network.
    atoms
        Free atom of each element.
    symmetrize
        Whether predictions are averaged over the crystal's symmetry; by default as the options of
        the network say.
    """

    def __init__(
        self,
        card: Card,
        network: SuperResNetwork,
        atoms: Mapping[str, PawDataset],
        symmetrize: bool | None = None,
    ) -> None:
        self.card, self.atoms = card, atoms
        self.network = network.eval().requires_grad_(requires_grad=False)
        self.symmetrize = network.config.symmetrize if symmetrize is None else symmetrize

    @override
    def to(self, device: torch.device | str) -> Self:
        self.network.to(device)
        return self

    @override
    def predict(self, crystal: Crystal, shape: tuple[int, int, int]) -> Density:
        superposition = superpose(crystal, self.atoms, shape)
        weight = self.network.last.weight
        image = Image.of(crystal, self.atoms, self.network.config).to(weight.device, weight.dtype)
        with torch.inference_mode():
            change = (self.network(image) - image.superposition)[0, 0].cpu().double().numpy()
        if not np.all(np.isfinite(change)):
            raise ModelError(
                f"{self.card.name}: predicts no density; it is not trained for this crystal"
            )
        correction = regrid_neutral(change, superposition.shape)
        if self.symmetrize:
            correction = GridSymmetry.of(crystal, shape).symmetrize(correction)
        total = superposition.total + correction
        return replace(superposition, total=total, augmentation=None, comment=self.card.name)


def regrid_neutral(change: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Regrid a correction of the density, and make its integral exactly zero.

    Parameters
    ----------
    change
        Predicted minus superposed density on the grid of the network, shape (nx, ny, nz).
    shape
        Points of the new grid along each lattice vector.

    Returns
    -------
    numpy.ndarray
        Correction on the new grid.
    """
    return regrid(change - change.mean(), shape)


def load(checkpoint: Checkpoint) -> SuperResModel:
    """Build the model of a checkpoint, on a GPU if there is one.

    Parameters
    ----------
    checkpoint
        Card, free atoms and weights.

    Returns
    -------
    SuperResModel
        Ready to predict.

    Raises
    ------
    CheckpointError
        The weights do not fit the card, or free atoms are missing.
    """
    network = network_of(
        checkpoint, lambda options: SuperResNetwork(SuperResConfig.model_validate(options))
    )
    model = SuperResModel(checkpoint.card, network, checkpoint.card.free_atoms)
    return model.to("cuda" if torch.cuda.is_available() else "cpu")
