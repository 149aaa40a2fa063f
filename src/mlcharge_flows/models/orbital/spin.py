r"""The part of the orbital network that predicts magnetizations.

The sign :math:`s_i` of the moment of a site enters the embedding of its species,
:math:`E_i + s_i W E_i`. The network runs with :math:`s` and with :math:`-s`: features that are even
under this reversal give the density and the sizes of the moments, odd ones the magnetization,

.. math::
    m(\mathbf G) = \sum_i s_i \mu_i \, f_{Z_i}(G)\, e^{-i \mathbf G \cdot \mathbf R_i}
        + \sum_{iklm} c^i_{klm} \tilde\Phi_{klm}(\mathbf G)\, e^{-i \mathbf G \cdot \mathbf R_i} .

The spin form factors f, of unit moment, are fitted in closed form; sizes :math:`\mu_i` are the
means of the elements before training, and the coefficients c are zero. Sites have a sign where
their element carries moments in the training runs: on these, the orbitals hold no moment. Those of
the other sites hold moments that the neighbors induce. The occupancies of up minus down follow from
the magnetization as those of the density follow from its change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from mlcharge_flows.density.augmentation import blocks, n_occupancies, spherical
from mlcharge_flows.density.magnetization import SpinSines
from mlcharge_flows.models.magnetization import ElementMagnetization
from mlcharge_flows.models.moment_sizes import Moments
from mlcharge_flows.models.orbital.augmentation_response import AugmentationResponse
from mlcharge_flows.models.orbital.config import N_VIRTUAL_KINDS
from mlcharge_flows.models.orbital.equivariant import mlp

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.models.orbital.config import OrbitalConfig
    from mlcharge_flows.models.orbital.g_vectors import GVectors
    from mlcharge_flows.models.orbital.gaussians import Basis

CARRIED = 0.5
"""Mean size of the moments in a run from which on an element carries moments, Bohr magnetons."""
LEAST_SPREAD = 0.1
"""Least standard deviation of the sizes of moments, Bohr magnetons."""
_MESH_STEP = 0.05
"""Mesh of the spin form factors, 1/angstrom."""
_SIZE_STEP = 4.0
"""Factor of the MLP of the sizes: a moment changes by some Bohr magnetons, features by one."""
_INITIAL_CHANGE = 1.0
"""Initial size of W E relative to E."""
SPIN_BASIS = SpinSines()
"""Functions of the spin form factors."""


class SpinPart(nn.Module):
    """Embedding of signs, read-out of the magnetization, sizes of moments and spin densities.

    Parameters
    ----------
    config
        Of the network.
    basis
        Its orbitals.
    shape
        Of the read-out.
    """

    form_factors: torch.Tensor
    values: torch.Tensor
    mean: torch.Tensor
    spread: torch.Tensor
    factor: torch.Tensor
    magmom: torch.Tensor
    is_known: torch.Tensor
    carries: torch.Tensor

    def __init__(self, config: OrbitalConfig, basis: Basis, shape: Sequence[int]) -> None:
        super().__init__()
        self.config = config
        self.sign = nn.Linear(config.n_embedding, config.n_embedding, bias=False)
        nn.init.normal_(self.sign.weight, std=_INITIAL_CHANGE / config.n_embedding**0.5)
        self.readout = nn.Parameter(torch.zeros(tuple(shape)))
        self.size = mlp(config.n_channels, config.n_hidden, 2)
        for parameter in self.size[-1].parameters():
            nn.init.zeros_(parameter)
        self.augmentation = AugmentationResponse(config.elements, config.channels, basis.lmax)
        n = len(config.elements) + N_VIRTUAL_KINDS[config.virtual]
        n_mesh = int(np.ceil(config.g_max / _MESH_STEP)) + 2
        self.register_buffer("form_factors", torch.zeros(n, SPIN_BASIS.size - 1))
        self.register_buffer("values", torch.zeros(n, n_mesh), persistent=False)
        for name, initial in (("mean", 0.0), ("spread", 1.0), ("factor", 1.0)):
            self.register_buffer(name, torch.full((n,), initial))
        self.register_buffer("magmom", torch.tensor([torch.inf, -torch.inf]).repeat(n, 1))
        for name in ("is_known", "carries"):
            self.register_buffer(name, torch.zeros(n, dtype=torch.bool))
        for index, symbol in enumerate(config.elements):
            n_values = n_occupancies(config.channels[symbol])
            self.register_buffer(f"unit_{index}", torch.zeros(n_values))
            self.register_buffer(f"ratio_{index}", torch.zeros(n_values))
            self.register_buffer(f"responds_{index}", torch.zeros(n_values, dtype=torch.bool))

    @torch.no_grad()
    def fit(self, known: Mapping[str, ElementMagnetization], factors: Mapping[str, float]) -> None:
        """Take the spin densities and sizes of moments of elements from the training runs.

        Parameters
        ----------
        known
            Of the elements in spin-polarized runs.
        factors
            Moment of an ion over that of its sphere.
        """
        for index, symbol in enumerate(self.config.elements):
            if (mine := known.get(symbol)) is None:
                continue
            every = mine.all_moments
            largest = max(part.mean for part in mine.moments)
            self.is_known[index] = True
            self.carries[index] = mine.form_factor is not None and largest >= CARRIED
            self.mean[index] = every.mean
            self.spread[index] = max(every.spread, LEAST_SPREAD)
            self.factor[index] = factors[symbol]
            if mine.magmom_range is not None:
                self.magmom[index] = torch.tensor(mine.magmom_range)
            if mine.form_factor is not None and mine.occupancies is not None:
                self.form_factors[index] = torch.tensor(mine.form_factor)
                places = torch.from_numpy(spherical(mine.channels))
                self.get_buffer(f"unit_{index}")[places] = torch.tensor(mine.occupancies)
                others = [block for block in blocks(mine.channels) if block.L > 0]
                for block, ratio in zip(others, mine.anisotropy or (), strict=False):
                    row = slice(block.offset, block.offset + 2 * block.L + 1)
                    self.get_buffer(f"ratio_{index}")[row] = ratio
        self.tabulate()

    @torch.no_grad()
    def tabulate(self) -> None:
        """Tabulate the form factors of the elements that carry moments."""
        q = np.arange(self.values.shape[1]) * _MESH_STEP
        table = torch.from_numpy(SPIN_BASIS(q)).to(self.values)
        self.values.copy_(self.carries[:, None] * (table[0] + self.form_factors @ table[1:]))

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: object, **kwargs: object
    ) -> None:
        # Checkpoints of before lack it, and an interrupted training of before has just fitted it.
        state_dict.setdefault(f"{prefix}magmom", self.magmom)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        self.tabulate()

    def embedded(self, embedding: torch.Tensor, signs: torch.Tensor) -> torch.Tensor:
        """Embedding of sites with moments; that of a site without one is the same as before.

        Parameters
        ----------
        embedding
            Of the species, shape (sites, n_embedding).
        signs
            Shape (sites,).

        Returns
        -------
        torch.Tensor
            Shape (sites, n_embedding).
        """
        changed: torch.Tensor = self.sign(embedding)
        return embedding + signs[:, None] * changed

    def signs(self, species: torch.Tensor, moments: torch.Tensor) -> torch.Tensor:
        """Signs of the moments of sites; zero where the element carries none.

        Parameters
        ----------
        species
            Of each site, shape (sites,).
        moments
            Of the ions, any unit, shape (ions,).

        Returns
        -------
        torch.Tensor
            1, -1 or 0, shape (sites,).
        """
        signs = torch.zeros(len(species), dtype=self.mean.dtype, device=species.device)
        signs[: len(moments)] = torch.sign(moments).to(signs)
        return signs * self.carries[species]

    def sizes(
        self, scalars: torch.Tensor, species: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Sizes of the moments of sites, and their standard deviations.

        Parameters
        ----------
        scalars
            Even invariant features, shape (sites, n_channels).
        species
            Of each site, shape (sites,).

        Returns
        -------
        sizes, spreads : torch.Tensor
            Bohr magnetons, shape (sites,).
        """
        change, logarithm = (_SIZE_STEP * self.size(scalars)).unbind(-1)
        spread = self.spread[species] * torch.exp(logarithm.clamp(-4.0, 4.0))
        return self.mean[species] + change, (spread**2 + LEAST_SPREAD**2) ** 0.5

    def magnetization(
        self,
        moments: torch.Tensor,
        species: torch.Tensor,
        g_vectors: GVectors,
        phases: torch.Tensor,
    ) -> torch.Tensor:
        """Fourier coefficients of the spin densities of the ions, summed directly.

        Parameters
        ----------
        moments
            Bohr magnetons, shape (ions,).
        species
            Element of each ion, shape (ions,).
        g_vectors
            The G vectors.
        phases
            Phase factors of the ions, shape (ions, G vectors).

        Returns
        -------
        torch.Tensor
            Shape (G vectors,), complex, Bohr magnetons.
        """
        kinds, of_ion = species.unique(return_inverse=True)
        place = g_vectors.q / _MESH_STEP
        lower = place.floor().long().clamp(max=self.values.shape[1] - 2)
        fraction = place - lower
        values = self.values[kinds]
        factors = values[:, lower] * (1 - fraction) + values[:, lower + 1] * fraction
        one_hot = torch.nn.functional.one_hot(of_ion, len(kinds)).to(moments)
        structure = (one_hot * moments[:, None]).T.to(phases) @ phases
        return (factors * structure).sum(0)

    def closed_occupancies(
        self, index: int, moment: torch.Tensor, total: torch.Tensor
    ) -> torch.Tensor:
        """Occupancies of up minus down in closed form, as those of a calibration.

        Parameters
        ----------
        index
            Of the element.
        moment
            Of the ion, Bohr magnetons.
        total
            Augmentation occupancies of the ion, electrons.

        Returns
        -------
        torch.Tensor
            Electrons; zero for an element that carries no moments.
        """
        if not self.carries[index]:
            return torch.zeros_like(total)
        size = torch.sign(moment) * (moment.abs() / self.mean[index]).clamp(max=1.0)
        unit, ratio = (self.get_buffer(f"{name}_{index}") for name in ("unit", "ratio"))
        return moment * unit.to(total) + size * ratio.to(total) * total

    def occupancies(
        self, response: torch.Tensor, index: int, moment: torch.Tensor, total: torch.Tensor
    ) -> torch.Tensor:
        """Occupancies of up minus down: by the response where runs showed it to help.

        Parameters
        ----------
        response
            What follows from the magnetization.
        index
            Of the element.
        moment
            Of the ion, Bohr magnetons.
        total
            Augmentation occupancies of the ion, electrons.

        Returns
        -------
        torch.Tensor
            Electrons.
        """
        closed = self.closed_occupancies(index, moment, total)
        return torch.where(self.get_buffer(f"responds_{index}"), response.to(total), closed)

    def is_carried(self, symbol: str) -> bool:
        """Whether an element carries moments.

        Parameters
        ----------
        symbol
            Element.

        Returns
        -------
        bool
            True if the mean moment in a run of the training was :data:`CARRIED` at least.
        """
        return bool(self.carries[self.config.elements.index(symbol)])

    def magmom_range(self, index: int) -> tuple[float, float] | None:
        """Sizes of MAGMOM with which the ions of an element began in the training runs.

        Parameters
        ----------
        index
            Of the element.

        Returns
        -------
        tuple of float or None
            Smallest and largest, Bohr magnetons; None if it is not known.
        """
        smallest, largest = self.magmom[index].tolist()
        return (smallest, largest) if smallest <= largest else None

    def element(self, symbol: str, dataset: PawDataset) -> ElementMagnetization | None:
        """Spin density of an element that carries moments, in the form of a calibration.

        Parameters
        ----------
        symbol
            Element.
        dataset
            Its PAW data set in the training.

        Returns
        -------
        ElementMagnetization or None
            None if it carries none.
        """
        index = self.config.elements.index(symbol)
        if not self.carries[index]:
            return None
        unit, ratio = (self.get_buffer(f"{name}_{index}") for name in ("unit", "ratio"))
        places = torch.from_numpy(spherical(dataset.channels))
        others = [block.offset for block in blocks(dataset.channels) if block.L > 0]
        mean, spread = float(self.mean[index]), float(self.spread[index])
        return ElementMagnetization(
            titel=dataset.titel,
            fingerprint=dataset.fingerprint or "",
            channels=dataset.channels,
            moments=(Moments(elements=(), n_runs=1, mean=mean, spread=spread),),
            form_factor=tuple(self.form_factors[index].tolist()),
            occupancies=tuple(unit[places].tolist()),
            anisotropy=tuple(ratio[others].tolist()),
            magmom_range=self.magmom_range(index),
        )


def neutral_where(
    is_neutral: torch.Tensor, coefficients: torch.Tensor, charges: torch.Tensor
) -> torch.Tensor:
    """Orbital coefficients of some sites corrected so that they integrate to zero on each.

    Parameters
    ----------
    is_neutral
        Which sites, shape (sites,).
    coefficients
        Shape (sites, (lmax + 1)^2, exponents).
    charges
        Integral of each Gaussian of degree zero, shape (sites, exponents).

    Returns
    -------
    torch.Tensor
        As `coefficients`.
    """
    net = (coefficients[:, 0] * charges).sum(-1) * is_neutral
    correction = net[:, None] * charges / (charges**2).sum(-1, keepdim=True)
    return torch.cat([(coefficients[:, 0] - correction)[:, None], coefficients[:, 1:]], dim=1)
