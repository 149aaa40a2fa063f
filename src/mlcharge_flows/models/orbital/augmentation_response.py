"""Augmentation occupancies that overlaps of a density with Gaussians on the ions imply."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from mlcharge_flows.density.augmentation import blocks
from mlcharge_flows.models.model import ModelError
from mlcharge_flows.models.orbital.gaussians import GaussianBasis
from mlcharge_flows.models.orbital.site_sums import g_vectors_for_sites

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.density.density import Density
    from mlcharge_flows.models.orbital.fourier_box import FourierBox
    from mlcharge_flows.models.orbital.g_vectors import GVectors

RIDGE = 1e-4
"""Damping of the regression, relative to the mean square of its inputs."""
_SMALLEST_EXPONENT, _RATIO, N_EXPONENTS, LMAX = 0.28, 1.6, 12, 4
"""The Gaussians that a density is projected on: 1/angstrom^2, even-tempered, highest degree."""
G_MAX = 24.0
"""G vectors beyond this length (1/angstrom) are left out of overlaps with a density on a grid."""
MAX_RELATIVE_CHANGE = 2.0
"""Largest acceptable change of the occupancies, relative to the largest in training."""


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
        self.elements = tuple(elements)
        lmax = min(lmax, LMAX)
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

    @classmethod
    def of(
        cls, fitted: Mapping[str, tuple[Sequence[int], np.ndarray, float]]
    ) -> AugmentationResponse:
        """Make a response from coefficients that are known.

        Parameters
        ----------
        fitted
            Of each element l of its projector channels, coefficients of shape (blocks, exponents)
            and the largest change of an occupancy that they were fitted to.

        Returns
        -------
        AugmentationResponse
            In double precision as far as the coefficients go; it has no means of elements.
        """
        made = cls(list(fitted), {symbol: its[0] for symbol, its in fitted.items()}, LMAX)
        for index, (_, coefficients, largest) in enumerate(fitted.values()):
            zero = np.zeros((1, N_EXPONENTS))
            response = torch.from_numpy(np.concatenate([coefficients, zero]))
            made.register_buffer(f"response_{index}", response)
            made.get_buffer(f"largest_{index}").fill_(largest)
        return made

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
            rhs = inputs.T @ changes[:, here].double().flatten()
            solved = damped_solutions((inputs.T @ inputs).cpu().numpy(), rhs.cpu().numpy(), [RIDGE])
            response[place] = torch.from_numpy(solved[0])

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

    def species(self, crystal: Crystal) -> torch.Tensor:
        """Index of the element of each ion.

        Parameters
        ----------
        crystal
            The ions, of known elements.

        Returns
        -------
        torch.Tensor
            Shape (ions,).
        """
        return torch.tensor([self.elements.index(symbol) for symbol in crystal.symbols])

    def overlaps(self, crystal: Crystal, change: np.ndarray, g_max: float = G_MAX) -> torch.Tensor:
        """Overlaps of a change of the density on the grid with the Gaussians.

        Parameters
        ----------
        crystal
            The ions.
        change
            Density less the superposition of atoms, electrons/angstrom^3, shape (nx, ny, nz).
        g_max
            G vectors beyond this length are left out, 1/angstrom.

        Returns
        -------
        torch.Tensor
            As :meth:`projections` gives them.
        """
        nx, ny, nz = change.shape
        g_vectors = g_vectors_for_sites(
            crystal, (nx, ny, nz), g_max, self.probes.lmax, len(crystal)
        )
        phases = g_vectors.phases(torch.from_numpy(crystal.positions))
        return self.projections(g_vectors.from_grid(torch.from_numpy(change)), g_vectors, phases)

    def complete(
        self, density: Density, atomic: Density, name: str, g_max: float = G_MAX
    ) -> Density:
        """Give a density the occupancies that follow from it.

        Parameters
        ----------
        density
            The total on the grid; its occupancies are ignored.
        atomic
            Superposition of the free atoms.
        name
            Of the model, for the message.
        g_max
            G vectors beyond this length are left out, 1/angstrom.

        Returns
        -------
        Density
            The same total, with occupancies of every ion.

        Raises
        ------
        ModelError
            The occupancies change much more than those that the response was fitted to.
        """
        with torch.inference_mode():
            overlaps = self.overlaps(density.crystal, density.total - atomic.total, g_max)
            changes = self(overlaps, self.species(density.crystal))
        return self.changed(density, atomic, changes, name)

    def changed(
        self, density: Density, atomic: Density, changes: Sequence[torch.Tensor], name: str
    ) -> Density:
        """Give a density the occupancies of the free atoms, changed.

        Parameters
        ----------
        density
            The total on the grid.
        atomic
            Superposition of the free atoms.
        changes
            Of each ion.
        name
            Of the model, for the message.

        Returns
        -------
        Density
            The same total, with occupancies of every ion.

        Raises
        ------
        ModelError
            The occupancies change much more than those that the response was fitted to.
        """
        pairs = zip(
            atomic.augmentation or (), self.checked(density.crystal, changes, name), strict=True
        )
        return replace(density, augmentation=tuple(values + change for values, change in pairs))

    def checked(
        self, crystal: Crystal, changes: Sequence[torch.Tensor], name: str
    ) -> tuple[np.ndarray, ...]:
        """Refuse changes that are much larger than in training.

        Parameters
        ----------
        crystal
            The ions.
        changes
            Of each ion.
        name
            Of the model, for the message.

        Returns
        -------
        tuple of numpy.ndarray
            The changes.

        Raises
        ------
        ModelError
            A change is more than :data:`MAX_RELATIVE_CHANGE` times as large as those of any ion
            that the response was fitted to.
        """
        species = self.species(crystal).tolist()
        for ion, (index, change) in enumerate(zip(species, changes, strict=True)):
            relative = self.relative_change(index, change)
            if relative > MAX_RELATIVE_CHANGE:
                raise ModelError(
                    f"{name}: the density around ion {ion + 1} ({crystal.symbols[ion]}) is unlike "
                    f"any in training: its augmentation occupancies would change {relative:.1f} "
                    "times as much as the largest there"
                )
        return tuple(change.double().numpy() for change in changes)


def damped_solutions(gram: np.ndarray, rhs: np.ndarray, ridges: Sequence[float]) -> np.ndarray:
    """Ridge regressions of one set of inputs.

    Parameters
    ----------
    gram
        Products of the inputs, shape (n, n).
    rhs
        Products of the inputs with one or more targets, shape (n, ...).
    ridges
        Dampings, relative to the mean square of the inputs.

    Returns
    -------
    numpy.ndarray
        Coefficients for each damping, shape (ridges, n, ...); zero without inputs.
    """
    values, vectors = np.linalg.eigh(gram)
    if (size := values.mean()) <= 0.0:
        return np.zeros((len(ridges), *rhs.shape))
    turned = vectors.T @ rhs.reshape(len(rhs), -1)
    damped = np.maximum(values, 0.0) + size * np.asarray(ridges)[:, None]
    solved: np.ndarray = vectors @ (turned / damped[..., None])
    return solved.reshape(len(ridges), *rhs.shape)
