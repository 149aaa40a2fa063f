"""Sizes of moments in finished runs, and when they stand in place of those of MAGMOM.

They do where

- runs of the same elements, or of enough other sets of elements, tell them;
- their standard deviation is at most a quarter of the mean, or 0.2 Bohr magnetons;
- MAGMOM does not ask for another state: its size is one with which ions of the element began in the
  runs, whose final moments are what it leads to; or it is not below the mean by more than one Bohr
  magneton (a lower spin state), nor above three times the mean plus one (a higher one).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MIN_SYSTEMS = 3
"""Sets of elements whose runs tell the size of the moments in a crystal of other elements."""
MAX_RELATIVE_SPREAD = 0.25
"""Largest standard deviation of the sizes of moments, over their mean."""
MAX_SPREAD = 0.2
"""Standard deviation that is small whatever the mean is, Bohr magnetons."""
LOWER_STATE = 1.0
"""MAGMOM below the mean by more than this asks for a lower spin state, Bohr magnetons."""
HIGHER_STATE = 3.0
"""MAGMOM above this multiple of the mean, plus :data:`LOWER_STATE`, asks for a higher state."""
MAGMOM_TOLERANCE = 0.05
"""MAGMOM beyond those of the runs by at most this is one of them, Bohr magnetons."""


class Moments(BaseModel):
    """Sizes of the moments of an element in runs of the same elements, in Bohr magnetons."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    elements: tuple[str, ...] = Field(description="Elements of the runs; empty: of any.")
    n_runs: int = Field(ge=1, description="Number of runs.")
    n_systems: int = Field(1, ge=1, description="Number of sets of elements among them.")
    mean: float = Field(ge=0, description="Mean over the runs of the mean over ions.")
    spread: float = Field(ge=0, description="Standard deviation.")

    @classmethod
    def joined(cls, parts: Sequence[Moments]) -> Moments:
        """Moments of several groups of runs together.

        Parameters
        ----------
        parts
            At least one group.

        Returns
        -------
        Moments
            Of all runs.

        Examples
        --------
        >>> one, other = (Moments(elements=(), n_runs=1, mean=m, spread=0.0) for m in (1.0, 3.0))
        >>> Moments.joined([one, other])
        Moments(elements=(), n_runs=2, n_systems=2, mean=2.0, spread=1.0)
        """
        weights = np.array([part.n_runs for part in parts])
        mean = np.average([part.mean for part in parts], weights=weights)
        square = np.average([part.mean**2 + part.spread**2 for part in parts], weights=weights)
        return cls(
            elements=parts[0].elements if len({part.elements for part in parts}) == 1 else (),
            n_runs=int(weights.sum()),
            n_systems=sum(part.n_systems for part in parts),
            mean=float(mean),
            spread=float(max(square - mean**2, 0.0)) ** 0.5,
        )


def size_issue(
    given: float,
    moments: Moments,
    elements: Iterable[str],
    magmom_range: tuple[float, float] | None = None,
) -> str | None:
    """Why the size of a moment is that of MAGMOM.

    Parameters
    ----------
    given
        Moment in MAGMOM, Bohr magnetons.
    moments
        Of the runs that are most like the crystal.
    elements
        Elements of the crystal.
    magmom_range
        Smallest and largest size of MAGMOM with which the ions of the runs began, Bohr magnetons;
        None if it is not known. Within it, MAGMOM asks for no other state.

    Returns
    -------
    str or None
        None if it is the mean of the runs.

    Examples
    --------
    >>> iron = Moments(elements=("Fe",), n_runs=3, mean=2.3, spread=0.2)
    >>> size_issue(5.0, iron, ["Fe"]), size_issue(-2.0, iron, ["Fe"])
    (None, None)
    >>> size_issue(0.6, iron, ["Fe"])
    'MAGMOM asks for a lower spin state than that of the runs (2.3)'
    >>> size_issue(0.6, iron, ["Fe"], magmom_range=(0.6, 5.0)) is None
    True
    """
    mean, spread = moments.mean, moments.spread
    if moments.n_systems < MIN_SYSTEMS and set(moments.elements) != set(elements):
        return "there are too few runs of similar crystals"
    if spread > max(MAX_SPREAD, MAX_RELATIVE_SPREAD * mean):
        return f"those of the runs differ ({mean:.1f} with spread {spread:.1f})"
    low, high = magmom_range or (np.inf, -np.inf)
    if low - MAGMOM_TOLERANCE <= abs(given) <= high + MAGMOM_TOLERANCE:
        return None
    if abs(given) < mean - LOWER_STATE:
        return f"MAGMOM asks for a lower spin state than that of the runs ({mean:.1f})"
    if abs(given) > HIGHER_STATE * mean + LOWER_STATE:
        return f"MAGMOM asks for a higher spin state than that of the runs ({mean:.1f})"
    return None
