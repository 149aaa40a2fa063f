r"""What one run contributes to the fit of a calibration.

With the residual :math:`\Delta(\mathbf G)` (electrons) of the converged density after the model's
prediction, the structure factor :math:`S_s` of each element s and the form factors :math:`f_m` of
:class:`~mlcharge_flows.density.neutral_form_factor.NeutralSines`, coefficients c minimize

.. math::
    \sum_{runs} \frac{1}{V N} \sum_{\mathbf G} \Big| \Delta(\mathbf G)
        - \sum_s S_s(\mathbf G) \sum_m c_{sm} f_m(|\mathbf G|) \Big|^2

with a ridge relative to the diagonal. Constants of the occupancies are means of the residuals over
the ions of an element, run by run.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from mlcharge_flows.density.augmentation import spherical
from mlcharge_flows.density.structure_factor import structure_factor
from mlcharge_flows.training.half_spectrum import GVectors
from mlcharge_flows.training.response_run import ResponseRun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from mlcharge_flows.density.density import Density
    from mlcharge_flows.density.neutral_form_factor import NeutralSines

RIDGE = 1e-3
"""Of the form factors, relative to the diagonal of the normal equations."""
_TINY = 1e-12  # instead of the error of a superposition that is the converged density


@dataclass(eq=False)
class NormalEquations:
    """Sums over runs that determine all constants.

    Parameters
    ----------
    gram
        Products of the form factors of two elements, shape (functions, functions) each.
    rhs
        Products of an element's form factors with the residual, shape (functions,) each.
    norm
        The part of `gram` of an element with itself, per ion.
    occupancies
        Sum over runs of the mean residual of an element's L = 0 occupancies, electrons.
    n_runs
        Runs with an element.
    """

    gram: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    rhs: dict[str, np.ndarray] = field(default_factory=dict)
    norm: dict[str, np.ndarray] = field(default_factory=dict)
    occupancies: dict[str, np.ndarray] = field(default_factory=dict)
    n_runs: Counter[str] = field(default_factory=Counter)

    @classmethod
    def sum(cls, parts: Iterable[NormalEquations]) -> NormalEquations:
        """Sum the equations of several runs.

        Parameters
        ----------
        parts
            Equations of runs, or sums of them.

        Returns
        -------
        NormalEquations
            Of all runs together.
        """
        total = cls()
        for part in parts:
            for name in ("gram", "rhs", "norm", "occupancies"):
                sums, terms = getattr(total, name), getattr(part, name)
                for key, value in terms.items():
                    sums[key] = sums[key] + value if key in sums else value
            total.n_runs += part.n_runs
        return total

    @classmethod
    def of_density(
        cls,
        residual: np.ndarray,
        structure: Mapping[str, np.ndarray],
        g_vectors: GVectors,
        n_ions: int,
        basis: Callable[[np.ndarray], np.ndarray],
    ) -> NormalEquations:
        """Equations of the form factors in one run.

        Parameters
        ----------
        residual
            What the form factors are to give, electrons, shape (n,).
        structure
            Structure factor of each element, shape (n,).
        g_vectors
            G vectors of both, shape (n,).
        n_ions
            Ions of the cell.
        basis
            Functions of the form factors: takes wave numbers in 1/angstrom, shape (n,), and gives
            one row per function.

        Returns
        -------
        NormalEquations
            Without occupancies and norms.
        """
        lengths, place = np.unique(g_vectors.q.round(6), return_inverse=True)
        weight = g_vectors.multiplicity / (g_vectors.volume * n_ions)
        summed = partial(_summed, place, len(lengths), weight)
        table = basis(lengths)
        equations = cls(n_runs=Counter(dict.fromkeys(structure, 1)))
        for one, factor in structure.items():
            equations.rhs[one] = table @ summed((factor.conj() * residual).real)
            for other, its in structure.items():
                products = summed((factor.conj() * its).real)
                equations.gram[one, other] = (table * products) @ table.T
        return equations

    def solve(self, ridge: float = RIDGE) -> dict[str, Constants]:
        """Constants of all elements.

        Parameters
        ----------
        ridge
            Relative to the diagonal.

        Returns
        -------
        dict of str to Constants
            Not shrunk.
        """
        elements = sorted(self.rhs)
        if not elements:
            return {}
        n = len(self.rhs[elements[0]])
        none = np.zeros((n, n))
        matrix = np.block([[self.gram.get((a, b), none) for b in elements] for a in elements])
        size = matrix.diagonal()
        # Functions that no G vector of a run sees stay zero.
        damping = np.where(size > 0.0, ridge * size, 1.0)
        rhs = np.concatenate([self.rhs[a] for a in elements])
        found = np.linalg.solve(matrix + np.diag(damping), rhs).reshape(len(elements), n)
        return {
            symbol: Constants(form_factor, self.occupancies[symbol] / self.n_runs[symbol])
            for symbol, form_factor in zip(elements, found, strict=True)
        }


@dataclass(frozen=True, eq=False)
class Constants:
    """Fitted constants of one element.

    Parameters
    ----------
    form_factor
        Coefficients of the neutral functions, electrons.
    occupancies
        Constant of each L = 0 block, electrons.
    significance
        What both were multiplied with.
    """

    form_factor: np.ndarray
    occupancies: np.ndarray
    significance: tuple[float, float] = (1.0, 1.0)

    def shrunk(self, density: float, occupancies: float) -> Constants:
        """Multiply the constants by their significance.

        Parameters
        ----------
        density
            From 0 to 1.
        occupancies
            From 0 to 1.

        Returns
        -------
        Constants
            Smaller ones.
        """
        return Constants(
            density * self.form_factor, occupancies * self.occupancies, (density, occupancies)
        )


@dataclass(frozen=True, eq=False)
class CalibrationRun:
    """What one run contributes to a fit, and what is needed for its errors.

    Parameters
    ----------
    name
        Folder, or identifier in a data set.
    formula
        Reduced formula; runs of one formula are left out together.
    equations
        Of this run alone.
    size
        Square of the residual, in the norm of the fit.
    size_from_atoms
        Square of the error of the superposition of atoms.
    symbols
        Element of each ion.
    occupancies
        Residual of the occupancies of each ion, electrons.
    occupancies_from_atoms
        Sum of the absolute errors of the occupancies of free atoms, electrons.
    channels
        Projector channels of each element.
    response
        For a model of the density alone: what its occupancies are fitted to.
    """

    name: str
    formula: str
    equations: NormalEquations
    size: float
    size_from_atoms: float
    symbols: tuple[str, ...]
    occupancies: tuple[np.ndarray, ...]
    occupancies_from_atoms: float
    channels: Mapping[str, tuple[int, ...]]
    response: ResponseRun | None = None

    @classmethod
    def of(
        cls,
        name: str,
        formula: str,
        predicted: Density,
        superposition: Density,
        converged: Density,
        channels: Mapping[str, tuple[int, ...]],
        basis: NeutralSines,
    ) -> CalibrationRun:
        """Compare a prediction with the converged density of a run.

        Parameters
        ----------
        name
            Folder, or identifier in a data set.
        formula
            Reduced formula.
        predicted
            What is to be calibrated; without occupancies, those of the free atoms are taken, and
            a response is prepared.
        superposition
            Superposition of the run's atoms.
        converged
            Density of the run on the same grid.
        channels
            Projector channels of each element.
        basis
            Functions of the form factors.

        Returns
        -------
        CalibrationRun
            Of the run.
        """
        response, crystal, n = None, converged.crystal, len(converged.crystal)
        if predicted.augmentation is None:
            response = ResponseRun.of(name, formula, predicted, superposition, converged, channels)
            predicted = replace(predicted, augmentation=superposition.augmentation)
        counts = Counter(crystal.symbols)
        waves = GVectors.of(crystal, converged.shape)
        residual = waves.coefficients(converged.total - predicted.total)
        error = waves.coefficients(converged.total - superposition.total)
        weight = waves.multiplicity / (crystal.volume * n)
        within = waves.q <= basis.q_max
        structure = {
            symbol: structure_factor(
                crystal.positions[np.equal(crystal.symbols, symbol)], converged.shape
            ).ravel()[waves.indices[within]]
            for symbol in counts
        }
        equations = NormalEquations.of_density(
            residual[within], structure, waves.where(within), n, basis
        )
        for one in counts:
            equations.norm[one] = equations.gram[one, one] * n / counts[one]
        pairs = (converged.augmentation or (), predicted.augmentation or ())
        occupancies = tuple(a - b for a, b in zip(*pairs, strict=True))
        for symbol in counts:
            ions = [o for s, o in zip(crystal.symbols, occupancies, strict=True) if s == symbol]
            equations.occupancies[symbol] = np.mean(ions, 0)[spherical(channels[symbol])]
        free = zip(converged.augmentation or (), superposition.augmentation or (), strict=True)
        return cls(
            name,
            formula,
            equations,
            size=float(weight @ np.abs(residual) ** 2),
            size_from_atoms=float(weight @ np.abs(error) ** 2),
            symbols=crystal.symbols,
            occupancies=occupancies,
            occupancies_from_atoms=float(sum(np.abs(a - b).sum() for a, b in free)),
            channels={symbol: channels[symbol] for symbol in counts},
            response=response,
        )

    def density_left(self, fit: Mapping[str, Constants]) -> float:
        """Root mean square error of the density with constants, over the superposition's.

        Parameters
        ----------
        fit
            Constants of elements; those of others are zero.

        Returns
        -------
        float
            Fraction.
        """
        known = [symbol for symbol in self.equations.rhs if symbol in fit]
        left = self.size
        for one in known:
            mine = fit[one].form_factor
            left -= 2.0 * float(mine @ self.equations.rhs[one])
            for other in known:
                left += float(mine @ self.equations.gram[one, other] @ fit[other].form_factor)
        return float(np.sqrt(max(left, 0.0) / max(self.size_from_atoms, _TINY)))

    def occupancies_left(self, fit: Mapping[str, Constants]) -> float:
        """Mean absolute error of the occupancies with constants, over the free atoms'.

        Parameters
        ----------
        fit
            Constants of elements; those of others are zero.

        Returns
        -------
        float
            Fraction.
        """
        left = 0.0
        for symbol, residual in zip(self.symbols, self.occupancies, strict=True):
            rest = np.array(residual)
            if symbol in fit:
                rest[spherical(self.channels[symbol])] -= fit[symbol].occupancies
            left += float(np.abs(rest).sum())
        return left / max(self.occupancies_from_atoms, _TINY)


def _summed(place: np.ndarray, n: int, weight: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Weighted sum over the G vectors of equal length."""
    return np.bincount(place, weight * values, n)
