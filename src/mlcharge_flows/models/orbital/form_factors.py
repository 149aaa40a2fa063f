r"""What the form factors of the free atoms lack on average, element by element.

The density of a run has edges about every nucleus that the superposition of atoms lacks: where the
pseudo partial waves meet the true ones, or where orbitals end at ENCUT; which of the two was not
told apart. The difference oscillates in the form factor (with a period of five to six per angstrom
for F, O and N), which no sum of even-tempered Gaussians follows, and it hardly depends on the
neighbors. So each element has a spherical correction of its own,

.. math::
    V \Delta\rho(\mathbf G) = \sum_i f_{Z_i}(G)\, e^{-i \mathbf G \cdot \mathbf R_i} ,

linear between knots and zero below the first: long waves are the network's. It is a regression of
what a trained network leaves of converged densities (docs/decisions.md has the measurement). Fitted
to the densities before any training it would take what Gaussians can say, too, and leave the
network an edge at the first knot that they cannot mend.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

import torch
from torch import nn

from mlcharge_flows.models.orbital.summed import summed

if TYPE_CHECKING:
    from mlcharge_flows.models.orbital.plane_waves import PlaneWaves

FIRST, STEP = 4.0, 0.5
"""First knot, where corrections are zero, and distance of the knots, 1/angstrom."""
RIDGE = 1e-3
"""Damping of the regression, relative to the square sum of each knot's waves."""


class FormFactors(nn.Module):
    """Spherical corrections of the free atoms' form factors, without trained parameters.

    Parameters
    ----------
    n_elements
        How many elements there are.
    largest
        Up to which wave number, 1/angstrom.

    Examples
    --------
    >>> FormFactors(2, largest=6.0).values.shape
    torch.Size([2, 5])
    """

    values: torch.Tensor

    def __init__(self, n_elements: int, largest: float) -> None:
        super().__init__()
        n_knots = 1 + max(1, ceil((largest - FIRST) / STEP))
        self.register_buffer("values", torch.zeros(n_elements, n_knots))

    def hats(self, q: torch.Tensor) -> tuple[tuple[torch.Tensor, torch.Tensor], ...]:
        """Knots on either side of each wave number, and how much either counts.

        Parameters
        ----------
        q
            Wave numbers, shape (waves,), 1/angstrom.
        """
        place = (q - FIRST) / STEP
        lower = place.floor().clamp(0, self.values.shape[1] - 2).long()
        share = (place - lower).clamp(0, 1)
        return (lower, (1 - share) * (lower > 0)), (lower + 1, share)

    def forward(
        self, species: torch.Tensor, waves: PlaneWaves, phases: torch.Tensor
    ) -> torch.Tensor:
        """Plane waves of the corrections of all ions, shape (waves,), complex, electrons.

        Parameters
        ----------
        species
            Element of each ion.
        waves, phases
            The plane waves, and the structure factors of the ions.
        """
        kinds, structure = _by_element(species, phases)
        factors = sum(self.values[kinds][:, knots] * shares for knots, shares in self.hats(waves.q))
        return (factors * structure).sum(0)


class FormFactorFit:
    """Least squares of form factors over the densities of many crystals.

    A crystal counts by the square integral of what is left of its density, per ion.

    Parameters
    ----------
    factors
        What is fitted.
    """

    def __init__(self, factors: FormFactors) -> None:
        self.factors = factors
        n_unknown = factors.values.numel()
        self.gram = factors.values.new_zeros(n_unknown, n_unknown, dtype=torch.float64)
        self.wanted = factors.values.new_zeros(n_unknown, dtype=torch.float64)

    def add(
        self, species: torch.Tensor, waves: PlaneWaves, phases: torch.Tensor, left: torch.Tensor
    ) -> None:
        """Take a crystal into account.

        Parameters
        ----------
        species, waves, phases
            As for :class:`FormFactors`.
        left
            Plane waves of its converged density, less what the model says of it, complex,
            electrons.
        """
        n_unknown, n_knots = len(self.wanted), self.factors.values.shape[1]
        kinds, structure = _by_element(species, phases)
        weight = (waves.multiplicity / (waves.volume * len(species))).double()
        # Each wave number lies between two knots: one row of the design has two entries an element.
        rows = [
            (int(kind) * n_knots + knots, shares * own)
            for kind, own in zip(kinds, structure.to(torch.complex128), strict=True)
            for knots, shares in self.factors.hats(waves.q)
        ]
        for place, value in rows:
            weighted = weight * value.conj()
            self.wanted.index_add_(0, place, (weighted * left).real)
            for other, against in rows:
                products = (weighted * against).real
                self.gram.view(-1).index_add_(0, place * n_unknown + other, products)

    def solve(self) -> None:
        """Add to the form factors what brings the densities nearest."""
        size = self.gram.diagonal()
        # What no wave has seen stays zero.
        damped = self.gram + torch.diag(RIDGE * size + (size == 0))
        solution = torch.linalg.solve(damped, self.wanted)
        self.factors.values += solution.view_as(self.factors.values)


def _by_element(species: torch.Tensor, phases: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Elements of a crystal, and the sum of the structure factors of the ions of each."""
    kinds, of_ion = species.unique(return_inverse=True)
    return kinds, summed(phases, of_ion, len(kinds))
