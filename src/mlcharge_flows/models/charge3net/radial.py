"""Radial functions of ChargE3Net, and the weights of the paths as functions of the distance."""

from __future__ import annotations

import torch
from e3nn.math import normalize2mom, soft_one_hot_linspace
from torch import nn

RADIAL_WIDTH = 100
"""Width of the hidden layer of the radial networks."""


class RadialBasis(nn.Module):
    """Gaussians spread evenly over 0 to the cutoff, each with mean 0 and deviation 1 there.

    They do not vanish at the cutoff: the network is discontinuous where an atom leaves the
    neighborhood, as the published one is.

    Parameters
    ----------
    cutoff
        Largest distance, angstrom.
    size
        Number of functions.
    """

    mean: torch.Tensor
    inv_std: torch.Tensor

    def __init__(self, cutoff: float, size: int) -> None:
        super().__init__()
        self.cutoff, self.size = cutoff, size
        values = self._gaussians(torch.linspace(0.0, cutoff, 10_001, dtype=torch.float64))
        # Buffers, not constants: a checkpoint holds its own.
        self.register_buffer("mean", values.mean(0).float())
        self.register_buffer("inv_std", values.std(0).reciprocal().float())

    def forward(self, distances: torch.Tensor) -> torch.Tensor:
        """Evaluate all functions.

        Parameters
        ----------
        distances
            Angstrom, any shape.

        Returns
        -------
        torch.Tensor
            Shape (..., size).
        """
        return (self._gaussians(distances) - self.mean) * self.inv_std

    def _gaussians(self, distances: torch.Tensor) -> torch.Tensor:
        values: torch.Tensor = soft_one_hot_linspace(
            distances, 0.0, self.cutoff, self.size, basis="gaussian", cutoff=False
        )
        return values


class RadialLayer(nn.Module):
    """A linear layer without bias whose outputs have variance 1 if its inputs and weights have.

    Parameters
    ----------
    n_in
        Number of inputs.
    n_out
        Number of outputs.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_in, n_out))

    @property
    def matrix(self) -> torch.Tensor:
        """Scaled weights, shape (n_in, n_out)."""
        return self.columns(slice(None))

    def columns(self, chosen: slice | torch.Tensor) -> torch.Tensor:
        """Scaled weights of some outputs.

        Parameters
        ----------
        chosen
            Which.

        Returns
        -------
        torch.Tensor
            Shape (n_in, chosen).
        """
        scaled: torch.Tensor = self.weight[:, chosen] / self.weight.shape[0] ** 0.5
        return scaled


class RadialNetwork(nn.Module):
    """Weights of all paths of a convolution as functions of the distance: one hidden layer, SiLU.

    Parameters
    ----------
    n_basis
        Radial functions.
    n_hidden
        Width of the hidden layer.
    n_weights
        Weights, one per channel and path.
    """

    def __init__(self, n_basis: int, n_hidden: int, n_weights: int) -> None:
        super().__init__()
        self.layer0 = RadialLayer(n_basis, n_hidden)
        self.layer1 = RadialLayer(n_hidden, n_weights)
        # e3nn's SiLU: scaled to variance 1 for normally distributed inputs.
        self.activation = normalize2mom(nn.functional.silu)

    def hidden(self, basis: torch.Tensor) -> torch.Tensor:
        """Evaluate the hidden layer, shape (..., n_hidden); see :meth:`forward`.

        Parameters
        ----------
        basis
            Radial functions, shape (..., n_basis).

        Returns
        -------
        torch.Tensor
            Its values.
        """
        values: torch.Tensor = self.activation(basis @ self.layer0.matrix)
        return values

    def forward(self, basis: torch.Tensor) -> torch.Tensor:
        """Evaluate all weights.

        Parameters
        ----------
        basis
            Radial functions, shape (..., n_basis).

        Returns
        -------
        torch.Tensor
            Shape (..., n_weights).
        """
        return self.hidden(basis) @ self.layer1.matrix
