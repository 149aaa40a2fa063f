r"""Equivariant layers: linear maps, and Gaunt products of functions on the sphere.

Features are tensors of shape (sites, (lmax + 1)^2, channels): the irreps 0e + 1o + 2e + 3o + ..,
each with the same number of channels. Component :math:`l^2 + l + m` belongs to the real spherical
harmonic :math:`Y_{lm}` in VASP's order, so that expansion coefficients and augmentation
occupancies are read from features without a change of basis.
"""

from __future__ import annotations

from itertools import pairwise
from math import pi, sqrt

import numpy as np
import torch
from torch import nn

from mlcharge_flows.density.harmonics import real_harmonics, sphere_quadrature


def degree_of_component(lmax: int) -> torch.Tensor:
    """Degree l of each component (l, m).

    Parameters
    ----------
    lmax
        Highest degree.

    Returns
    -------
    torch.Tensor
        Integers, shape ((lmax + 1)^2,).

    Examples
    --------
    >>> degree_of_component(1).tolist()
    [0, 1, 1, 1]
    """
    degrees = torch.arange(lmax + 1)
    return torch.repeat_interleave(degrees, 2 * degrees + 1)


def scatter_sum(values: torch.Tensor, index: torch.Tensor, n: int) -> torch.Tensor:
    """Sum the rows that have the same index.

    Parameters
    ----------
    values
        Shape (rows, ..).
    index
        Row of the result that each row belongs to, shape (rows,).
    n
        Rows of the result.

    Returns
    -------
    torch.Tensor
        Shape (n, ..).

    Examples
    --------
    >>> scatter_sum(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0, 2, 0]), 3).tolist()
    [4.0, 0.0, 2.0]
    """
    return values.new_zeros(n, *values.shape[1:]).index_add(0, index, values)


def mlp(n_in: int, n_hidden: int, n_out: int, *, depth: int = 1) -> nn.Sequential:
    """Multilayer perceptron with SiLU activations between its layers.

    Parameters
    ----------
    n_in, n_hidden, n_out
        Width of the input, of every hidden layer and of the output.
    depth
        Number of hidden layers.

    Returns
    -------
    torch.nn.Sequential
        Takes shape (..., n_in) to (..., n_out).
    """
    widths = [n_in, *[n_hidden] * depth]
    layers: list[nn.Module] = []
    for wide, narrow in pairwise(widths):
        layers += [nn.Linear(wide, narrow), nn.SiLU()]
    return nn.Sequential(*layers, nn.Linear(n_hidden, n_out))


class EquivariantLinear(nn.Module):
    """Linear map of channels: one matrix per degree l, shared by its 2 l + 1 components.

    Parameters
    ----------
    n_in, n_out
        Channels of input and output.
    lmax
        Highest degree.
    """

    degrees: torch.Tensor

    def __init__(self, n_in: int, n_out: int, lmax: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(lmax + 1, n_in, n_out) / n_in**0.5)
        self.register_buffer("degrees", degree_of_component(lmax), persistent=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map the channels of features.

        Parameters
        ----------
        features
            Shape (sites, (lmax + 1)^2, n_in).

        Returns
        -------
        torch.Tensor
            Shape (sites, (lmax + 1)^2, n_out).
        """
        mapped = torch.bmm(features.transpose(0, 1), self.weight[self.degrees])
        return mapped.transpose(0, 1)


class GauntProduct(nn.Module):
    r"""Products of functions on the sphere, channel by channel.

    .. math::
        B^{(n)}_{lm} = \int Y_{lm}(\Omega)\, \prod_{p=1}^{n} a^{(p)}(\Omega)\, d\Omega, \qquad
        a^{(p)}(\Omega) = \sum_{lm} a^{(p)}_{lm} Y_{lm}(\Omega) ,

    evaluated by a quadrature that is exact for the degree of the integrand: equivariant to
    rounding, without tables of coupling coefficients. With two factors these are the tensor
    products whose coupling coefficients are Gaunt's, with n factors the many-body products of the
    atomic cluster expansion.

    Parameters
    ----------
    lmax
        Highest degree of the factors.
    n_factors
        Largest number of factors.
    lmax_out
        Highest degree of the products; `lmax` if not given.

    References
    ----------
    S. Luo, T. Chen and A. S. Krishnapriyan, ICLR 2024, arXiv:2401.10216, section 3 (Gaunt tensor
    product). R. Drautz, Phys. Rev. B 99, 014104 (2019), section II (products at a site).
    """

    values: torch.Tensor
    weighted: torch.Tensor

    def __init__(self, lmax: int, n_factors: int, lmax_out: int | None = None) -> None:
        super().__init__()
        self.n_factors = n_factors
        lmax_out = lmax if lmax_out is None else lmax_out
        points, weights = sphere_quadrature(lmax * n_factors + lmax_out)
        highest = max(lmax, lmax_out)
        all_ = np.concatenate(real_harmonics(highest, points), axis=-1) * sqrt(4 * pi)
        values, products = all_[:, : (lmax + 1) ** 2], all_[:, : (lmax_out + 1) ** 2]
        weighted = products * weights[:, None] / (4 * pi)
        for name, array in (("values", values), ("weighted", weighted)):
            tensor = torch.tensor(array, dtype=torch.get_default_dtype())
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, factors: torch.Tensor) -> list[torch.Tensor]:
        """Products of the first two, the first three, .. factors.

        Parameters
        ----------
        factors
            Shape (sites, (lmax + 1)^2, n_factors, channels).

        Returns
        -------
        list of torch.Tensor
            n_factors - 1 products, each of shape (sites, (lmax_out + 1)^2, channels).
        """
        sites, components, n_factors, channels = factors.shape
        on_sphere = (self.values @ factors.reshape(sites, components, -1)).view(
            sites, -1, n_factors, channels
        )
        product, products = on_sphere[:, :, 0], []
        for factor in range(1, self.n_factors):
            product = product * on_sphere[:, :, factor]
            products.append(self.weighted.T @ product)
        return products
