r"""Constants of a calibration, shrunk where they are not significant, and leave-one-out fits.

Constants that other runs would change as much as they are large are noise. With the variance v of
the mean of n formulas by the jackknife, an element's constants c are multiplied by
:math:`\max(0, 1 - v / |c|^2)`, the positive-part estimator of James and Stein. For few formulas v
is that of the median element. Every error is the one of leaving out all runs of a formula, in the
shrinkage, too.

References
----------
B. Efron and C. Stein, Ann. Stat. 9, 586 (1981), for the jackknife; W. James and C. Stein, Proc.
Fourth Berkeley Symp. 1, 361 (1961).
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from mlcharge_flows.training.calibration_run import (
    RIDGE,
    CalibrationRun,
    Constants,
    NormalEquations,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


class _OfFormula(Protocol):
    @property
    def formula(self) -> str: ...


_Run = TypeVar("_Run", bound=_OfFormula)

MAX_FOLDS = 40
"""Groups of formulas that are left out together; each formula is its own up to this number."""


def fit_constants(runs: Sequence[CalibrationRun], ridge: float = RIDGE) -> dict[str, Constants]:
    """Fit the constants of all elements to some runs, and shrink what is not significant.

    Parameters
    ----------
    runs
        At least one.
    ridge
        Of the form factors, relative to the diagonal.

    Returns
    -------
    dict of str to Constants
        Shrunk.
    """
    return _shrunk(folds(runs), ridge)


def leave_one_out(
    runs: Sequence[CalibrationRun], ridge: float = RIDGE
) -> Iterator[tuple[CalibrationRun, dict[str, Constants]]]:
    """Fit without the runs of each formula.

    Parameters
    ----------
    runs
        Some runs.
    ridge
        Of the form factors, relative to the diagonal.

    Yields
    ------
    run : CalibrationRun
        Each run.
    fit : dict of str to Constants
        Constants of the runs of other formulas.
    """
    groups = folds(runs)
    for key in groups:
        others = {other: run for other, run in groups.items() if other != key}
        fit = _shrunk(others, ridge)
        for run in groups[key]:
            yield run, fit


def folds(runs: Sequence[_Run]) -> dict[str, list[_Run]]:
    """Group runs by formula, in at most :data:`MAX_FOLDS` groups.

    Parameters
    ----------
    runs
        Some runs.

    Returns
    -------
    dict of str to list
        The groups.
    """
    many = len({run.formula for run in runs}) > MAX_FOLDS
    found: dict[str, list[_Run]] = {}
    for run in runs:
        digest = int.from_bytes(sha256(run.formula.encode()).digest()[:4])
        key = str(digest % MAX_FOLDS) if many else run.formula
        found.setdefault(key, []).append(run)
    return found


def _shrunk(groups: Mapping[str, Sequence[CalibrationRun]], ridge: float) -> dict[str, Constants]:
    """Constants of groups of runs, multiplied with their significance."""
    sums = {key: NormalEquations.sum(run.equations for run in runs) for key, runs in groups.items()}
    total = NormalEquations.sum(sums.values())
    fit = total.solve(ridge)
    spread: dict[str, list[np.ndarray]] = {symbol: [] for symbol in fit}
    norms = {symbol: total.norm[symbol] / total.n_runs[symbol] for symbol in fit}
    for key, part in sums.items():
        others = NormalEquations.sum(one for other, one in sums.items() if other != key)
        without = others.solve(ridge)
        for symbol in part.rhs:
            if symbol in without:
                spread[symbol].append(_squares(fit[symbol], norms[symbol], without[symbol]))
    counts = {symbol: len(changes) for symbol, changes in spread.items()}
    # The jackknife: variance of the mean, and of a single formula.
    single = {
        symbol: (counts[symbol] - 1) * np.sum(changes, axis=0)
        for symbol, changes in spread.items()
        if counts[symbol] > 1
    }
    typical = np.median([*single.values()], axis=0) if single else np.zeros(2)
    shrunk = {}
    for symbol, constants in fit.items():
        n = max(counts[symbol], 1)
        variance = ((n - 1) * single.get(symbol, np.zeros(2)) + typical) / n
        size = _squares(constants, norms[symbol])
        kept = np.clip(1.0 - variance / n / np.maximum(size, 1e-300), 0.0, 1.0)
        shrunk[symbol] = constants.shrunk(*kept.tolist())
    return shrunk


def _squares(one: Constants, norm: np.ndarray, other: Constants | None = None) -> np.ndarray:
    """Squares of the constants of an element, or of their change: density, occupancies."""
    form_factor, occupancies = one.form_factor, one.occupancies
    if other is not None:
        form_factor = form_factor - other.form_factor
        occupancies = occupancies - other.occupancies
    return np.array([form_factor @ norm @ form_factor, occupancies @ occupancies])
