"""Fit of the expected error to crystals outside of the training, and its reliability."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from mlcharge_flows.models.card import ExpectedErrorCard
from mlcharge_flows.models.expected_error import HIGH, ErrorRegression

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlcharge_flows.models.expected_error import ExpectedError

MIN_MATERIALS = 30
"""Crystals below which no expected error is fitted."""
N_FOLDS = 10
"""Parts of the crystals; each is predicted by a fit to the others."""
_DAMPINGS = np.logspace(-2, 4, 19)
"""Regularizations that are tried, relative to a feature of unit variance in one crystal."""
_LEAST_ERROR = 1e-4


@dataclass(frozen=True, eq=False)
class Reliability:
    """Errors of crystals beside those that were expected without them.

    Parameters
    ----------
    expected
        Distribution of each crystal.
    found
        Its error, shape (crystals,).
    """

    expected: Sequence[ExpectedError]
    found: np.ndarray

    @property
    def deviations(self) -> np.ndarray:
        """Logarithm of found over expected error, in spreads: normally distributed if reliable."""
        medians, spreads, found = self.columns
        return np.asarray(np.log(found / medians) / spreads)

    def coverage(self, probability: float) -> float:
        """Fraction of the crystals in the central interval of a probability.

        Parameters
        ----------
        probability
            Of the interval.

        Returns
        -------
        float
            Equal to `probability` if the spreads are reliable.
        """
        return float(np.mean(np.abs(self.deviations) < NormalDist().inv_cdf((1 + probability) / 2)))

    @property
    def correlation(self) -> float:
        """Correlation of the logarithms of expected and found errors."""
        medians = np.log([expected.median for expected in self.expected])
        if np.ptp(medians) == 0.0:
            return 0.0
        return float(np.corrcoef(medians, np.log(self.found))[0, 1])

    @property
    def fraction_above(self) -> float:
        """Fraction of the crystals with an error above their 90 % quantile."""
        return float(np.mean(np.array([one.high for one in self.expected]) < self.found))

    @property
    def columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Medians, spreads, and found errors, each of shape (crystals,)."""
        medians, spreads = np.array(self.expected).T
        return medians, spreads, self.found

    @property
    def summary(self) -> str:
        """The figures in one line."""
        return (
            f"{len(self.found)} crystals: correlation of the logarithms {self.correlation:.2f}; "
            f"{100 * self.coverage(0.5):.0f} % are in their 50 % intervals, "
            f"{100 * self.coverage(0.9):.0f} % in their 90 % intervals, "
            f"{100 * self.fraction_above:.0f} % above their {100 * HIGH:.0f} % quantiles"
        )

    @property
    def card(self) -> ExpectedErrorCard:
        """What a card tells of it."""
        return ExpectedErrorCard(
            materials=len(self.found),
            correlation=round(self.correlation, 3),
            coverage_50=round(self.coverage(0.5), 3),
            coverage_90=round(self.coverage(0.9), 3),
            above_high=round(self.fraction_above, 3),
            spread=round(float(np.median([e.spread for e in self.expected])), 3),
        )


def fit_regression(features: np.ndarray, errors: np.ndarray) -> ErrorRegression:
    """Fit the expected error; what damps the weights is chosen by leaving out crystals.

    Parameters
    ----------
    features
        Shape (crystals, features).
    errors
        Part of the superposition's error that is left in each crystal, shape (crystals,).

    Returns
    -------
    ErrorRegression
        With the largest likelihood of the crystals, each predicted by the others.
    """
    logs = np.log(np.maximum(errors, _LEAST_ERROR))
    center, deviation = features.mean(axis=0), features.std(axis=0)
    scale = np.where(deviation > 0.0, deviation, 1.0)
    z = (features - center) / scale
    fits = [_fitted(z, logs, damping) for damping in _DAMPINGS]
    _, weights, covariance, noise = min(fits, key=lambda fit: fit[0])
    n = len(logs)
    return ErrorRegression(center, scale, weights, covariance, float(logs.mean()), noise, n)


def _fitted(
    z: np.ndarray, logs: np.ndarray, damping: float
) -> tuple[float, np.ndarray, np.ndarray, float]:
    """Negative likelihood of left-out crystals, weights, covariance and noise of one damping."""
    covariance = np.linalg.inv(z.T @ z + damping * np.eye(z.shape[1]))
    weights = covariance @ z.T @ (logs - logs.mean())
    # A linear fit without one crystal differs from that with it by the diagonal of its hat matrix.
    hat = np.einsum("nf,fg,ng->n", z, covariance, z) + 1.0 / len(logs)
    residuals = (logs - logs.mean() - z @ weights) / (1.0 - hat)
    variances = 1.0 / (1.0 - hat)
    noise = max(sqrt(np.mean(residuals**2 / variances)), 1e-6)
    loss = np.mean(np.log(noise) + np.log(variances) / 2 + residuals**2 / variances / noise**2 / 2)
    return float(loss), weights, covariance, noise


def cross_validated(features: np.ndarray, errors: np.ndarray, seed: int = 0) -> Reliability:
    """Predict every crystal by a fit to others.

    Parameters
    ----------
    features
        Shape (crystals, features).
    errors
        Part of the superposition's error that is left in each crystal, shape (crystals,).
    seed
        Of the random parts.

    Returns
    -------
    Reliability
        Of all crystals.
    """
    n = len(errors)
    order = np.random.default_rng(seed).permutation(n)
    expected: list[ExpectedError | None] = [None] * n
    for fold in range(min(N_FOLDS, n)):
        left_out = order[fold::N_FOLDS]
        others = np.setdiff1d(order, left_out)
        regression = fit_regression(features[others], errors[others])
        for index in left_out.tolist():
            expected[index] = regression.predict(features[index])
    known = [one for one in expected if one is not None]
    return Reliability(known, np.maximum(errors, _LEAST_ERROR))
