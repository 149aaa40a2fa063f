r"""Even-tempered Gaussian orbitals, and the augmentation occupancies that overlaps with them imply.

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

from mlcharge_flows.density.augmentation import blocks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mlcharge_flows.models.orbital.fourier_box import FourierBox
    from mlcharge_flows.models.orbital.g_vectors import GVectors

_RESPONSE_RIDGE = 1e-4
"""Damping of the regression, relative to the mean square of its inputs."""
_SMALLEST_EXPONENT, _RATIO, N_EXPONENTS, _LMAX = 0.28, 1.6, 12, 4
"""The Gaussians that a density is projected on: 1/angstrom^2, even-tempered, highest degree."""
MAX_RELATIVE_CHANGE = 2.0
"""Largest acceptable change of the occupancies, relative to the largest in training."""


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


class AugmentationResponse(nn.Module):
    r"""Linear response of the augmentation occupancies to the density; fitted in closed form.

    Within the augmentation spheres the occupancies and the density on the grid describe the same
    electrons, so a change of the one follows from a change of the other. To first order, for every
    block (channel pair and L) of the occupancies of an ion,

    .. math::
        \Delta\rho_{ab,LM} = \sum_k R_{ab,Lk} \langle \Phi_{kLM} | \Delta\rho \rangle ,

    with orthonormal contractions :math:`\Phi` of Gaussians on the ion and a response R that depends
    on its PAW data set alone, a ridge regression over converged runs. Density and occupancies are
    then consistent: occupancies that a network predicts independently are as accurate, but a
    converged density with them takes as many steps as a superposition of atoms
    (docs/decisions/0004-occupancies-follow-from-the-density.md).

    Blocks of a degree that the Gaussians lack stay as in the free atom: L = 6 of VASP's f channels.

    Parameters
    ----------
    elements
        In the order of the species.
    channels
        l of each projector channel, per element.
    lmax
        Highest degree of the harmonics of the G vectors: Gaussians beyond it are left out.
    """

    def __init__(
        self, elements: Sequence[str], channels: Mapping[str, Sequence[int]], lmax: int
    ) -> None:
        super().__init__()
        lmax = min(lmax, _LMAX)
        self.probes = GaussianBasis(_SMALLEST_EXPONENT, _RATIO, N_EXPONENTS, lmax)
        for index, element in enumerate(elements):
            known = blocks(channels[element])
            # The last row stands for the blocks that stay.
            self.register_buffer(f"response_{index}", torch.zeros(len(known) + 1, N_EXPONENTS))
            self.register_buffer(f"mean_{index}", torch.zeros(sum(2 * e.L + 1 for e in known)))
            self.register_buffer(f"largest_{index}", torch.zeros(()))
            block, component = [], []
            for place, entry in enumerate(known):
                inside = lmax >= entry.L
                block += [place if inside else len(known)] * (2 * entry.L + 1)
                first = entry.L**2 if inside else 0
                component += [first + (m if inside else 0) for m in range(2 * entry.L + 1)]
            self.register_buffer(f"block_{index}", torch.tensor(block), persistent=False)
            self.register_buffer(f"component_{index}", torch.tensor(component), persistent=False)

    def projections(
        self, density: torch.Tensor, g_vectors: GVectors | FourierBox, phases: torch.Tensor
    ) -> torch.Tensor:
        """Overlaps of a density with orthonormal contractions of Gaussians on the ions.

        Parameters
        ----------
        density
            Fourier coefficients of its change from the free atoms, complex, electrons.
        g_vectors
            The G vectors.
        phases
            The ions as the method `phases` of the G vectors gives them.

        Returns
        -------
        torch.Tensor
            Shape (ions, (lmax + 1)^2, exponents), electrons/angstrom^(3/2).
        """
        return self.probes.uncontracted(g_vectors.projections(density, phases, self.probes))

    @torch.no_grad()
    def fit(self, species: int, projections: torch.Tensor, changes: torch.Tensor) -> None:
        """Fit response, mean and largest change of an element to converged densities.

        Parameters
        ----------
        species
            Index of the element.
        projections
            Of the changes of the density, shape (ions, (lmax + 1)^2, exponents).
        changes
            Occupancies of these ions less those of the free atom, shape (ions, occupancies).
        """
        block, component = (self.get_buffer(f"{name}_{species}") for name in ("block", "component"))
        response, mean = (self.get_buffer(f"{name}_{species}") for name in ("response", "mean"))
        self.get_buffer(f"largest_{species}").fill_(changes.abs().max())
        for place in range(len(response) - 1):
            here = block == place
            if here.sum() == 1:  # L = 0: of all others the mean over orientations is zero
                mean[here] = changes[:, here].mean()
            inputs = projections[:, component[here]].double().flatten(0, 1)
            gram = inputs.T @ inputs
            if (size := gram.trace() / len(gram)) > 0:
                gram.diagonal().add_(_RESPONSE_RIDGE * size)
                target = changes[:, here].double().flatten()
                response[place] = torch.linalg.solve(gram, inputs.T @ target)

    def element_means(self, species: torch.Tensor) -> list[torch.Tensor]:
        """Mean change of the occupancies over all fitted ions of the same element.

        Parameters
        ----------
        species
            Element of each ion, shape (ions,).

        Returns
        -------
        list of torch.Tensor
            One change per ion, in electrons; only blocks with L = 0 are not zero.
        """
        return [self.get_buffer(f"mean_{index}") for index in species.tolist()]

    def relative_change(self, species: int, change: torch.Tensor) -> float:
        """Largest change of an ion's occupancies relative to the largest fitted of its element.

        The response to errors close to a nucleus can be so large that the self-consistent cycle
        ends in an unphysical state of the PAW data set.

        Parameters
        ----------
        species
            Element of the ion.
        change
            Occupancies of the ion less those of the free atom.

        Returns
        -------
        float
            1 for the largest that was fitted.
        """
        return float(change.abs().max() / self.get_buffer(f"largest_{species}"))

    def forward(self, projections: torch.Tensor, species: torch.Tensor) -> list[torch.Tensor]:
        """Change of the occupancies of each ion.

        Parameters
        ----------
        projections
            Of the change of the density, see :meth:`projections`.
        species
            Element of each ion, shape (ions,).

        Returns
        -------
        list of torch.Tensor
            One change per ion, in electrons.
        """
        changes = []
        for around, index in zip(projections, species.tolist(), strict=True):
            maps = self.get_buffer(f"response_{index}")[self.get_buffer(f"block_{index}")]
            components = self.get_buffer(f"component_{index}")
            changes.append((around[components] * maps).sum(-1))
        return changes
