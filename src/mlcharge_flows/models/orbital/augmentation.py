r"""Augmentation occupancies as the linear response to the density on the grid.

Within the augmentation spheres the occupancies and the density on the grid describe the same
electrons, so a change of the one follows from a change of the other. To first order, for every
block (channel pair and L) of the occupancies of an ion,

.. math::
    \Delta\rho_{ab,LM} = \sum_k R_{ab,Lk} \langle \Phi_{kLM} | \Delta\rho \rangle ,

with orthonormal contractions :math:`\Phi` of Gaussians on the ion and a response R that depends on
its PAW data set alone. R is a ridge regression over converged runs. Density and occupancies are
then consistent, and the self-consistent cycle has no difference of the two to remove first
(docs/decisions.md has the measurement): occupancies that a network predicts independently are as
accurate, but a converged density with them takes as many steps as a superposition of atoms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from mlcharge_flows.density.augmentation import blocks
from mlcharge_flows.models.orbital.basis import GaussianBasis

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlcharge_flows.models.orbital.g_vectors import GVectors

RIDGE = 1e-4
"""Damping of the regression, relative to the mean square of its inputs."""

SMALLEST_EXPONENT, RATIO, N_EXPONENTS, LMAX = 0.28, 1.6, 12, 4
"""The Gaussians that a density is projected on: 1/angstrom^2, even-tempered, highest degree."""

MAX_RELATIVE_CHANGE = 2.0
"""Largest acceptable change of the occupancies, relative to the largest in training."""


class AugmentationResponse(nn.Module):
    """Linear response of the augmentation occupancies to the density; fitted in closed form.

    Blocks of a degree that the Gaussians do not have stay as in the free atom: with VASP's
    f channels these are L = 6, which LMAXMIX = 4 drops anyway.

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
        self,
        elements: Sequence[str],
        channels: Mapping[str, Sequence[int]],
        lmax: int,
    ) -> None:
        super().__init__()
        lmax = min(lmax, LMAX)
        self.probes = GaussianBasis(SMALLEST_EXPONENT, RATIO, N_EXPONENTS, lmax)
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

    def n_occupancies(self, species: int) -> int:
        """Number of augmentation occupancies of an ion.

        Parameters
        ----------
        species
            Element of the ion.

        Returns
        -------
        int
            Their number.
        """
        return len(self.get_buffer(f"block_{species}"))

    def projections(
        self, density: torch.Tensor, g_vectors: GVectors, phases: torch.Tensor
    ) -> torch.Tensor:
        """Overlaps of a density with orthonormal contractions of Gaussians on the ions.

        Parameters
        ----------
        density
            Fourier coefficients of its change from the free atoms, complex, electrons.
        g_vectors
            The G vectors.
        phases
            Phase factors of the ions, shape (ions, G vectors).

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
                damping = RIDGE * size * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
                target = changes[:, here].double().flatten()
                response[place] = torch.linalg.solve(gram + damping, inputs.T @ target)

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

        The response to errors close to a nucleus, which no converged density has, can be so large
        that the self-consistent cycle ends in an unphysical state of the PAW data set.

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
