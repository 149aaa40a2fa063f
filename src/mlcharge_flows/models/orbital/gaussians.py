r"""Even-tempered Gaussian orbitals in reciprocal space.

.. math::
    \Phi_{klm}(\mathbf r) = N_{kl}\, r^l e^{-\alpha_k r^2}\, Y_{lm}(\hat r), \qquad
    \int |\Phi|^2 d^3r = 1, \qquad \alpha_k = \alpha_0 \beta^k ,

    \tilde\Phi_{klm}(\mathbf G) = (-i)^l F_{kl}(G)\, Y_{lm}(\hat G), \qquad
    F_{kl}(G) = N_{kl} \left(\frac{\pi}{\alpha_k}\right)^{3/2}
                \frac{G^l}{(2\alpha_k)^l}\, e^{-G^2 / 4\alpha_k} .

The Fourier transform of a Gaussian is closed, so no sum over periodic images is needed. Two
normalized Gaussians of one degree on one site overlap by
:math:`S_{kk'} = (2\sqrt{\alpha_k\alpha_{k'}}/(\alpha_k+\alpha_{k'}))^{l+3/2}`.

References
----------
X. Fu et al., NeurIPS 2024, arXiv:2405.19276 (SCDP): eq. 3 (orbitals), section 4 (exponents).
"""

from __future__ import annotations

from math import gamma, pi
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import nn
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterator


