r"""Mean correction of the free-atom form factor of each element.

The density of a converged run has structure about every nucleus that the superposition of atoms
lacks: where pseudo and true partial waves meet, or where orbitals end at ENCUT (which of the two
was not separated). It oscillates in the form factor (with a period of 5 to 6 per angstrom for F, O
and N), which no sum of even-tempered Gaussians follows, and it hardly depends on the neighbors. So
each element has a spherical correction

.. math::
    V \Delta\rho(\mathbf G) = \sum_i f_{Z_i}(G)\, e^{-i \mathbf G \cdot \mathbf R_i} ,

piecewise linear in G and zero below the first knot: low-:math:`|G|` components are left to the
network. It is regressed on the residual of a trained network on converged densities
(docs/decisions.md has the measurement). Fitting before training would absorb the Gaussian part and
leave a kink at the first knot.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

import torch
from torch import nn

from mlcharge_flows.models.orbital.graph import scatter_sum

if TYPE_CHECKING:
    from mlcharge_flows.models.orbital.g_vectors import GVectors

FIRST, STEP = 4.0, 0.5
"""First knot, where corrections are zero, and distance of the knots, 1/angstrom."""
RIDGE = 1e-3
"""Damping of the regression, relative to the diagonal of its normal matrix."""


class FormFactors(nn.Module):
    """Spherical corrections of the free-atom form factors; fitted in closed form, not trained.

    Parameters
    ----------
    n_elements
        Number of elements.
    g_max
        Largest |G|, 1/angstrom.

    Examples
    --------
    >>> FormFactors(2, g_max=6.0).values.shape
    torch.Size([2, 5])
    """

    values: torch.Tensor

    def __init__(self, n_elements: int, g_max: float) -> None:
        super().__init__()
        n_knots = 1 + max(1, ceil((g_max - FIRST) / STEP))
        self.register_buffer("values", torch.zeros(n_elements, n_knots))

    def interpolation(self, q: torch.Tensor) -> tuple[tuple[torch.Tensor, torch.Tensor], ...]:
        """Knots on either side of each length |G|, and their linear interpolation weights.

        Parameters
        ----------
        q
            Lengths |G|, shape (G vectors,), 1/angstrom.

        Returns
        -------
        tuple
            Two pairs (index of the knot, weight), each of shape (G vectors,).
        """
        place = (q - FIRST) / STEP
        lower = place.floor().clamp(0, self.values.shape[1] - 2).long()
        fraction = (place - lower).clamp(0, 1)
        return (lower, (1 - fraction) * (lower > 0)), (lower + 1, fraction)

    def forward(
        self, species: torch.Tensor, g_vectors: GVectors, phases: torch.Tensor
    ) -> torch.Tensor:
        """Fourier coefficients of the corrections of all ions.

        Parameters
        ----------
        species
            Element of each ion, shape (ions,).
        g_vectors
            The G vectors.
        phases
            Phase factors of the ions, shape (ions, G vectors).

        Returns
        -------
        torch.Tensor
            Shape (G vectors,), complex, electrons.
        """
        kinds, structure = _structure_factors(species, phases)
        values = self.values[kinds]
        (lower, lower_weight), (upper, upper_weight) = self.interpolation(g_vectors.q)
        factors = values[:, lower] * lower_weight + values[:, upper] * upper_weight
        return (factors * structure).sum(0)


class FormFactorFit:
    """Least-squares fit of the form factors over the densities of many crystals.

    A crystal is weighted by the square integral of its residual density per ion.

    Parameters
    ----------
    factors
        What is fitted.
    """

    def __init__(self, factors: FormFactors) -> None:
        self.factors = factors
        n_unknown = factors.values.numel()
        self.gram = factors.values.new_zeros(n_unknown, n_unknown, dtype=torch.float64)
        self.target = factors.values.new_zeros(n_unknown, dtype=torch.float64)

    def add(
        self,
        species: torch.Tensor,
        g_vectors: GVectors,
        phases: torch.Tensor,
        residual: torch.Tensor,
    ) -> None:
        """Add a crystal to the normal equations.

        Parameters
        ----------
        species
            Element of each ion, shape (ions,).
        g_vectors
            The G vectors.
        phases
            Phase factors of the ions, shape (ions, G vectors).
        residual
            Fourier coefficients of the converged less the predicted density, shape (G vectors,),
            complex, electrons.
        """
        n_unknown, n_knots = len(self.target), self.factors.values.shape[1]
        kinds, structure = _structure_factors(species, phases)
        weight = (g_vectors.multiplicity / (g_vectors.volume * len(species))).double()
        # Every |G| lies between two knots: a row of the design matrix has two entries per element.
        rows = [
            (int(kind) * n_knots + knots, weights * factor)
            for kind, factor in zip(kinds, structure.to(torch.complex128), strict=True)
            for knots, weights in self.factors.interpolation(g_vectors.q)
        ]
        for place, value in rows:
            weighted = weight * value.conj()
            self.target.index_add_(0, place, (weighted * residual).real)
            for other, against in rows:
                products = (weighted * against).real
                self.gram.view(-1).index_add_(0, place * n_unknown + other, products)

    def solve(self) -> None:
        """Add the solution of the damped normal equations to the form factors."""
        size = self.gram.diagonal()
        # Knots without data stay zero.
        damped = self.gram + torch.diag(RIDGE * size + (size == 0))
        solution = torch.linalg.solve(damped, self.target)
        self.factors.values += solution.view_as(self.factors.values)


def _structure_factors(
    species: torch.Tensor, phases: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Elements of a crystal, and the structure factor of each."""
    kinds, of_ion = species.unique(return_inverse=True)
    return kinds, scatter_sum(phases, of_ion, len(kinds))
