r"""Error that a prediction is expected to leave, from a linear regression on a few features.

The logarithm of the error of a crystal with the standardized features z is normally distributed.
Its mean is :math:`a + w \cdot z`, its variance :math:`\sigma^2 (1 + 1/n + z^t C z)` with C the
inverse of :math:`Z^t Z + \lambda`: the posterior of Bayesian ridge regression. The spread
therefore grows where there were no crystals to fit.

References
----------
C. M. Bishop, Pattern Recognition and Machine Learning, section 3.3 (Springer, 2006).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log, sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

HIGH = 0.9
"""Probability of the quantile that is compared with the limit of a card: of hundred crystals with
this quantile at the limit, ten leave more."""
MAX_EXPECTED_ERROR = 1.0
"""Limit of a card that names no other: the error of the superposition itself."""


class ExpectedError(NamedTuple):
    """Distribution of the part of the superposition's error that a prediction leaves.

    Parameters
    ----------
    median
        Of the larger of the parts in the density and in the occupancies; 1 is the error of the
        superposition itself.
    spread
        Standard deviation of its natural logarithm.

    Examples
    --------
    >>> expected = ExpectedError(median=0.1, spread=0.5)
    >>> round(expected.quantile(0.9), 3), round(expected.probability_above(0.1), 3)
    (0.19, 0.5)
    """

    median: float
    spread: float

    def quantile(self, probability: float) -> float:
        """Error that is not exceeded with a probability.

        Parameters
        ----------
        probability
            Between 0 and 1.

        Returns
        -------
        float
            Part of the superposition's error.
        """
        return self.median * exp(self.spread * NormalDist().inv_cdf(probability))

    def probability_above(self, error: float) -> float:
        """Probability of a larger error.

        Parameters
        ----------
        error
            Part of the superposition's error.

        Returns
        -------
        float
            Between 0 and 1.
        """
        return 1.0 - NormalDist().cdf(log(error / self.median) / self.spread)

    @property
    def high(self) -> float:
        """The 90 % quantile."""
        return self.quantile(HIGH)


@dataclass(frozen=True, eq=False)
class ErrorRegression:
    """Regression of the logarithm of the error.

    Parameters
    ----------
    center, scale
        Mean and standard deviation of each feature over the crystals of the fit, shape (features,).
    weights
        Of the standardized features, shape (features,).
    covariance
        Inverse of their regularized second moments, shape (features, features).
    intercept
        Mean of the logarithms.
    noise
        Standard deviation of what the features do not explain.
    n_materials
        Crystals of the fit.
    """

    center: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    covariance: np.ndarray
    intercept: float
    noise: float
    n_materials: int

    def predict(self, features: np.ndarray) -> ExpectedError:
        """Distribution of the error of a crystal.

        Parameters
        ----------
        features
            Shape (features,).

        Returns
        -------
        ExpectedError
            Median and spread.
        """
        z = (features - self.center) / self.scale
        variance = 1.0 + 1.0 / self.n_materials + float(z @ self.covariance @ z)
        return ExpectedError(
            exp(self.intercept + float(self.weights @ z)), self.noise * sqrt(variance)
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """All numbers, for a file.

        Returns
        -------
        dict of str to numpy.ndarray
            By name of the parameter.
        """
        return {name: np.asarray(value, dtype=float) for name, value in vars(self).items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """Make the regression of a file.

        Parameters
        ----------
        arrays
            As :meth:`arrays` gives them; others are ignored.

        Returns
        -------
        ErrorRegression
            The same.

        Raises
        ------
        KeyError
            A number is missing.
        """
        return cls(
            arrays["center"],
            arrays["scale"],
            arrays["weights"],
            arrays["covariance"],
            float(arrays["intercept"]),
            float(arrays["noise"]),
            int(arrays["n_materials"]),
        )
