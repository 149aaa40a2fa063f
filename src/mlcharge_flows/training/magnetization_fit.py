r"""Fit of spherical spin densities per unit moment to finished spin-polarized runs.

The moment of an ion in a run is, up to a factor per element, what a sphere of one angstrom around
it holds,

.. math::
    \mu_i = \frac{4 \pi}{V} \sum_{\mathbf G} m(\mathbf G) e^{i \mathbf G \cdot \mathbf R_i}
        \frac{\sin G r - G r \cos G r}{G^3} .

With it, the spin form factor of an element is a linear least-squares fit, as that of the density
(:mod:`mlcharge_flows.training.calibration_run`) with the structure factor
:math:`\sum_i \mu_i e^{-i \mathbf G \cdot \mathbf R_i}`. Its value at G = 0 is the factor: it scales
the moments of an element so that they sum to the total moment. Occupancies per unit moment, and
the ratios of those of L > 0 to the occupancies of the total density, are least-squares, too. Errors
are those of spin densities without the runs of a formula; the sizes of moments are of all runs,
since their spread tells what they leave.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import pi
from typing import TYPE_CHECKING

import numpy as np

from mlcharge_flows.density.augmentation import blocks, spherical
from mlcharge_flows.density.magnetization import SpinDensity, superpose_moments
from mlcharge_flows.models.magnetization import ElementMagnetization, Moments, predict_magnetization
from mlcharge_flows.training.calibration_run import NormalEquations
from mlcharge_flows.training.half_spectrum import GVectors

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.density.density import Density, Magnetization
    from mlcharge_flows.density.magnetization import SpinSines
    from mlcharge_flows.density.paw_dataset import PawDataset

RADIUS = 1.0
"""Of the sphere around an ion whose moment is taken, angstrom."""
RIDGE = 1e-6
"""Of the spin form factors, relative to the diagonal of the normal equations."""
LEAST_MOMENT = 0.1
"""Root mean square moment of an element below which its spin density is not fitted, Bohr magnetons.
"""
LEAST_ANISOTROPY = 0.005
"""Occupancies of L > 0 below this, in electrons, tell no ratio."""
FACTORS = (0.5, 2.0)
"""Bounds of the moment of an ion over that of its sphere; a fit beyond them is not used."""


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
            For :func:`fit_spin_densities`.
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


def like(
    runs: Iterable[MagneticRun | None],
    settings: tuple[float | None, str | None],
    paw: Mapping[str, PawDataset],
) -> list[MagneticRun]:
    """Choose the runs that can be fitted together.

    DFT+U may differ: it changes moments, which their spread shows, rather than their shape.

    Parameters
    ----------
    runs
        Spin-polarized runs, and None for others.
    settings
        Cutoff in eV and functional.
    paw
        PAW data sets; of an element that is not among them, that of the first run is taken.

    Returns
    -------
    list of MagneticRun
        Of these settings and data sets.
    """
    taken, found = dict(paw), []
    for run in runs:
        if run is not None and run.settings == settings:
            pairs = [(taken.setdefault(s, dataset), dataset) for s, dataset in run.datasets.items()]
            if all(one.fingerprint == other.fingerprint for one, other in pairs):
                found.append(run)
    return found


def fit_magnetization(
    runs: Sequence[MagneticRun], basis: SpinSines
) -> dict[str, ElementMagnetization]:
    """Fit the spin densities of all elements, with leave-one-out errors.

    Parameters
    ----------
    runs
        Spin-polarized runs with the same PAW data set of each element.
    basis
        Functions of the form factors.

    Returns
    -------
    dict of str to ElementMagnetization
        By element; empty without runs.
    """
    fit = fit_spin_densities(runs, basis)[0]
    errors: dict[str, list[tuple[float, float]]] = {}
    for formula in dict.fromkeys(run.formula for run in runs):
        others, _ = fit_spin_densities([run for run in runs if run.formula != formula], basis)
        others = {s: m.model_copy(update={"moments": fit[s].moments}) for s, m in others.items()}
        for run in (run for run in runs if run.formula == formula):
            if (left := run.left(others, basis)) is not None:
                for symbol in others.keys() & set(run.crystal.symbols):
                    errors.setdefault(symbol, []).append(left)
    return {
        symbol: mine.model_copy(
            update=dict(
                zip(
                    ("density_left", "occupancies_left"),
                    np.mean(errors[symbol], axis=0).tolist() if symbol in errors else (None, None),
                    strict=True,
                )
            )
        )
        for symbol, mine in sorted(fit.items())
    }


def fit_spin_densities(
    runs: Sequence[MagneticRun], basis: SpinSines
) -> tuple[dict[str, ElementMagnetization], dict[str, float]]:
    """Fit spin densities and sizes of moments, without errors.

    Parameters
    ----------
    runs
        Spin-polarized runs with the same PAW data set of each element.
    basis
        Functions of the form factors.

    Returns
    -------
    fit : dict of str to ElementMagnetization
        By element; empty without runs.
    factors : dict of str to float
        Moment of an ion of the element over that of its sphere.
    """
    total = NormalEquations.sum(run.equations for run in runs)
    constants = total.solve(RIDGE)
    found, factors = {}, {}
    for symbol, mine in constants.items():
        own = [run for run in runs if symbol in run.equations.rhs]
        square = float(np.mean([np.mean(run.sizes(symbol) ** 2) for run in own]))
        factor, shape, occupancies, ratios = float(mine.form_factor[0]), None, None, None
        if square >= LEAST_MOMENT**2 and FACTORS[0] <= factor <= FACTORS[1]:
            shape = tuple((mine.form_factor[1:] / factor).tolist())
            occupancies = tuple((mine.occupancies / (factor * square)).tolist())
            squares, products = np.mean([run.anisotropy[symbol] for run in own], axis=0)
            ratios = tuple((products / (squares + LEAST_ANISOTROPY**2)).tolist())
        else:
            factor = 1.0
        factors[symbol] = factor
        groups: dict[tuple[str, ...], list[Moments]] = {}
        for run in own:
            elements, sizes = tuple(sorted(run.datasets)), factor * run.sizes(symbol)
            mean, spread = float(np.mean(sizes)), float(np.std(sizes))
            one = Moments(elements=elements, n_runs=1, mean=mean, spread=spread)
            groups.setdefault(elements, []).append(one)
        dataset = own[0].datasets[symbol]
        found[symbol] = ElementMagnetization(
            titel=dataset.titel,
            fingerprint=dataset.fingerprint or "",
            channels=dataset.channels,
            moments=tuple(
                Moments.joined(group).model_copy(update={"n_systems": 1})
                for _, group in sorted(groups.items())
            ),
            form_factor=shape,
            occupancies=occupancies,
            anisotropy=ratios,
        )
    return found, factors
