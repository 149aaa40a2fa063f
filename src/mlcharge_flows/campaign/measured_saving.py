r"""Saving of a source for materials of some elements, estimated from few pairs of runs.

The saving of pair i is :math:`s_i = \mu + \sum_{e \in i} \delta_e + \epsilon_i`, with a mean of the
campaign, a normal deviation of each element, :math:`\delta_e \sim N(0, \tau^2)`, and noise of
variance :math:`\sigma^2`. Both variances are those of the largest marginal likelihood on a grid;
the noise is at least one step in ten. Elements without pairs have no deviation: they inherit the
evidence of the whole campaign. Harm is attributed to the element that harmful pairs share, and not
to its partners.

References
----------
C. N. Morris, J. Am. Stat. Assoc. 78, 47 (1983), for parametric empirical Bayes inference; A. Gelman
et al., Bayesian Data Analysis, 3rd ed. (2013), section 14.8, for regression with a normal prior.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from mlcharge_flows.scf.comparison import REFERENCE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from mlcharge_flows.scf.comparison import Comparison

MIN_PAIRS = 2
"""Pairs from which on a saving counts as measured; one pair has no spread."""
CONFIDENCE = 0.8
"""Of the two-sided interval: in one of ten materials the saving is below its lower end."""
MIN_NOISE = 0.1
"""Least standard deviation of the saving of one pair: about one electronic step in ten."""
_NOISES = (MIN_NOISE, 0.15, 0.2, 0.3, 0.5)
_SPREADS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
_MEAN_SPREAD = 1.0
"""Standard deviation of the prior of the campaign's mean, around zero: nearly flat."""


@dataclass(frozen=True)
class Pair:
    """A material that ran both from free atoms and from a source.

    Parameters
    ----------
    elements
        Of the material.
    saving
        Fraction of the electronic steps of the default run that the source saves.
    """

    elements: frozenset[str]
    saving: float


@dataclass(frozen=True)
class Estimate:
    """Saving that is expected for a material.

    Parameters
    ----------
    mean
        Expected fraction of the electronic steps.
    low, high
        Ends of its interval.
    n_pairs
        Pairs that share an element with the material.
    """

    mean: float
    low: float
    high: float
    n_pairs: int


def paired_saving(comparison: Comparison, arm: str) -> float | None:
    """Fraction of electronic steps that an arm saves in a material.

    Parameters
    ----------
    comparison
        Counted runs of the material.
    arm
        Name of the arm.

    Returns
    -------
    float or None
        A run that failed for a physical reason has cost its steps beside those of the default run:
        a negative saving, at least -1. None where a run is missing or failed by the fault of the
        machine, or where the source refused and nothing ran.

    Examples
    --------
    >>> from mlcharge_flows.scf.comparison import Comparison
    >>> from mlcharge_flows.scf.run import ScfRun
    >>> read = {"started_from": "chgcar", "echoed_comment": "a", "expected_comment": "a"}
    >>> arms = {
    ...     "default": ScfRun(folder="", n_total=10, started_from="atoms"),
    ...     "learned": ScfRun(folder="", n_total=6, **read),
    ...     "diverged": ScfRun(folder="", n_total=60, failure="not converged", **read),
    ... }
    >>> silicon = Comparison(material_id="Si", formula="Si", n_atoms=2, protocol="", arms=arms)
    >>> paired_saving(silicon, "learned"), paired_saving(silicon, "diverged")
    (0.4, -1.0)
    """
    run, base = comparison.arms.get(arm), comparison.arms.get(REFERENCE)
    if run is None or base is None or base.exclusion_reason is not None or not base.n_total:
        return None
    if run.failed_by_machine or run.lacks_initial_density or not run.n_total:
        return None
    if run.failure is None:
        return 1 - run.n_total / base.n_total
    return -min(1.0, run.n_total / base.n_total)


class SavingModel:
    """Savings of one source, by element.

    Parameters
    ----------
    pairs
        At least one.

    Examples
    --------
    >>> pairs = [Pair(frozenset(["Mg", "O"]), 0.4), Pair(frozenset(["Mg", "F"]), 0.3)]
    >>> pairs += [Pair(frozenset(["Li", "O"]), -0.5), Pair(frozenset(["Li", "F"]), -0.4)]
    >>> model = SavingModel(pairs)
    >>> model.estimate(["Mg", "O"]).low > 0, model.estimate(["Li", "O"]).low > 0
    (True, False)
    """

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.pairs = list(pairs)
        self._columns = {
            element: column
            for column, element in enumerate(sorted({e for p in pairs for e in p.elements}), 1)
        }
        design = np.array([self._row(pair.elements) for pair in self.pairs])
        savings = np.array([pair.saving for pair in self.pairs])
        fits = [_Fit(design, savings, *widths) for widths in product(_NOISES, _SPREADS)]
        self._fit = max(fits, key=lambda fit: fit.log_evidence)

    def estimate(self, elements: Iterable[str], confidence: float = CONFIDENCE) -> Estimate:
        """Estimate the saving for a material.

        Parameters
        ----------
        elements
            Of the material.
        confidence
            Of the two-sided interval.

        Returns
        -------
        Estimate
            Of the expected saving, without the noise of a single pair.
        """
        known = set(elements)
        row = self._row(known)
        mean = float(row @ self._fit.mean)
        width = NormalDist().inv_cdf((1 + confidence) / 2)
        half = width * float(np.sqrt(row @ self._fit.covariance @ row))
        n_pairs = sum(bool(pair.elements & known) for pair in self.pairs)
        return Estimate(mean, mean - half, mean + half, n_pairs)

    def _row(self, elements: Iterable[str]) -> NDArray[np.float64]:
        row = np.zeros(1 + len(self._columns))
        row[0] = 1.0
        for element in elements:
            if element in self._columns:
                row[self._columns[element]] = 1.0
        return row


class _Fit:
    """Posterior of the mean and of the deviations, for one pair of variances."""

    def __init__(
        self,
        design: NDArray[np.float64],
        savings: NDArray[np.float64],
        noise: float,
        spread: float,
    ) -> None:
        n, p = design.shape
        prior = np.full(p, spread**2)
        prior[0] = _MEAN_SPREAD**2
        precision = design.T @ design / noise**2 + np.diag(1 / prior)
        self.covariance = np.linalg.inv(precision)
        projected = design.T @ savings / noise**2
        self.mean = self.covariance @ projected
        misfit = savings @ savings / noise**2 - projected @ self.mean
        log_det = np.linalg.slogdet(precision)[1] + np.log(prior).sum()
        self.log_evidence = float(-0.5 * (misfit + log_det + 2 * n * np.log(noise)))
