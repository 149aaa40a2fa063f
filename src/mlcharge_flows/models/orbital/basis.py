r"""Even-tempered Gaussian orbitals and their Fourier transforms.

.. math::
    \Phi_{klm}(\mathbf r) = N_{kl}\, r^l e^{-\alpha_k r^2}\, Y_{lm}(\hat r), \qquad
    \int |\Phi|^2 d^3r = 1, \qquad \alpha_k = \alpha_0 \beta^k ,

    \tilde\Phi_{klm}(\mathbf G) = (-i)^l F_{kl}(G)\, Y_{lm}(\hat G), \qquad
    F_{kl}(G) = N_{kl} \left(\frac{\pi}{\alpha_k}\right)^{3/2}
                \frac{G^l}{(2\alpha_k)^l}\, e^{-G^2 / 4\alpha_k} .

The orbitals are those of SCDP (Fu et al., NeurIPS 2024, equation 3), the even-tempered exponents
those of its section 4. That a Gaussian's transform is closed is what ELECTRAFI builds on: no sum
over periodic images is needed. Two normalized Gaussians of one degree overlap by
:math:`S_{kk'} = (2\sqrt{\alpha_k\alpha_{k'}}/(\alpha_k+\alpha_{k'}))^{l+3/2}`.
"""

from __future__ import annotations

from math import gamma, pi
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterator


class SiteOrbitals(Protocol):
    """The orbitals of given sites."""

    def uncontracted(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Coefficients of the Gaussians from those that a network learns."""
        ...

    def radials_of_sites(
        self, q: torch.Tensor, scales: torch.Tensor | None
    ) -> Iterator[tuple[slice | torch.Tensor, list[torch.Tensor]]]:
        """Sites that share their radial functions, and these at wave numbers `q`.

        For each degree shape (exponents, waves). Every site comes once, in any order. With
        `scales`, shape (sites, degrees, exponents), each has radial functions of its own.
        """
        ...

    def charges(self, scales: torch.Tensor | None = None) -> torch.Tensor:
        """Integral of each Gaussian of degree zero, shape (sites or 1, exponents)."""
        ...


class Basis(Protocol):
    """The orbitals of all species."""

    lmax: int
    n_exponents: int

    def of(self, species: torch.Tensor) -> SiteOrbitals:
        """Orbitals of sites, each of a species."""
        ...


class GaussianBasis(nn.Module):
    """The radial functions of all sites, without parameters.

    A network learns coefficients of orbitals that are orthonormal on one site (symmetrically
    orthonormalized, as Loewdin): changes of equal size then change the density equally.

    Parameters
    ----------
    smallest_exponent
        In 1/angstrom^2.
    ratio
        Of consecutive exponents.
    n_exponents
        Gaussians per degree.
    lmax
        Highest degree.
    """

    exponents: torch.Tensor
    norms: torch.Tensor
    orthonormal: torch.Tensor

    def __init__(self, smallest_exponent: float, ratio: float, n_exponents: int, lmax: int) -> None:
        super().__init__()
        alpha = smallest_exponent * ratio ** np.arange(n_exponents)
        self.lmax, self.n_exponents = lmax, n_exponents
        norms, mixtures = [], []
        overlap = 2 * np.sqrt(np.outer(alpha, alpha)) / np.add.outer(alpha, alpha)
        for degree in range(lmax + 1):
            radial = gamma(degree + 1.5) / (2 * (2 * alpha) ** (degree + 1.5))
            norms.append(radial**-0.5 * (pi / alpha) ** 1.5 / (2 * alpha) ** degree)
            values, vectors = np.linalg.eigh(overlap ** (degree + 1.5))
            mixtures.append(vectors / np.sqrt(values) @ vectors.T)
        buffers = {"exponents": alpha, "norms": norms, "orthonormal": mixtures}
        for name, numbers in buffers.items():
            self.register_buffer(
                name,
                torch.tensor(np.array(numbers), dtype=torch.get_default_dtype()),
                persistent=False,
            )

    def of(self, species: torch.Tensor) -> GaussianBasis:
        """Orbitals of sites: the same on all."""
        return self

    def uncontracted(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Coefficients of the Gaussians from those of the orthonormal orbitals.

        The mixing is symmetric: the same map takes overlaps with the Gaussians to overlaps with
        the orthonormal orbitals.

        Parameters
        ----------
        coefficients
            Shape (sites, (lmax + 1)^2, exponents).
        """
        parts = [
            coefficients[:, degree**2 : (degree + 1) ** 2] @ self.orthonormal[degree]
            for degree in range(self.lmax + 1)
        ]
        return torch.cat(parts, dim=1)

    def radials(self, q: torch.Tensor, scales: torch.Tensor | None = None) -> list[torch.Tensor]:
        r"""Radial parts :math:`F_{kl}(G)` of the transforms, of all degrees.

        Parameters
        ----------
        q
            Wave numbers, shape (waves,), 1/angstrom.
        scales
            Factors of the exponents of one site, shape (lmax + 1, exponents), or None.

        Returns
        -------
        list of torch.Tensor
            For each degree shape (exponents, waves); the unit is that of a normalized orbital
            times a volume, angstrom^(3/2).
        """
        decay = None if scales is not None else torch.exp(-(q**2) / (4 * self.exponents[:, None]))
        power, radials = torch.ones_like(q), []
        for degree, norms in enumerate(self.norms):
            own = decay
            if scales is not None:
                # The norm of a transform goes as alpha^(l/2 + 3/4 - 3/2 - l).
                norms = norms * scales[degree] ** -(degree / 2 + 0.75)
                own = torch.exp(-(q**2) / (4 * (self.exponents * scales[degree])[:, None]))
            radials.append(norms[:, None] * power * own)
            power = power * q
        return radials

    def radials_of_sites(
        self, q: torch.Tensor, scales: torch.Tensor | None
    ) -> Iterator[tuple[slice, list[torch.Tensor]]]:
        """Sites that share their radial functions, and these; see :class:`SiteOrbitals`."""
        if scales is None:
            yield slice(None), self.radials(q)
        else:
            for site, factors in enumerate(scales):
                yield slice(site, site + 1), self.radials(q, factors)

    def charges(self, scales: torch.Tensor | None = None) -> torch.Tensor:
        """Integral of each Gaussian of degree zero, shape (..., exponents)."""
        spherical = self.norms[0] if scales is None else self.norms[0] * scales**-0.75
        return spherical / (4 * pi) ** 0.5
