r"""The on-site occupancies that belong to a density on the grid.

Within the augmentation spheres the occupancies and the density on the grid describe the same
electrons, so the change of the one follows from the change of the other. To first order, for every
block (channel pair and L) of the record of an ion,

.. math::
    \Delta\rho_{ab,LM} = \sum_k R_{ab,Lk} \langle \Phi_{kLM} | \Delta\rho \rangle ,

where :math:`\Phi` are orthonormalized Gaussians on the ion and R belongs to its PAW data set
alone. R is a ridge regression over converged runs. Since both halves of a start then carry one
error, a self-consistent cycle has no quarrel of the two to settle first (docs/decisions.md has the
measurement): occupancies that a network predicts on their own are no worse as numbers, but a
converged density with them takes as long as a superposition of atoms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from mlcharge_flows.density.augmentation import blocks
from mlcharge_flows.models.orbital.basis import GaussianBasis

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlcharge_flows.models.orbital.plane_waves import PlaneWaves

RIDGE = 1e-4
"""Damping of the regression, relative to the mean square of its inputs."""

SMALLEST_EXPONENT, RATIO, N_EXPONENTS, LMAX = 0.28, 1.6, 12, 4
"""The Gaussians that look at a density: 1/angstrom^2, even-tempered, up to that degree."""


BEYOND = 2.0
"""Changes larger than so many times the largest in training are those of no sound density."""


class OccupancyResponse(nn.Module):
    """Linear response of the occupancies to the density, without trained parameters.

    Blocks of a degree that the Gaussians do not have stay as in the free atom: with VASP's
    f channels these are L = 6, which LMAXMIX = 4 drops anyway.

    Parameters
    ----------
    elements
        In the order of the species.
    channels
        l of each projector channel, per element.
    lmax
        Highest degree of the plane waves' harmonics: Gaussians beyond it are left out.
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
        """Occupancies of an ion of an element."""
        return len(getattr(self, f"block_{species}"))

    def seen(self, density: torch.Tensor, waves: PlaneWaves, phases: torch.Tensor) -> torch.Tensor:
        """What the Gaussians on ions see of a density.

        Parameters
        ----------
        density
            Plane waves of its change from the free atoms, complex, electrons.
        waves, phases
            The plane waves, and the structure factors of the ions.

        Returns
        -------
        torch.Tensor
            Shape (ions, components, exponents).
        """
        return self.probes.uncontracted(waves.projections(density, phases, self.probes))

    @torch.no_grad()
    def fit(self, species: int, seen: torch.Tensor, changes: torch.Tensor) -> None:
        """Take an element's response, mean and largest change from converged densities.

        Parameters
        ----------
        species
            Index of the element.
        seen
            Of the change of the density, see :meth:`seen`.
        changes
            Of their records from the free atom, shape (ions, record).
        """
        block, component = getattr(self, f"block_{species}"), getattr(self, f"component_{species}")
        response, mean = getattr(self, f"response_{species}"), getattr(self, f"mean_{species}")
        getattr(self, f"largest_{species}").fill_(changes.abs().max())
        for place in range(len(response) - 1):
            here = block == place
            if here.sum() == 1:  # L = 0: of all others the mean over orientations is zero
                mean[here] = changes[:, here].mean()
            known = seen[:, component[here]].double().flatten(0, 1)
            gram = known.T @ known
            if (size := gram.trace() / len(gram)) > 0:
                damping = RIDGE * size * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
                wanted = changes[:, here].double().flatten()
                response[place] = torch.linalg.solve(gram + damping, known.T @ wanted)

    def means(self, species: torch.Tensor) -> list[torch.Tensor]:
        """Mean correction of the record over all ions of the same element that were fitted.

        Parameters
        ----------
        species
            Element of each ion.

        Returns
        -------
        list of torch.Tensor
            One record per ion, in electrons; only its spherical part is not zero.
        """
        return [getattr(self, f"mean_{index}") for index in species.tolist()]

    def excess(self, species: int, change: torch.Tensor) -> float:
        """How many times larger a change of an ion's record is than any that was fitted.

        A response to errors close to a nucleus, which no converged density has, can be so large
        that the cycle ends in another, unphysical state of the PAW data set.

        Parameters
        ----------
        species
            Element of the ion.
        change
            Of its record.
        """
        return float(change.abs().max() / getattr(self, f"largest_{species}"))

    def forward(self, seen: torch.Tensor, species: torch.Tensor) -> list[torch.Tensor]:
        """Correction of the record of each ion.

        Parameters
        ----------
        seen
            Of the change of the density, see :meth:`seen`.
        species
            Element of each ion.

        Returns
        -------
        list of torch.Tensor
            One record per ion, in electrons.
        """
        records = []
        for around, index in zip(seen, species.tolist(), strict=True):
            maps = getattr(self, f"response_{index}")[getattr(self, f"block_{index}")]
            records.append((around[getattr(self, f"component_{index}")] * maps).sum(-1))
        return records
