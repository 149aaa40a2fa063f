"""Statistics of runs at fixed density, in the published terms, with their cost."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, Field

from mlcharge_flows.scf.nonscf import BAND_TOLERANCE, REFERENCE
from mlcharge_flows.scf.statistics import ENERGY_TOLERANCE, not_counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mlcharge_flows.scf.nonscf import NonSCFComparison, StateErrors
    from mlcharge_flows.scf.run import ScfRun


class StartSummary(BaseModel):
    """What one start gives without self-consistency.

    All medians, means and shares are over ``n_materials``: both runs finished, each provably at its
    density, and their states can be compared. Shares of band energies and of forces are means over
    materials, each of which counts the same. Fractions are fractions, never percentages.
    """

    n_attempted: int = Field(description="n_materials + n_failed + n_unpaired.")
    n_materials: int = Field(description="Materials that are compared.")
    n_failed: int = Field(description="Materials where the run at fixed density does not count.")
    n_unpaired: int = Field(description="Materials where only the self-consistent run does not.")
    failures: dict[str, int] = Field(
        default_factory=dict, description="Runs that do not count, by cause; sums to n_failed."
    )
    median_abs_dE: float | None = Field(None, description="Median |dE0|, meV/atom.")  # noqa: N815
    share_energy_within: float | None = Field(None, description="|dE0| below 1 meV/atom.")
    median_abs_dF: float | None = Field(None, description="Median |dF|, meV/atom.")  # noqa: N815
    n_gaps: int = Field(0, description="Materials with a direct gap in both runs, metals included.")
    n_metals: int = Field(0, description="Of them, metals in both runs: the gap is exact.")
    share_direct_gaps_within: float | None = Field(None, description="|d gap| within 43 meV.")
    share_bands_within: float | None = Field(None, description="Band energies within 43 meV.")
    share_bands_within_shifted: float | None = Field(
        None, description="The same after taking off each material's mean error."
    )
    median_abs_band_meV: float | None = Field(  # noqa: N815
        None, description="Median over materials of the mean error of band energies."
    )
    share_line_bands_within: float | None = Field(
        None, description="Band energies along lines of symmetry within 43 meV."
    )
    n_forces: int = Field(0, description="Materials with forces in both runs.")
    n_forces_vanish: int = Field(0, description="Of them, without forces in the reference.")
    share_forces_within: float | None = Field(None, description="Ions within 0.03 eV/angstrom.")
    median_n_total: float | None = Field(None, description="Median electronic steps.")
    median_n_total_reference: float | None = Field(None, description="The reference's.")
    wall_time: float | None = Field(None, description="Summed wall time, starts included, s.")
    wall_time_reference: float | None = Field(None, description="The reference's, s.")
    start_time: float | None = Field(None, description="Summed time to make the starts, s.")
    wall_ratio: float | None = Field(None, description="wall_time / wall_time_reference.")
    line_wall_ratio: float | None = Field(
        None,
        description="Of the bands: start and run along lines, over the self-consistent run and its "
        "run along lines.",
    )


class NonSCFSummary(BaseModel):
    """Statistics of runs at fixed density, start by start."""

    n_materials: int = Field(description="Materials, whatever became of them.")
    protocols: list[str] = Field(description="Hashes of the settings.")
    starts: dict[str, StartSummary] = Field(description="By name.")


def summarize_nonscf(comparisons: Iterable[NonSCFComparison]) -> NonSCFSummary:
    """Summarize every start over the materials where it and the reference count.

    Parameters
    ----------
    comparisons
        One per material.

    Examples
    --------
    >>> summarize_nonscf([]).n_materials
    0
    """
    campaign = list(comparisons)
    names = dict.fromkeys(n for c in campaign for n in c.arms if n != REFERENCE)
    return NonSCFSummary(
        n_materials=len(campaign),
        protocols=sorted({comparison.protocol for comparison in campaign}),
        starts={name: _summarize(campaign, name) for name in names},
    )


def failure(comparison: NonSCFComparison, arm: str) -> str | None:
    """Why a run does not count, as ``cause: details``; None if it does."""
    return not_counted(comparison.arms[arm]) or comparison.problems.get(arm)


def _summarize(campaign: Sequence[NonSCFComparison], name: str) -> StartSummary:
    tried = [comparison for comparison in campaign if name in comparison.arms]
    causes = [cause for comparison in tried if (cause := failure(comparison, name))]
    paired = [comparison for comparison in tried if name in comparison.errors]
    errors = [comparison.errors[name] for comparison in paired]
    runs = [comparison.arms[name] for comparison in paired]
    references = [comparison.arms[REFERENCE] for comparison in paired]
    dE, dF = _absolute(errors, "dE_meV_per_atom"), _absolute(errors, "dF_meV_per_atom")
    gaps = _absolute(errors, "direct_gap_error")
    wall, wall_reference = _walls(runs, references)
    line_ratio = [
        # The converged density is there: writing it again is no cost of the reference.
        (_wall(c.lines[name]), _sum(_wall(c.arms[REFERENCE]), c.lines[REFERENCE].wall_time))
        for c in paired
        if name in c.line_errors
    ]
    return StartSummary(
        n_attempted=len(tried),
        n_materials=len(paired),
        n_failed=len(causes),
        n_unpaired=len(tried) - len(causes) - len(paired),
        failures=dict(Counter(cause.partition(":")[0] for cause in causes).most_common()),
        median_abs_dE=_median(dE),
        share_energy_within=_mean(dE < ENERGY_TOLERANCE),
        median_abs_dF=_median(dF),
        n_gaps=len(gaps),
        n_metals=sum(e.direct_gap == 0 and e.direct_gap_reference == 0 for e in errors),
        share_direct_gaps_within=_mean(gaps <= BAND_TOLERANCE),
        share_bands_within=_mean(_absolute(errors, "share_bands_within")),
        share_bands_within_shifted=_mean(_absolute(errors, "share_bands_within_shifted")),
        median_abs_band_meV=_median(_absolute(errors, "mean_abs_band_meV")),
        share_line_bands_within=_mean(
            _absolute(
                [c.line_errors[name] for c in paired if name in c.line_errors],
                "share_bands_within",
            )
        ),
        n_forces=sum(e.share_forces_within is not None for e in errors),
        n_forces_vanish=sum(bool(e.forces_vanish) for e in errors),
        share_forces_within=_mean(_absolute(errors, "share_forces_within")),
        median_n_total=_median(np.array([run.n_total for run in runs], float)),
        median_n_total_reference=_median(np.array([run.n_total for run in references], float)),
        wall_time=wall,
        wall_time_reference=wall_reference,
        start_time=sum(run.start_time for run in runs) if runs else None,
        wall_ratio=wall / wall_reference if wall and wall_reference else None,
        line_wall_ratio=_ratio(line_ratio),
    )


def _absolute(errors: Sequence[StateErrors], name: str) -> np.ndarray:
    """Magnitudes of an error, of the materials that have it."""
    values = [getattr(error, name) for error in errors]
    return np.abs(np.array([value for value in values if value is not None], float))


def _wall(run: ScfRun) -> float | None:
    return None if run.wall_time is None else run.wall_time + run.start_time


def _walls(
    runs: Sequence[ScfRun], references: Sequence[ScfRun]
) -> tuple[float | None, float | None]:
    """Summed wall times of the materials where both runs tell theirs."""
    pairs = [(_wall(a), _wall(b)) for a, b in zip(runs, references, strict=True)]
    both = [(a, b) for a, b in pairs if a is not None and b is not None]
    return (sum(a for a, _ in both), sum(b for _, b in both)) if both else (None, None)


def _sum(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first + second


def _ratio(pairs: Sequence[tuple[float | None, float | None]]) -> float | None:
    both = [(a, b) for a, b in pairs if a is not None and b]
    return sum(a for a, _ in both) / sum(b for _, b in both) if both else None


def _mean(values: np.ndarray) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _median(values: np.ndarray) -> float | None:
    return float(np.median(values)) if len(values) else None
