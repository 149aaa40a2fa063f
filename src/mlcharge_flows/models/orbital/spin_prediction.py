"""Magnetization of a run from what the orbital network predicts and from its MAGMOM.

MAGMOM gives the order and signs of the moments, the network their sizes
(:mod:`mlcharge_flows.models.orbital.site_moments`). Ions without a size of the network have what
VASP superposes for MAGMOM.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from mlcharge_flows.density.augmentation import spherical
from mlcharge_flows.density.density import Magnetization
from mlcharge_flows.density.magnetization import SpinDensity, superpose_moments
from mlcharge_flows.models.deformation import carried
from mlcharge_flows.models.magnetization import SMALLEST_MOMENT
from mlcharge_flows.models.orbital.augmentation_response import MAX_RELATIVE_CHANGE
from mlcharge_flows.models.orbital.site_moments import SiteMoments
from mlcharge_flows.models.orbital.spin import SPIN_BASIS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlcharge_flows.density.density import Density
    from mlcharge_flows.density.magnetization import SpinSines
    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.models.card import Card
    from mlcharge_flows.models.magnetization import ElementMagnetization
    from mlcharge_flows.models.orbital.expansion import Expansion
    from mlcharge_flows.models.orbital.fourier_box import FourierBox
    from mlcharge_flows.models.orbital.g_vectors import GVectors
    from mlcharge_flows.models.orbital.network import OrbitalNetwork


@dataclass(frozen=True, eq=False)
class SpinPrediction:
    """Predicted change of the density of a run, and its magnetization.

    Parameters
    ----------
    deformation
        Converged density less the superposition of atoms, in the model's PAW data sets.
    sites
        Moments of the ions.
    magmom
        MAGMOM of the run, Bohr magnetons, shape (ions,).
    is_fixed
        Whether the run keeps the density (ICHARG = 11).
    card
        Of the model.
    network
        The network.
    expansion
        What it predicts.
    g_vectors
        Of the grid.
    phases
        The sites as the method `phases` of the G vectors gives them.
    positions
        Fractional coordinates of the sites, shape (sites, 3).
    """

    deformation: Density
    sites: SiteMoments
    magmom: np.ndarray
    is_fixed: bool
    card: Card
    network: OrbitalNetwork
    expansion: Expansion
    g_vectors: GVectors | FourierBox
    phases: torch.Tensor
    positions: torch.Tensor

    @classmethod
    def of(
        cls,
        deformation: Density,
        magmom: np.ndarray,
        is_fixed: bool,
        card: Card,
        network: OrbitalNetwork,
        expansion: Expansion,
        positions: torch.Tensor,
    ) -> SpinPrediction:
        """Compare what a network predicts with MAGMOM.

        Parameters
        ----------
        deformation
            Converged density less the superposition of atoms.
        magmom
            MAGMOM of the run, Bohr magnetons, shape (ions,).
        is_fixed
            Whether the run keeps the density (ICHARG = 11).
        card
            Of the model.
        network
            The network, with spin.
        expansion
            What it predicts, with spin.
        positions
            Fractional coordinates of the sites, shape (sites, 3).

        Returns
        -------
        SpinPrediction
            With the moments of the ions.
        """
        spin, own, crystal = network.spin, expansion.spin, deformation.crystal
        assert spin is not None
        assert own is not None
        elements = {
            symbol: index
            for index, symbol in enumerate(network.config.elements)
            if spin.is_known[index]
        }
        known = {symbol: bool(spin.carries[index]) for symbol, index in elements.items()}
        ranges = {symbol: spin.magmom_range(index) for symbol, index in elements.items()}
        sizes, spreads = (
            values[: len(crystal)].double().numpy() for values in (own.sizes, own.spreads)
        )
        smallest = 0.0 if is_fixed else SMALLEST_MOMENT
        sites = SiteMoments.of(crystal.symbols, magmom, sizes, spreads, known, ranges, smallest)
        g_vectors = network.g_vectors(crystal, deformation.shape, len(positions))
        phases = g_vectors.phases(positions)
        return cls(
            deformation,
            sites,
            magmom,
            is_fixed,
            card,
            network,
            expansion,
            g_vectors,
            phases,
            positions,
        )

    @property
    def knows_all(self) -> bool:
        """Whether the elements of all moments were in spin-polarized runs of the training."""
        spin, with_moments = self.network.spin, torch.from_numpy(self.magmom != 0.0)
        return spin is not None and bool(spin.is_known[self.expansion.ions[with_moments]].all())

    def closed_form(self) -> SpinPrediction:
        """Replace the magnetization of the network by the closed form alone.

        Returns
        -------
        SpinPrediction
            With the mean sizes of the moments of the elements and without orbitals.
        """
        spin, own, species = self.network.spin, self.expansion.spin, self.expansion.species
        assert spin is not None
        assert own is not None
        mean = own._replace(
            coefficients=torch.zeros_like(own.coefficients),
            sizes=spin.mean[species],
            spreads=spin.spread[species],
        )
        return SpinPrediction.of(
            self.deformation,
            self.magmom,
            self.is_fixed,
            self.card,
            self.network,
            self.expansion._replace(spin=mean),
            self.positions,
        )

    def magnetized(
        self,
        density: Density,
        atoms: Mapping[str, PawDataset],
        transfers: Mapping[str, np.ndarray] | None = None,
        calibrated: Mapping[str, ElementMagnetization] | None = None,
        basis: SpinSines = SPIN_BASIS,
    ) -> tuple[Density, tuple[str, ...]]:
        """Give a predicted density its magnetization.

        Parameters
        ----------
        density
            Superposition of the run's atoms plus the deformation.
        atoms
            The run's PAW data set of each element, with its free atom.
        transfers
            Expansion of the model's partial waves in those of the run, by element.
        calibrated
            Spin densities of a calibration, in place of the model's, with occupancies.
        basis
            Functions of their form factors.

        Returns
        -------
        density : Density
            Without magnetization where it would be what VASP superposes, or, of a fixed density,
            where it would be in part.
        warnings : tuple of str
            A line for each element whose magnetization is that of MAGMOM, with the reason.
        """
        sites, crystal, spin = self.sites, density.crystal, self.network.spin
        warned = bool(sites.warnings)
        if spin is None or not self.magmom.any() or (self.is_fixed and warned):
            return density, sites.warnings
        if warned and not (sites.is_predicted & (sites.moments != 0.0)).any():
            return density, sites.warnings
        symbols = tuple(dict.fromkeys(crystal.symbols))
        free = {s: SpinDensity.of_free_atom(atoms[s]) for s in symbols}
        own = dict(free)
        for symbol in symbols:
            if (mine := spin.element(symbol, self.card.paw[symbol])) is not None:
                own[symbol] = mine.spin_density(SPIN_BASIS) or free[symbol]
        predicted = np.where(sites.is_predicted, sites.moments, 0.0)
        given = np.where(sites.is_predicted, 0.0, sites.moments)
        shape = density.shape
        closed = superpose_moments(crystal, predicted, own, shape).grid
        atomic = superpose_moments(crystal, given, free, shape)
        orbitals, induced = self._orbitals(crystal.volume)
        rest = orbitals + atomic.grid
        new = {s: e for s, e in (calibrated or {}).items() if e.is_of(atoms[s])}
        replaced = np.array([s in new and spin.is_carried(s) for s in crystal.symbols])
        exchange = np.where(replaced, predicted, 0.0)
        response = self._occupancies(
            rest + closed - superpose_moments(crystal, exchange, own, shape).grid
            if replaced.any()
            else rest + closed
        )
        if not replaced.any() and (issue := self._issue(response)) is not None:
            return density, (*sites.warnings, issue)
        fitted = {s: e.spin_density(basis) or free[s] for s, e in new.items()}
        if replaced.any():
            others = superpose_moments(crystal, exchange, {**free, **fitted}, shape)
            kept = superpose_moments(crystal, np.where(replaced, 0.0, predicted), own, shape)
            closed = kept.grid + others.grid
        augmentation = []
        for ion, symbol in enumerate(crystal.symbols):
            if not sites.is_predicted[ion]:
                values = (atomic.augmentation or ())[ion]
            else:
                channels = self.card.paw[symbol].channels, atoms[symbol].channels
                transfer, values = (transfers or {}).get(symbol), response[ion]
                if not replaced[ion]:
                    known = density.augmentation is not None and channels[0] == channels[1]
                    total = (density.augmentation or ())[ion] if known else np.zeros_like(values)
                    values = self._chosen(ion, values, predicted[ion], total)
                values = carried(values, *channels, transfer)
                if replaced[ion]:
                    values = np.array(values)
                    places = spherical(atoms[symbol].channels)
                    values[places] += predicted[ion] * fitted[symbol].occupancies[places]
            augmentation.append(values)
        found = Magnetization(closed + rest, tuple(augmentation), sites.moments + induced)
        return replace(density, magnetization=found), sites.warnings

    def _chosen(
        self, ion: int, response: np.ndarray, moment: float, total: np.ndarray
    ) -> np.ndarray:
        """Occupancies of an ion: by the response where runs showed it to help."""
        spin, index = self.network.spin, int(self.expansion.ions[ion])
        assert spin is not None
        values = torch.from_numpy(response), torch.tensor(moment), torch.from_numpy(total)
        found: np.ndarray = spin.occupancies(values[0], index, *values[1:]).double().numpy()
        return found

    def _issue(self, response: Sequence[np.ndarray]) -> str | None:
        """Refusal of occupancies that are much larger than in the training."""
        spin, elements = self.network.spin, self.network.config.elements
        assert spin is not None
        for ion, (index, values) in enumerate(
            zip(self.expansion.ions.tolist(), response, strict=True)
        ):
            if not self.sites.is_predicted[ion]:
                continue
            relative = spin.augmentation.relative_change(index, torch.from_numpy(values))
            if spin.carries[index] and relative > MAX_RELATIVE_CHANGE:
                return (
                    f"VASP's superposition for all moments: the magnetization around "
                    f"{elements[index]} is unlike any in training, its occupancies would be "
                    f"{relative:.1f} times as large as the largest there"
                )
        return None

    def _orbitals(self, volume: float) -> tuple[np.ndarray, np.ndarray]:
        """Magnetization of the orbitals on the grid, and the moment on each ion."""
        spin, n_ions = self.expansion.spin, self.expansion.n_ions
        if spin is None:
            return np.zeros(self.deformation.shape), np.zeros(n_ions)
        coefficients = spin.coefficients.clone()
        coefficients[:n_ions][~torch.from_numpy(self.sites.is_predicted)] = 0.0
        basis = self.network.basis.of(self.expansion.species)
        with torch.inference_mode():
            density = self.g_vectors.density(coefficients, self.phases, basis, None)
            grid = self.g_vectors.to_grid(density).double().numpy()
            charges = (coefficients[:n_ions, 0] * basis.charges()[:1]).sum(-1).double().numpy()
        moments = np.where(spin.signs[:n_ions].numpy() == 0.0, charges, 0.0)
        return grid + moments.sum() / volume, moments

    def _occupancies(self, grid: np.ndarray) -> list[np.ndarray]:
        """Occupancies of up minus down that belong to a magnetization, in the model's data sets."""
        spin, ions = self.network.spin, self.expansion.ions
        assert spin is not None
        with torch.inference_mode():
            density = self.g_vectors.from_grid(torch.from_numpy(grid))
            around = spin.augmentation.projections(
                density, self.g_vectors, self.phases[: len(ions)]
            )
            return [values.double().numpy() for values in spin.augmentation(around, ions)]
