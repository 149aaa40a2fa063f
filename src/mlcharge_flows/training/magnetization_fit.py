r"""Fit of spherical spin densities per unit moment to finished spin-polarized runs.

Moments are those of spheres, up to a factor per element
(:mod:`mlcharge_flows.training.magnetic_run`). With them, the spin form factor of an element is a
linear least-squares fit, as that of the density (:mod:`mlcharge_flows.training.calibration_run`)
with the structure factor :math:`\sum_i \mu_i e^{-i \mathbf G \cdot \mathbf R_i}`. Its value at
G = 0 is the factor: it scales the moments of an element so that they sum to the total moment.
Occupancies per unit moment, and the ratios of those of L > 0 to the occupancies of the total
density, are least-squares, too. Errors are those of spin densities without the runs of a formula;
the sizes of moments are of all runs, since their spread tells what they leave, and so are those of
MAGMOM with which they began.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlcharge_flows.models.magnetization import ElementMagnetization
from mlcharge_flows.models.moment_sizes import Moments
from mlcharge_flows.training.calibration_run import NormalEquations

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mlcharge_flows.density.magnetization import SpinSines
    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.training.magnetic_run import MagneticRun

RIDGE = 1e-6
"""Of the spin form factors, relative to the diagonal of the normal equations."""
LEAST_MOMENT = 0.1
"""Root mean square moment of an element below which its spin density is not fitted, Bohr magnetons.
"""
LEAST_ANISOTROPY = 0.005
"""Occupancies of L > 0 below this, in electrons, tell no ratio."""
FACTORS = (0.5, 2.0)
"""Bounds of the moment of an ion over that of its sphere; a fit beyond them is not used."""


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
        others = {
            symbol: mine.model_copy(
                update={"moments": fit[symbol].moments, "magmom_range": fit[symbol].magmom_range}
            )
            for symbol, mine in others.items()
        }
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
        # A zero in MAGMOM asks for no moment, whatever its size: it is none of the sizes.
        magmom = np.concatenate([run.magmom_of(symbol) for run in own])
        given = np.abs(magmom[magmom != 0.0])
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
            magmom_range=(float(given.min()), float(given.max())) if given.size else None,
        )
    return found, factors