class SiteOrbitals(Protocol):
    """Orbitals of the sites of a graph."""

    def uncontracted(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Coefficients of the Gaussians from those of the contracted orbitals.

        Parameters
        ----------
        coefficients
            Of the contracted orbitals, shape (sites, (lmax + 1)^2, exponents).

        Returns
        -------
        torch.Tensor
            Of the Gaussians, same shape.
        """
        ...

    def radial_groups(
        self, q: torch.Tensor, scales: torch.Tensor | None
    ) -> Iterator[tuple[slice | torch.Tensor, list[torch.Tensor]]]:
        """Groups of sites that share their radial functions.

        Parameters
        ----------
        q
            Lengths |G|, shape (G vectors,), 1/angstrom.
        scales
            Factors of the exponents, shape (sites, lmax + 1, exponents), or None. With factors
            every site has its own radial functions.

        Yields
        ------
        sites : slice or torch.Tensor
            Indices of the sites of a group; every site is in one group.
        radials : list of torch.Tensor
            F_kl(G) of each degree, shape (exponents, G vectors), angstrom^(3/2).
        """
        ...

    def charges(self, scales: torch.Tensor | None = None) -> torch.Tensor:
        """Integral of each Gaussian of degree zero over all space.

        Parameters
        ----------
        scales
            Factors of the exponents of degree zero, shape (sites, exponents), or None.

        Returns
        -------
        torch.Tensor
            Shape (sites or 1, exponents), angstrom^(3/2).
        """
        ...


class Basis(Protocol):
    """Orbitals of all species."""

    lmax: int
    n_exponents: int

    def of(self, species: torch.Tensor) -> SiteOrbitals:
        """Orbitals of the sites of a graph.

        Parameters
        ----------
        species
            Species of each site, shape (sites,).

        Returns
        -------
        SiteOrbitals
            The orbitals, in the order of the sites.
        """
        ...


class GaussianBasis(nn.Module, Basis, SiteOrbitals):
    """Even-tempered Gaussians, the same on every site; no trained parameters.

    The network predicts coefficients of contractions that are orthonormal on one site, so that
    coefficients of equal size change the density equally.

    Parameters
    ----------
    smallest_exponent
        Exponent of the widest Gaussian in 1/angstrom^2.
    ratio
        Ratio of consecutive exponents.
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
        shells = [orthonormal_shell(alpha, degree) for degree in range(lmax + 1)]
        norms, contractions = zip(*shells, strict=True)
        buffers = {"exponents": alpha, "norms": norms, "orthonormal": contractions}
        for name, numbers in buffers.items():
            tensor = torch.tensor(np.array(numbers), dtype=torch.get_default_dtype())
            self.register_buffer(name, tensor, persistent=False)

    @property
    def component_norms(self) -> torch.Tensor:
        """Norms of the transforms of each component, shape ((lmax + 1)^2, exponents)."""
        repeats = 2 * torch.arange(self.lmax + 1) + 1
        return torch.repeat_interleave(self.norms.double(), repeats, dim=0)

    @override
    def of(self, species: torch.Tensor) -> GaussianBasis:
        return self

    @override
    def uncontracted(self, coefficients: torch.Tensor) -> torch.Tensor:
        # The contraction matrix is symmetric: the same map takes overlaps with the Gaussians to
        # overlaps with the orthonormal contractions.
        orthonormal = self.orthonormal.to(coefficients.dtype)
        parts = [
            coefficients[:, degree**2 : (degree + 1) ** 2] @ orthonormal[degree]
            for degree in range(self.lmax + 1)
        ]
        return torch.cat(parts, dim=1)

    def radials(self, q: torch.Tensor, scales: torch.Tensor | None = None) -> list[torch.Tensor]:
        r"""Radial parts :math:`F_{kl}(G)` of the Fourier transforms, of all degrees.

        Parameters
        ----------
        q
            Lengths |G|, shape (G vectors,), 1/angstrom.
        scales
            Factors of the exponents of one site, shape (lmax + 1, exponents), or None.

        Returns
        -------
        list of torch.Tensor
            For each degree shape (exponents, G vectors), in angstrom^(3/2).
        """
        decay = None if scales is not None else torch.exp(-(q**2) / (4 * self.exponents[:, None]))
        power, radials = torch.ones_like(q), []
        for degree, norms in enumerate(self.norms):
            envelope = decay
            if scales is not None:
                # The norm of a transform goes as alpha^(l/2 + 3/4 - 3/2 - l).
                norms = norms * scales[degree] ** -(degree / 2 + 0.75)
                envelope = torch.exp(-(q**2) / (4 * (self.exponents * scales[degree])[:, None]))
            radials.append(norms[:, None] * power * envelope)
            power = power * q
        return radials

    @override
    def radial_groups(
        self, q: torch.Tensor, scales: torch.Tensor | None
    ) -> Iterator[tuple[slice, list[torch.Tensor]]]:
        if scales is None:
            yield slice(None), self.radials(q)
        else:
            for site, factors in enumerate(scales):
                yield slice(site, site + 1), self.radials(q, factors)

    @override
    def charges(self, scales: torch.Tensor | None = None) -> torch.Tensor:
        norms = self.norms[0] if scales is None else self.norms[0] * scales**-0.75
        charges: torch.Tensor = norms / (4 * pi) ** 0.5
        return charges


def orthonormal_shell(
    alpha: np.ndarray, degree: int, min_eigenvalue: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    r"""Transforms and orthonormal contractions of normalized Gaussians of one degree on one site.

    Parameters
    ----------
    alpha
        Exponents, shape (n,), 1/angstrom^2.
    degree
        Degree l.
    min_eigenvalue
        Overlap eigenvalues are not taken as smaller than this.

    Returns
    -------
    norms : numpy.ndarray
        :math:`N_{kl} (\pi/\alpha_k)^{3/2} (2\alpha_k)^{-l}`, shape (n,), angstrom^(l + 3/2).
    contractions : numpy.ndarray
        :math:`S^{-1/2}` with the overlaps S, shape (n, n), dimensionless.

    References
    ----------
    P.-O. Loewdin, J. Chem. Phys. 18, 365 (1950) (symmetric orthonormalization).
    """
    radial = gamma(degree + 1.5) / (2 * (2 * alpha) ** (degree + 1.5))
    norms: np.ndarray = radial**-0.5 * (pi / alpha) ** 1.5 / (2 * alpha) ** degree
    overlap = 2 * np.sqrt(np.outer(alpha, alpha)) / np.add.outer(alpha, alpha)
    values, vectors = np.linalg.eigh(overlap ** (degree + 1.5))
    return norms, vectors / np.sqrt(np.maximum(values, min_eigenvalue)) @ vectors.T
