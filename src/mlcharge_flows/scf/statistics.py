"""Paired statistics of a campaign; every fraction is a fraction, never a percentage."""

from __future__ import annotations

import re
from itertools import pairwise
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import AliasChoices, BaseModel, Field, model_validator

from mlcharge_flows.scf.averages import count_causes, mean, mean_interval, median
from mlcharge_flows.scf.comparison import (
    CEILING,
    CONTROL,
    REFERENCE,
    ceiling_of,
    ordered_arms,
    refuse_mixed,
)
from mlcharge_flows.scf.final_state import (
    ENERGY_TOLERANCE,
    MOMENT_TOLERANCE,
    OtherState,
    moment_difference,
    other_states,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from mlcharge_flows.scf.averages import FloatArray
    from mlcharge_flows.scf.comparison import Comparison
    from mlcharge_flows.scf.run import ScfRun

    Pair = tuple[ScfRun, ScfRun]

MAX_WALL_TIME_NOISE = 0.1
"""Largest noise of wall times that are reported: half of a saving of 20 %, for one material."""


class FractionsModel(BaseModel):
    """Statistics with fields ``fraction_..``; those of earlier files, ``share_..``, are read."""

    @model_validator(mode="before")
    @classmethod
    def _former_names(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {re.sub("^share_", "fraction_", name): value for name, value in values.items()}


class ArmSummary(FractionsModel):
    """Statistics of one arm, paired with the reference.

    All medians, means and fractions are over the same ``n_materials`` materials: those where both
    the arm and the reference count. A run counts if it finished, converged, and is verified to have
    started from the density of its arm; every other run of the arm is in ``failures``. A quantity
    is None where no material has it.
    """

    n_attempted: int = Field(
        description="Materials with a run of this arm: n_materials + n_failed + n_unpaired."
    )
    n_materials: int = Field(description="Materials where the arm and the reference both count.")
    n_failed: int = Field(description="Materials where the arm's own run does not count.")
    n_unpaired: int = Field(description="Materials where only the reference's run does not count.")
    n_fell_back: int = Field(
        description="Runs that were given a CHGCAR and started from atoms; part of n_failed."
    )
    failures: dict[str, int] = Field(
        default_factory=dict, description="Runs that do not count, by cause; sums to n_failed."
    )
    augmentation_sources: list[str] = Field(
        default_factory=list,
        description="Sources of the augmentation occupancies of the initial densities.",
        validation_alias=AliasChoices("augmentation_sources", "occupancies"),
    )

    orbital_sources: list[str] = Field(
        default_factory=list,
        description="Sources of the initial orbitals: atomic, ..; none if they are random.",
    )
    delays: list[int] = Field(
        default_factory=list,
        description="Steps at fixed density at the beginning (NELMDL) of the runs that count; of "
        "all runs if none counts.",
    )

    median_n_total: float | None = Field(None, description="Median electronic steps.")
    median_n_total_reference: float | None = Field(
        None, description="The reference's median over the same materials."
    )
    ratio_of_medians: float | None = Field(
        None,
        description="1 - median(arm) / median(reference): the *reduction* of the median, which is "
        "the published definition (15 -> 11 is 0.267).",
    )
    mean_reduction: float | None = Field(
        None, description="Mean over materials of 1 - n_total(arm) / n_total(reference)."
    )
    mean_reduction_ci95: tuple[float, float] | None = Field(
        None,
        description="95 % percentile bootstrap interval of mean_reduction, resampling materials; "
        "None below two materials.",
    )
    fraction_faster: float | None = Field(None, description="Materials with fewer steps.")
    fraction_equal: float | None = Field(None, description="Materials with equally many steps.")
    fraction_slower: float | None = Field(None, description="Materials with more steps.")
    fraction_of_ceiling: float | None = Field(
        None,
        description="mean_reduction of the arm over that of the converged density with the same "
        "orbitals and delay, both over the materials where arm, reference and ceiling count.",
    )

    median_n_scf: float | None = Field(
        None, description="Median steps after the fixed-density ones."
    )
    median_n_scf_reference: float | None = Field(
        None, description="The reference's, over the same materials."
    )
    median_first_residual: float | None = Field(
        None, description="Median first rms(c): residual of the initial density."
    )
    median_first_residual_reference: float | None = Field(
        None, description="The reference's, over the same materials."
    )

    median_wall_saving: float | None = Field(
        None,
        description="Median of 1 - wall(arm) / wall(reference), each with the time to prepare its "
        "initial density.",
    )
    total_wall_saving: float | None = Field(
        None, description="The same for the summed wall times of all materials."
    )
    median_cpu_saving: float | None = Field(
        None, description="As median_wall_saving, for processor times."
    )
    total_preparation_time: float | None = Field(
        None,
        description="Summed time to prepare the initial densities of the arm, s.",
        validation_alias=AliasChoices("total_preparation_time", "total_start_time"),
    )
    total_loading_time: float | None = Field(
        None,
        description="Summed time to load libraries and models, once per process, s; in no saving.",
    )

    max_abs_dE_meV_per_atom: float | None = Field(  # noqa: N815 - name of the JSON field
        None, description="Largest |E(arm) - E(reference)|, meV per atom."
    )
    fraction_energy_agrees: float | None = Field(
        None, description="Materials with |dE| < 1 meV/atom, of those where both have an energy."
    )
    fraction_energy_lower: float | None = Field(
        None, description="Materials with a dE of -1 meV/atom or below."
    )
    fraction_energy_higher: float | None = Field(
        None, description="Materials with a dE of 1 meV/atom or above."
    )
    n_spin_polarized: int | None = Field(
        None,
        description="Materials where the final moments of the arm and the reference are known.",
    )
    n_moments_agree: int | None = Field(
        None,
        description="Of these, materials whose moments differ by less than 0.1 Bohr magnetons: "
        "those of the ions if both runs have them, else the total. All moments reversed are the "
        "same state.",
    )
    other_states: list[OtherState] = Field(
        default_factory=list,
        description="Materials that ended in another state than the reference: by energy or by "
        "moments.",
    )


class Summary(BaseModel):
    """Statistics of a campaign, arm by arm."""

    reference: str = Field(description="Arm that all others are paired with.")
    ceiling: str = Field(description="Arm whose initial density is the converged one.")
    n_materials: int = Field(description="Materials in the campaign, whatever became of them.")
    protocols: list[str] = Field(
        description="Hash of the settings; several only in summaries of version 0.1."
    )
    wall_time_noise: float | None = Field(
        None,
        description="Median over materials of |1 - t(control) / t(default)|, t the wall time per "
        "electronic step: both arms do the same work. None without a control arm.",
    )
    arms: dict[str, ArmSummary] = Field(description="By name, the reference first.")

    @property
    def wall_time_issue(self) -> str | None:
        """Why the wall times of this campaign mean nothing; None if the machine was quiet."""
        if self.wall_time_noise is None and CONTROL in self.arms:
            arms = (self.arms[name] for name in (REFERENCE, CONTROL) if name in self.arms)
            causes = list(dict.fromkeys(cause for arm in arms for cause in arm.failures))
            why = f": {', '.join(causes)}" if causes else ""
            return (
                f"no material counts in both {REFERENCE!r} and the control arm {CONTROL!r}, which "
                f"measures the noise of the machine{why}"
            )
        if self.wall_time_noise is None:
            return f"there is no {CONTROL!r} arm to measure the noise of the machine"
        if self.wall_time_noise > MAX_WALL_TIME_NOISE:
            return (
                f"a step of the control arm {CONTROL!r} and one of {REFERENCE!r}, the same work, "
                f"differ by {100 * self.wall_time_noise:.0f} % (median); above "
                f"{100 * MAX_WALL_TIME_NOISE:.0f} % the machine was busy"
            )
        return None


def summarize(comparisons: Iterable[Comparison], reference: str = REFERENCE) -> Summary:
    """Compare every arm with the reference, over the materials where both count.

    Parameters
    ----------
    comparisons
        One per material; order does not matter.
    reference
        Arm to compare with.

    Returns
    -------
    Summary
        One entry per arm, the reference first and the ceiling last.

    Raises
    ------
    MixedResultsError
        The materials were run with different settings, checkpoints, executables or PAW data sets.
    ValueError
        A material appears twice: its weight in every mean would be doubled.

    References
    ----------
    The published saving of 26.7 % is the reduction of the median, 15 -> 11 steps: T. Koker,
    K. Quigley, E. Taw, K. Tibbetts, L. Li, npj Comput. Mater. 10, 161 (2024).

    Examples
    --------
    >>> from mlcharge_flows.scf.comparison import Comparison
    >>> from mlcharge_flows.scf.run import ScfRun
    >>> def run(n, **given):
    ...     return ScfRun(folder="", n_total=n, **given)
    >>> read = {"started_from": "chgcar", "echoed_comment": "ml", "expected_comment": "ml"}
    >>> campaign = [
    ...     Comparison(
    ...         material_id=str(n), formula="Si", n_atoms=2, protocol="pbe",
    ...         arms={"default": run(n, started_from="atoms"), "learned": run(n - 4, **read)},
    ...     )
    ...     for n in (14, 15, 16)
    ... ]
    >>> learned = summarize(campaign).arms["learned"]
    >>> round(learned.ratio_of_medians, 3), round(learned.mean_reduction, 3)
    (0.267, 0.267)
    >>> learned.fraction_faster
    1.0
    """
    campaign = sorted(comparisons, key=lambda comparison: comparison.material_id)
    for first, second in pairwise(campaign):
        if first.material_id == second.material_id:
            raise ValueError(f"material {first.material_id} appears twice")
    refuse_mixed(campaign)
    names = {name for comparison in campaign for name in comparison.arms}
    return Summary(
        reference=reference,
        ceiling=CEILING,
        n_materials=len(campaign),
        protocols=sorted({comparison.protocol for comparison in campaign}),
        wall_time_noise=_wall_time_noise(campaign),
        arms={
            name: _summarize_arm(campaign, name, reference)
            for name in ordered_arms(names, reference)
        },
    )


def _summarize_arm(campaign: Sequence[Comparison], arm: str, reference: str) -> ArmSummary:
    runs = [comparison.arms[arm] for comparison in campaign if arm in comparison.arms]
    causes = [cause for run in runs if (cause := run.exclusion_reason)]
    counted = [run for run in runs if run.exclusion_reason is None]
    paired = _paired(campaign, arm, reference)
    pairs = [(c.arms[arm], c.arms[reference]) for c in paired]
    reductions = _reductions(pairs)
    differences = [c.energy_difference(arm, reference) for c in paired]
    dE = np.array([d for d in differences if d is not None], float)
    moments = [d for run, base in pairs if (d := moment_difference(run, base)) is not None]
    steps, residuals, n_scf, walls, cpu_times = (
        _values(pairs, attrgetter(name))
        for name in ("n_total", "first_residual", "n_scf", "total_time", "total_cpu_time")
    )
    median_steps, median_reference = median(steps[:, 0]), median(steps[:, 1])
    return ArmSummary(
        n_attempted=len(runs),
        n_materials=len(pairs),
        n_failed=len(causes),
        n_unpaired=len(runs) - len(causes) - len(pairs),
        n_fell_back=sum(run.fell_back for run in runs),
        failures=count_causes(causes),
        augmentation_sources=sorted(
            {run.augmentation_source for run in runs if run.augmentation_source}
        ),
        orbital_sources=sorted({run.orbitals_source for run in runs if run.orbitals_source}),
        delays=sorted({run.n_delay for run in counted or runs if run.n_delay is not None}),
        median_n_total=median_steps,
        median_n_total_reference=median_reference,
        ratio_of_medians=(
            1 - median_steps / median_reference if median_steps and median_reference else None
        ),
        mean_reduction=mean(reductions),
        mean_reduction_ci95=mean_interval(reductions),
        fraction_faster=mean(reductions > 0),
        fraction_equal=mean(reductions == 0),
        fraction_slower=mean(reductions < 0),
        fraction_of_ceiling=_fraction_of_ceiling(paired, arm, reference),
        median_n_scf=median(n_scf[:, 0]),
        median_n_scf_reference=median(n_scf[:, 1]),
        median_first_residual=median(residuals[:, 0]),
        median_first_residual_reference=median(residuals[:, 1]),
        median_wall_saving=median(1 - walls[:, 0] / walls[:, 1]),
        total_wall_saving=(
            float(1 - walls[:, 0].sum() / walls[:, 1].sum()) if walls.size else None
        ),
        median_cpu_saving=median(1 - cpu_times[:, 0] / cpu_times[:, 1]),
        total_preparation_time=sum(run.preparation_time for run, _ in pairs) if pairs else None,
        total_loading_time=sum(run.loading_time or 0.0 for run, _ in pairs) or None,
        max_abs_dE_meV_per_atom=max(np.abs(dE).tolist(), default=None),
        fraction_energy_agrees=mean(np.abs(dE) < ENERGY_TOLERANCE),
        fraction_energy_lower=mean(dE <= -ENERGY_TOLERANCE),
        fraction_energy_higher=mean(dE >= ENERGY_TOLERANCE),
        n_spin_polarized=len(moments) or None,
        n_moments_agree=sum(d < MOMENT_TOLERANCE for d in moments) if moments else None,
        other_states=other_states(paired, arm, reference),
    )


def _paired(campaign: Iterable[Comparison], arm: str, reference: str) -> list[Comparison]:
    """Materials where both arms have a run that counts."""
    return [
        comparison
        for comparison in campaign
        if all(
            name in comparison.arms and comparison.arms[name].exclusion_reason is None
            for name in (arm, reference)
        )
    ]


def _values(pairs: Iterable[Pair], value: Callable[[ScfRun], float | None]) -> FloatArray:
    """Value of arm and reference, shape (n, 2), of the pairs where both have it."""
    both = [(value(run), value(base)) for run, base in pairs]
    return np.array([pair for pair in both if None not in pair], float).reshape(-1, 2)


def _reductions(pairs: Iterable[Pair]) -> FloatArray:
    steps = _values(pairs, attrgetter("n_total"))
    return 1 - steps[:, 0] / steps[:, 1]


def _fraction_of_ceiling(paired: Sequence[Comparison], arm: str, reference: str) -> float | None:
    """Both means are over the same materials, so that an easy subset cannot flatter the arm."""
    name = ceiling_of(arm)
    shared = _paired(paired, name, reference)
    reached = mean(_reductions((c.arms[arm], c.arms[reference]) for c in shared))
    ceiling = mean(_reductions((c.arms[name], c.arms[reference]) for c in shared))
    if reached is None or ceiling is None or ceiling <= 0:
        return None  # nothing to be reached: the fraction has no meaning
    return reached / ceiling


def _wall_time_noise(campaign: Iterable[Comparison]) -> float | None:
    pairs = [(c.arms[CONTROL], c.arms[REFERENCE]) for c in _paired(campaign, CONTROL, REFERENCE)]
    times = _values(
        pairs, lambda run: run.wall_time / run.n_total if run.wall_time and run.n_total else None
    )
    return median(np.abs(1 - times[:, 0] / times[:, 1]))
