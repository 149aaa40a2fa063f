r"""Response of the augmentation occupancies to the density, fitted to a few finished runs.

For a model of the density alone: the change of the occupancies from those of the free atom is a
ridge regression on the overlaps of the change of the density with Gaussians on the ion
(:class:`~mlcharge_flows.models.orbital.augmentation_response.AugmentationResponse`). It is fitted
to converged densities with their occupancies: within an augmentation sphere both describe the same
electrons, so that it depends on the PAW data set and not on the model.

All components of a block of degree L have the same coefficients, so that the regression is
equivariant; every ion of a cell counts. One damping is taken for all elements and degrees: the one
with the smallest error, in squares of electrons, where the runs of a formula are left out. Single
elements have too few runs to choose theirs. An element that the response does not improve in runs
that were left out keeps the occupancies of the free atom.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlcharge_flows.density.augmentation import blocks
from mlcharge_flows.models.orbital.augmentation_response import N_EXPONENTS, damped_solutions
from mlcharge_flows.training.calibration_fit import folds
from mlcharge_flows.training.response_run import Response

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mlcharge_flows.training.response_run import ResponseRun, ResponseSums

RIDGES = tuple(10.0 ** np.arange(-3.0, 0.1, 0.5))
"""Dampings to choose from, relative to the mean square of the overlaps."""
DEFAULT_RIDGE = float(RIDGES[3])
"""Damping where no element is in two formulas."""
MIN_FORMULAS = 3
"""Formulas of an element that can show that its response is not significant."""
_TINY = 1e-12  # instead of the largest change of occupancies that do not change


@dataclass(frozen=True, eq=False)
class ResponseFit:
    """Responses of all elements of some runs.

    Parameters
    ----------
    ridge
        Damping of all.
    responses
        Of each element.
    """

    ridge: float
    responses: dict[str, Response]


def fit_responses(runs: Sequence[ResponseRun]) -> ResponseFit:
    """Fit the response of every element.

    Parameters
    ----------
    runs
        Some runs; those of the same formula are left out together to choose the damping.

    Returns
    -------
    ResponseFit
        Of the elements of the runs.
    """
    groups = [_summed(run.sums for run in group) for group in folds(runs).values()]
    total = _summed(groups)
    left: dict[tuple[str, int], np.ndarray] = {}
    counts: dict[str, int] = {}
    for key in total:
        tested = [group for group in groups if key in group]
        counts[key[0]] = len(tested)
        if len(tested) > 1:
            left[key] = np.sum([_left_out(tested, number, key) for number in range(len(tested))], 0)
    best = int(np.argmin(np.sum([*left.values()], axis=0))) if left else None
    ridge = DEFAULT_RIDGE if best is None else float(RIDGES[best])
    responses = {}
    for symbol, number in counts.items():
        channels = next(run.channels[symbol] for run in runs if symbol in run.channels)
        keys = [key for key in total if key[0] == symbol]
        coefficients = np.zeros((len(blocks(channels)), N_EXPONENTS))
        if number < MIN_FORMULAS or best is None or _helps(left, total, keys, best):
            for key in keys:
                places = [n for n, one in enumerate(blocks(channels)) if key[1] == one.L]
                (solved,) = damped_solutions(total[key].gram, total[key].rhs, [ridge])
                coefficients[places] = solved.T
        responses[symbol] = Response(coefficients, _largest(runs, symbol))
    return ResponseFit(ridge, responses)


def responses_without(runs: Sequence[ResponseRun]) -> dict[str, dict[str, Response]]:
    """Fit without the runs of each formula, the choice of the damping included.

    Parameters
    ----------
    runs
        Some runs.

    Returns
    -------
    dict of str to dict of str to Response
        Responses of the elements of the other runs, by formula.
    """
    found: dict[str, dict[str, Response]] = {}
    for group in folds(runs).values():
        formulas = {run.formula for run in group}
        fitted = fit_responses([run for run in runs if run.formula not in formulas])
        found |= dict.fromkeys(formulas, fitted.responses)
    return found


def _helps(
    left: Mapping[tuple[str, int], np.ndarray],
    total: Mapping[tuple[str, int], ResponseSums],
    keys: Sequence[tuple[str, int]],
    best: int,
) -> bool:
    """Whether the occupancies of left-out runs are better than those of the free atom."""
    return float(sum(left[key][best] for key in keys)) < sum(total[key].size for key in keys)


def _left_out(
    groups: Sequence[Mapping[tuple[str, int], ResponseSums]], number: int, key: tuple[str, int]
) -> np.ndarray:
    """Squared error of one group with the fit to the others, for each damping."""
    others = _summed({key: group[key]} for n, group in enumerate(groups) if n != number)[key]
    return groups[number][key].left(damped_solutions(others.gram, others.rhs, RIDGES))


def _summed(
    parts: Iterable[Mapping[tuple[str, int], ResponseSums]],
) -> dict[tuple[str, int], ResponseSums]:
    total: dict[tuple[str, int], ResponseSums] = {}
    for part in parts:
        for key, sums in part.items():
            total[key] = total[key] + sums if key in total else sums
    return total


def _largest(runs: Sequence[ResponseRun], symbol: str) -> float:
    """Largest change of an occupancy of an element."""
    changes = [
        float(np.abs(change).max(initial=0.0))
        for run in runs
        for one, change in zip(run.crystal.symbols, run.changes, strict=True)
        if one == symbol
    ]
    return max(*changes, _TINY)
