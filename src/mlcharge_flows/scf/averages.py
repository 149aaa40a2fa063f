"""Averages over materials, of which there may be none, and counts of reasons."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import bootstrap

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]


def mean_interval(values: FloatArray, confidence: float = 0.95) -> tuple[float, float] | None:
    """Percentile bootstrap interval of the mean, the same for the same values.

    Parameters
    ----------
    values
        One per material, shape (n,). Pairing is kept: each already holds both of its runs.
    confidence
        Nominal coverage.

    Returns
    -------
    tuple of float or None
        None below two values, of which nothing about the spread can be known.

    References
    ----------
    B. Efron, R. J. Tibshirani, An Introduction to the Bootstrap (1993), section 13.3.

    Examples
    --------
    >>> mean_interval(np.array([0.25, 0.25, 0.25]))
    (0.25, 0.25)
    """
    if len(values) < 2:
        return None
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    found = bootstrap(
        (np.sort(values),),
        np.mean,
        confidence_level=confidence,
        method="percentile",
        batch=500,  # keeps the resamples of a large campaign out of memory
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(found.low), float(found.high)


def mean(values: FloatArray | NDArray[np.bool_]) -> float | None:
    """Mean of values that may be none.

    Parameters
    ----------
    values
        Shape (n,).

    Returns
    -------
    float or None
        None for n = 0.
    """
    return float(np.mean(values)) if len(values) else None


def median(values: FloatArray) -> float | None:
    """Median of values that may be none.

    Parameters
    ----------
    values
        Shape (n,).

    Returns
    -------
    float or None
        None for n = 0.
    """
    return float(np.median(values)) if len(values) else None


def count_causes(reasons: Iterable[str]) -> dict[str, int]:
    """Count reasons, written as ``cause: details``, by their cause.

    Parameters
    ----------
    reasons
        One per run.

    Returns
    -------
    dict
        Number of runs by cause, the most frequent first.

    Examples
    --------
    >>> count_causes(["fell back to atoms: a warning", "stopped: why", "stopped: why not"])
    {'stopped': 2, 'fell back to atoms': 1}
    """
    return dict(Counter(reason.partition(":")[0] for reason in reasons).most_common())
