"""G vectors in order of their lengths, with sums over sites by fast Fourier transforms.

A loss weighs G vectors by their lengths, or leaves most of them out. Its coefficients are taken
from those of the box around the sphere: the time of a training step, and the memory of a sample,
are linear in the number of sites, where phase factors of all sites at all G vectors are not.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from typing_extensions import override

from mlcharge_flows.models.orbital.fourier_box import FourierBox
from mlcharge_flows.models.orbital.g_vectors import GVectors
from mlcharge_flows.models.orbital.graph import harmonics

if TYPE_CHECKING:
    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.models.orbital.gaussians import GaussianBasis, SiteOrbitals


@dataclass(frozen=True, eq=False)
class BoxedGVectors(GVectors):
    """G vectors of a real grid whose sums are those of the box around them, on the CPU.

    Parameters
    ----------
    miller, index, q, harmonics, multiplicity, shape, volume
        See :class:`.g_vectors.GVectors`; there are no harmonics.
    box
        All G vectors of the sphere.
    lmax
        Highest degree of the harmonics of the direct sums.
    """

    box: FourierBox
    lmax: int

    @classmethod
    @override
    def of(
        cls, crystal: Crystal, shape: tuple[int, int, int], g_max: float, lmax: int
    ) -> BoxedGVectors:
        every = GVectors.of(crystal, shape, g_max, 0)
        values = {field.name: getattr(every, field.name) for field in fields(every)}
        values["harmonics"] = every.harmonics[:0]
        return cls(**values, box=FourierBox.of(crystal, shape, g_max), lmax=lmax)

    def direct(self) -> GVectors:
        """The same G vectors with direct sums, which are faster for few sites or few G vectors.

        Returns
        -------
        GVectors
            With harmonics.
        """
        values = {field.name: getattr(self, field.name) for field in fields(GVectors)}
        vectors = self.miller.numpy() @ self.box.crystal.reciprocal
        values["harmonics"] = harmonics(vectors, self.lmax).T.contiguous()
        return GVectors(**values)

    @override
    def phases(self, positions: torch.Tensor) -> torch.Tensor:
        return self.box.phases(positions)

    @override
    def density(
        self,
        coefficients: torch.Tensor,
        phases: torch.Tensor,
        basis: SiteOrbitals,
        scales: torch.Tensor | None = None,
    ) -> torch.Tensor:
        return self._chosen(self.box.density(coefficients, phases, basis, scales))

    @override
    def projections(
        self, density: torch.Tensor, phases: torch.Tensor, basis: GaussianBasis
    ) -> torch.Tensor:
        # The box counts -G itself; a factor is left where G vectors stand for others.
        once = torch.where(self.miller[:, 2] == 0, 1.0, 2.0)
        values = (density * (self.multiplicity / once)).to(torch.complex128)
        box = values.new_zeros(self.box.squares.numel()).index_put((self._places,), values)
        return self.box.projections(box.view(self.box.squares.shape), phases, basis)

    @override
    def structure_factors(
        self, kinds: torch.Tensor, n_kinds: int, phases: torch.Tensor
    ) -> torch.Tensor:
        factors = self.box.structure_factors(kinds, n_kinds, phases)
        return torch.stack([self._chosen(factor) for factor in factors])

    @cached_property
    def _places(self) -> torch.Tensor:
        """Index of each G vector in the flattened box."""
        nx, ny, nz = self.box.squares.shape
        x, y, z = self.miller.long().T
        places: torch.Tensor = ((x % nx) * ny + y % ny) * nz + z
        return places

    def _chosen(self, values: torch.Tensor) -> torch.Tensor:
        chosen: torch.Tensor = values.flatten()[self._places].to(self.q.dtype.to_complex())
        return chosen
