"""Populations of an extended Hückel calculation as numbers and tensors of ions."""

from __future__ import annotations

from math import pi
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from mlcharge_flows.density.harmonics import gaunt
from mlcharge_flows.models.huckel.orbitals import LMAX
from mlcharge_flows.models.huckel.populations import populations

if TYPE_CHECKING:
    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.models.huckel.populations import Populations

PAIRS = tuple((one, other) for other in range(LMAX + 1) for one in range(other + 1))
"""Degrees of two shells; blocks of the density matrix between equal degrees share a tensor."""
N_SCALARS = LMAX + 1 + 7
_FARTHEST = 4.0
"""Numbers this many standard deviations from the mean and more are all the same."""
_INSULATOR = 1e-3
"""Partly filled states per cell below which there is a gap."""


def scalars(found: Populations, volume: float) -> np.ndarray:
    """Numbers of each ion.

    Electrons gained by degree, their mean energy, the ion's valence (electrons shared with other
    ions, from the density matrix's lack of idempotency on the ion), and what all ions of the
    crystal share: Fermi level, partly filled states, whether there are none, logarithm of the
    volume, electrons, per ion.

    Parameters
    ----------
    found
        Of a crystal.
    volume
        Of its cell, cubic angstrom.

    Returns
    -------
    numpy.ndarray
        Shape (ions, N_SCALARS).
    """
    n_ions = len(found.shells)
    numbers = np.zeros((n_ions, N_SCALARS))
    for ion, shells in enumerate(found.shells):
        degrees = np.repeat(shells, [2 * degree + 1 for degree in shells])
        matrix = found.matrices[ion]
        electrons = np.diag(matrix)
        gained = electrons - found.neutral[ion]
        numbers[ion, : LMAX + 1] = [gained[degrees == degree].sum() for degree in range(LMAX + 1)]
        energy = electrons @ found.energies[ion] / max(electrons.sum(), 0.1)
        valence = (2 * electrons - (matrix**2).sum(1)).sum() / 2
        numbers[ion, LMAX + 1 : LMAX + 3] = energy, valence
    insulator = found.metallicity * n_ions < _INSULATOR
    electrons = sum(neutral.sum() for neutral in found.neutral) / n_ions
    numbers[:, LMAX + 3 :] = (
        found.fermi,
        found.metallicity,
        insulator,
        np.log(volume / n_ions),
        electrons,
    )
    return numbers


def tensors(found: Populations, lmax: int) -> np.ndarray:
    """Density matrices of each ion as functions on the sphere, without their spherical parts.

    A block between shells of degrees l and l' is the sum of irreducible tensors L = |l - l'| ..
    l + l' of even l + l' + L; blocks of equal degrees are added.

    Parameters
    ----------
    found
        Of a crystal.
    lmax
        Highest L; more than 4 is zero.

    Returns
    -------
    numpy.ndarray
        Shape (ions, (lmax + 1)^2, pairs of degrees).
    """
    values = np.zeros((len(found.shells), (lmax + 1) ** 2, len(PAIRS)))
    for ion, shells in enumerate(found.shells):
        ends = np.cumsum([2 * degree + 1 for degree in shells])[:-1]
        rows = np.split(found.matrices[ion], ends)
        for one, row in zip(shells, rows, strict=True):
            for other, block in zip(shells, np.split(row, ends, axis=1), strict=True):
                pair = PAIRS.index((min(one, other), max(one, other)))
                for L in range(max(abs(one - other), 1), min(one + other, lmax) + 1):
                    parts = np.einsum("mn,mnM->M", block, gaunt(one, other, L))
                    values[ion, L**2 : (L + 1) ** 2, pair] += parts * (4 * pi) ** 0.5
    return values


class HuckelFeatures(nn.Module):
    """Standardised populations of the ions; virtual sites have none.

    Parameters
    ----------
    lmax
        Highest degree of the tensors.
    """

    mean: torch.Tensor
    spread: torch.Tensor
    size: torch.Tensor

    def __init__(self, lmax: int) -> None:
        super().__init__()
        self.lmax = lmax
        self.register_buffer("mean", torch.zeros(N_SCALARS))
        self.register_buffer("spread", torch.ones(N_SCALARS))
        self.register_buffer("size", torch.ones(len(PAIRS)))

    def of(self, crystal: Crystal) -> tuple[torch.Tensor, torch.Tensor]:
        """Calculate the raw numbers and tensors of a crystal.

        Raises
        ------
        ValueError
            An element has no orbitals.
        """
        found = populations(crystal)
        dtype = torch.get_default_dtype()
        return (
            torch.from_numpy(scalars(found, crystal.volume)).to(dtype),
            torch.from_numpy(tensors(found, self.lmax)).to(dtype),
        )

    @torch.no_grad()
    def fit(self, numbers: torch.Tensor, values: torch.Tensor) -> None:
        """Take the scales from all ions of a training set."""
        self.mean.copy_(numbers.mean(0))
        self.spread.copy_(numbers.std(0).clamp(min=1e-6))
        self.size.copy_(values.square().mean((0, 1)).sqrt())

    def forward(
        self, numbers: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Bring raw numbers and tensors to the order of one; large ones are bounded."""
        known = ((numbers - self.mean) / self.spread).clamp(-_FARTHEST, _FARTHEST)
        bounded = []
        for L in range(self.lmax + 1):
            part = values[:, L**2 : (L + 1) ** 2]
            length = part.square().mean(1, keepdim=True).add(1e-12).sqrt()
            bounded.append(part / (3 * self.size + length))
        return known, torch.cat(bounded, dim=1)
