r"""Products of functions on the sphere, channel by channel.

.. math::
    B^{(n)}_{lm} = \int Y_{lm}(\Omega)\, \prod_{p=1}^{n} a^{(p)}(\Omega)\, d\Omega, \qquad
    a^{(p)}(\Omega) = \sum_{lm} a^{(p)}_{lm} Y_{lm}(\Omega) ,

taken by a quadrature that is exact for their degree: equivariant to rounding, without tables of
coupling coefficients.
"""

from __future__ import annotations

from math import pi, sqrt

import numpy as np
import torch
from torch import nn

from mlcharge_flows.density.harmonics import real_harmonics, sphere_quadrature


class SphereProduct(nn.Module):
    """Products of two, three, .. functions on the sphere, channel by channel.

    Parameters
    ----------
    lmax
        Highest degree of the factors.
    n_factors
        Most factors.
    lmax_out
        Highest degree of the products; that of the factors if not given.
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
            Shape (sites, components, n_factors, channels).

        Returns
        -------
        list of torch.Tensor
            Each of shape (sites, components of the products, channels).
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
