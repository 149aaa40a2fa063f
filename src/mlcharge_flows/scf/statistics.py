"""Paired statistics of a campaign: no single number, and every run accounted for."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import bootstrap

from mlcharge_flows.scf.summary import ArmSummary, Summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from mlcharge_flows.scf.comparison import Comparison
    from mlcharge_flows.scf.run import ScfRun

    Pair = tuple[ScfRun, ScfRun]

ENERGY_TOLERANCE = 1.0
"""Largest difference of two equal energies, meV per atom."""

CEILING = "converged"
"""Name of the arm that starts from the converged density."""


def summarize(comparisons: Iterable[Comparison], reference: str = "default") -> Summary:
    """Compare every arm with the reference, over the materials where both count.

    Parameters
    ----------
    comparisons
        One per material; order does not matter.
    reference
        Arm to compare with.

    Raises
    ------
    ValueError
        A material appears twice: its weight in every mean would be doubled.

    Examples
    --------
    The published saving of 26.7 % is the reduction of the median, 15 -> 11 steps:

    >>> from mlcharge_flows.scf.comparison import Comparison
    >>> from mlcharge_flows.scf.run import ScfRun
    >>> def run(n, **given):
    ...     return ScfRun(folder="", n_total=n, **given)
    >>> read = {"started_from": "chgcar", "start_comment": "ml", "expected_comment": "ml"}
    >>> campaign = [
    ...     Comparison(
    ...         material=str(n), formula="Si", n_atoms=2, protocol="pbe",
    ...         arms={"default": run(n, started_from="atoms"), "learned": run(n - 4, **read)},
    ...     )
    ...     for n in (14, 15, 16)
    ... ]
    >>> learned = summarize(campaign).arms["learned"]
    >>> round(learned.ratio_of_medians, 3), round(learned.mean_reduction, 3), learned.share_faster
    (0.267, 0.267, 1.0)
    """
    campaign = sorted(comparisons, key=lambda comparison: comparison.material)
    for first, second in pairwise(campaign):
        if first.material == second.material:
            raise ValueError(f"material {first.material} appears twice")
    names = {name for comparison in campaign for name in comparison.arms}
    return Summary(
        reference=reference,
        ceiling=CEILING,
        n_materials=len(campaign),
        protocols=sorted({comparison.protocol for comparison in campaign}),
        arms={
            name: _summarize_arm(campaign, name, reference) for name in ordered(names, reference)
        },
    )


def ordered(arms: Iterable[str], reference: str) -> list[str]:
    """Put the reference first and the ceiling last.

    Examples
    --------
    >>> ordered(["converged", "learned", "default", "superposition"], "default")
    ['default', 'learned', 'superposition', 'converged']
    """
    return sorted(arms, key=lambda name: (name != reference, name == CEILING, name))


def _summarize_arm(campaign: Sequence[Comparison], arm: str, reference: str) -> ArmSummary:
    runs = [comparison.arms[arm] for comparison in campaign if arm in comparison.arms]
    causes = [cause for run in runs if (cause := not_counted(run))]
    paired = [c for c in campaign if _counts(c, arm) and _counts(c, reference)]
    pairs = [(c.arms[arm], c.arms[reference]) for c in paired]
    reductions = _reductions(pairs)
    dE = [abs(d) for c in paired if (d := energy_difference(c, arm, reference)) is not None]
    steps, steps_reference = _medians(pairs, lambda run: run.n_total)
    n_scf, n_scf_reference = _medians(pairs, lambda run: run.n_scf)
    residual, residual_reference = _medians(pairs, lambda run: run.first_residual)
    walls = np.array([w for pair in pairs if None not in (w := tuple(map(_wall, pair)))], float)
    return ArmSummary(
        n_attempted=len(runs),
        n_materials=len(pairs),
        n_failed=len(causes),
        n_unpaired=len(runs) - len(causes) - len(pairs),
        n_fell_back=sum(run.fell_back for run in runs),
        failures=dict(Counter(cause.partition(":")[0] for cause in causes).most_common()),
        occupancies=sorted({run.occupancies for run in runs if run.occupancies}),
        median_n_total=steps,
        median_n_total_reference=steps_reference,
        ratio_of_medians=1 - steps / steps_reference if steps and steps_reference else None,
        mean_reduction=_mean(reductions),
        mean_reduction_ci95=interval(reductions),
        share_faster=_mean(reductions > 0),
        share_equal=_mean(reductions == 0),
        share_slower=_mean(reductions < 0),
        share_of_ceiling=_share_of_ceiling(paired, arm, reference),
        median_n_scf=n_scf,
        median_n_scf_reference=n_scf_reference,
        median_first_residual=residual,
        median_first_residual_reference=residual_reference,
        median_wall_saving=_median(1 - walls[:, 0] / walls[:, 1]) if walls.size else None,
        total_wall_saving=float(1 - walls[:, 0].sum() / walls[:, 1].sum()) if walls.size else None,
        total_start_time=sum(run.start_time for run, _ in pairs) if pairs else None,
        max_abs_dE_meV_per_atom=max(dE, default=None),
        share_energy_agrees=_mean(np.array(dE) < ENERGY_TOLERANCE),
    )


def not_counted(run: ScfRun) -> str | None:
    """Why a run does not enter its arm's statistics, as ``cause: details``; None if it does."""
    return run.excluded or (None if run.n_total else "no electronic step")


def energy_difference(comparison: Comparison, arm: str, reference: str) -> float | None:
    """E(arm) - E(reference) of one material in meV per atom; None if either has no energy."""
    runs = comparison.arms.get(arm), comparison.arms.get(reference)
    energies = [run.energy for run in runs if run is not None and run.energy is not None]
    if len(energies) < 2:
        return None
    return 1000 * (energies[0] - energies[1]) / comparison.n_atoms


def interval(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float] | None:
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

    Examples
    --------
    >>> interval(np.array([0.25, 0.25, 0.25]))
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


def _counts(comparison: Comparison, arm: str) -> bool:
    return arm in comparison.arms and not_counted(comparison.arms[arm]) is None


def _reductions(pairs: Sequence[Pair]) -> np.ndarray:
    steps = np.array([(run.n_total, ref.n_total) for run, ref in pairs], float).reshape(-1, 2)
    return 1 - steps[:, 0] / steps[:, 1]


def _share_of_ceiling(paired: Sequence[Comparison], arm: str, reference: str) -> float | None:
    """Both means are over the same materials, so that an easy subset cannot flatter the arm."""
    shared = [c for c in paired if _counts(c, CEILING)]
    reached = _mean(_reductions([(c.arms[arm], c.arms[reference]) for c in shared]))
    ceiling = _mean(_reductions([(c.arms[CEILING], c.arms[reference]) for c in shared]))
    if reached is None or ceiling is None or ceiling <= 0:
        return None  # nothing to be reached: the share has no meaning
    return reached / ceiling


def _medians(
    pairs: Sequence[Pair], value: Callable[[ScfRun], float | None]
) -> tuple[float | None, float | None]:
    """Medians of arm and reference over the pairs where both have the value."""
    values = np.array([v for pair in pairs if None not in (v := tuple(map(value, pair)))], float)
    return (_median(values[:, 0]), _median(values[:, 1])) if values.size else (None, None)


def _wall(run: ScfRun) -> float | None:
    return run.wall_time + run.start_time if run.wall_time else None


def _mean(values: np.ndarray) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _median(values: np.ndarray) -> float:
    return float(np.median(values))
