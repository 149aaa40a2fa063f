r"""What a finished spin-polarized run tells of spin densities and moments.

The moment of an ion in a run is, up to a factor per element, what a sphere of one angstrom around
it holds,

.. math::
    \mu_i = \frac{4 \pi}{V} \sum_{\mathbf G} m(\mathbf G) e^{i \mathbf G \cdot \mathbf R_i}
        \frac{\sin G r - G r \cos G r}{G^3} .
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import pi
from typing import TYPE_CHECKING

import numpy as np

from mlcharge_flows.density.augmentation import blocks, spherical
from mlcharge_flows.density.magnetization import SpinDensity, superpose_moments
from mlcharge_flows.models.magnetization import predict_magnetization
from mlcharge_flows.training.calibration_run import NormalEquations
from mlcharge_flows.training.half_spectrum import GVectors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.density.density import Density, Magnetization
    from mlcharge_flows.density.magnetization import SpinSines
    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.models.magnetization import ElementMagnetization

RADIUS = 1.0
"""Of the sphere around an ion whose moment is taken, angstrom."""


@dataclass(frozen=True, eq=False)
class MagneticRun:
    """What one spin-polarized run contributes to a fit, and what is needed for its errors.

    Parameters
    ----------
    name
        Folder of the run.
    formula
        Reduced formula; runs of one formula are left out together.
    settings
        Cutoff in eV and functional, which runs of one fit share.
    total
        Converged total density with occupancies; its grid is only a shape.
    magmom
        MAGMOM of the run, Bohr magnetons, shape (ions,).
    datasets
        PAW data set of each element, with its free atom.
    g_vectors
        Of the grid, with G = 0.
    coefficients
        Of the converged magnetization, electrons, shape (n,).
    occupancies
        Of the converged magnetization, electrons, one array per ion.
    in_spheres
        Moment in the sphere of each ion, Bohr magnetons, shape (ions,).
    equations
        Of this run alone.
    anisotropy
        Products of the occupancies of each block of L > 0 of an element: of the total density with
        themselves, and with those of up minus down times the sign of the moment; means over its
        ions, shape (2, blocks).
    """

    name: str
    formula: str
    settings: tuple[float | None, str | None]
    total: Density
    magmom: np.ndarray
    datasets: Mapping[str, PawDataset]
    g_vectors: GVectors
    coefficients: np.ndarray
    occupancies: tuple[np.ndarray, ...]
    in_spheres: np.ndarray
    equations: NormalEquations
    anisotropy: Mapping[str, np.ndarray]

    @classmethod
    def of(
        cls,
        name: str,
        formula: str,
        settings: tuple[float | None, str | None],
        total: Density,
        magnetization: Magnetization,
        datasets: Mapping[str, PawDataset],
        basis: SpinSines,
    ) -> MagneticRun | None:
        """Take the converged magnetization of a run.

        Parameters
        ----------
        name
            Folder of the run.
        formula
            Reduced formula.
        settings
            Cutoff in eV and functional.
        total
            Converged total density.
        magnetization
            Converged, with the MAGMOM of the run.
        datasets
            PAW data set of each element, with its free atom.
        basis
            Functions of the form factors.

        Returns
        -------
        MagneticRun or None
            None if MAGMOM was zero everywhere, or there are no occupancies.
        """
        own, occupancies, crystal = magnetization.augmentation, total.augmentation, total.crystal
        if own is None or occupancies is None or not magnetization.moments.any():
            return None
        g_vectors = GVectors.of(crystal, total.shape, zero=True)
        within = g_vectors.q <= basis.q_max
        coefficients = g_vectors.coefficients(magnetization.grid)
        phases = np.exp(-2j * pi * g_vectors.miller @ crystal.positions.T)
        in_spheres = _in_spheres(coefficients, phases, g_vectors)
        structure = {
            symbol: (phases[within] * in_spheres) @ np.equal(crystal.symbols, symbol)
            for symbol in dict.fromkeys(crystal.symbols)
        }
        equations = NormalEquations.of_density(
            coefficients[within], structure, g_vectors.where(within), len(crystal), basis
        )
        anisotropy = {}
        for symbol in structure:
            ions = np.flatnonzero(np.equal(crystal.symbols, symbol))
            channels = datasets[symbol].channels
            values = np.array([own[ion][spherical(channels)] for ion in ions])
            equations.occupancies[symbol] = in_spheres[ions] @ values / len(ions)
            sums = [
                _products(occupancies[ion], np.sign(in_spheres[ion]) * own[ion], channels)
                for ion in ions
            ]
            anisotropy[symbol] = np.mean(sums, axis=0)
        return cls(
            name,
            formula,
            settings,
            replace(total, total=np.broadcast_to(0.0, total.shape), magnetization=None),
            np.array(magnetization.moments, dtype=float),
            datasets,
            g_vectors,
            coefficients,
            own,
            in_spheres,
            equations,
            anisotropy,
        )

    @property
    def crystal(self) -> Crystal:
        """The ions."""
        return self.total.crystal

    def light(self) -> MagneticRun:
        """The same run without what only its errors need.

        Returns
        -------
        MagneticRun
            For :func:`mlcharge_flows.training.magnetization_fit.fit_spin_densities`.
        """
        none = np.zeros(0, dtype=bool)
        return replace(
            self,
            total=replace(self.total, total=np.zeros((1, 1, 1)), augmentation=None),
            g_vectors=self.g_vectors.where(none),
            coefficients=self.coefficients[:0].copy(),
            occupancies=(),
        )

    def sizes(self, symbol: str) -> np.ndarray:
        """Sizes of the moments of an element.

        Parameters
        ----------
        symbol
            Element.

        Returns
        -------
        numpy.ndarray
            Bohr magnetons, in the spheres of its ions.
        """
        sizes: np.ndarray = np.abs(self.in_spheres[np.equal(self.crystal.symbols, symbol)])
        return sizes

    def magmom_of(self, symbol: str) -> np.ndarray:
        """MAGMOM of an element.

        Parameters
        ----------
        symbol
            Element.

        Returns
        -------
        numpy.ndarray
            Bohr magnetons, of each of its ions.
        """
        own: np.ndarray = self.magmom[np.equal(self.crystal.symbols, symbol)]
        return own

    def left(
        self, known: Mapping[str, ElementMagnetization], basis: SpinSines
    ) -> tuple[float, float] | None:
        """Errors of the magnetization that is predicted for the MAGMOM of the run.

        Parameters
        ----------
        known
            Of other runs, by element.
        basis
            Functions of the form factors.

        Returns
        -------
        density, occupancies : float
            Root mean square on the grid and mean absolute of the occupancies, as fractions of those
            of the magnetization that VASP superposes; None if nothing is predicted.
        """
        predicted, _ = predict_magnetization(self.total, self.magmom, known, self.datasets, basis)
        if predicted is None:
            return None
        atoms = {s: SpinDensity.of_free_atom(dataset) for s, dataset in self.datasets.items()}
        before = self._errors(superpose_moments(self.crystal, self.magmom, atoms, self.total.shape))
        mine = self._errors(predicted)
        return mine[0] / before[0], mine[1] / before[1]

    def _errors(self, other: Magnetization) -> tuple[float, float]:
        difference = np.abs(self.g_vectors.coefficients(other.grid) - self.coefficients)
        pairs = zip(other.augmentation or (), self.occupancies, strict=True)
        return (
            float(np.sqrt(self.g_vectors.multiplicity @ difference**2)),
            float(sum(np.abs(a - b).sum() for a, b in pairs)),
        )


def _in_spheres(coefficients: np.ndarray, phases: np.ndarray, g_vectors: GVectors) -> np.ndarray:
    """Integral of a density over the spheres around the ions, shape (ions,)."""
    x = np.maximum(RADIUS * g_vectors.q, 1e-3)
    ball = 4 * pi * RADIUS**3 * (np.sin(x) - x * np.cos(x)) / x**3
    values: np.ndarray = (g_vectors.multiplicity * ball * coefficients) @ phases.conj()
    moments: np.ndarray = values.real / g_vectors.volume
    return moments


def _products(total: np.ndarray, own: np.ndarray, channels: Sequence[int]) -> np.ndarray:
    """Products of the occupancies of the blocks of L > 0, shape (2, blocks)."""
    places = [
        slice(block.offset, block.offset + 2 * block.L + 1)
        for block in blocks(channels)
        if block.L > 0
    ]
    return np.array([[total[place] @ other[place] for place in places] for other in (total, own)])
