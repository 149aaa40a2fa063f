"""Columns of the statistics of an arm, in every report of a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlcharge_flows.reports.table import (
    NOTHING,
    Column,
    interval,
    number,
    percent,
    small,
    steps,
)

if TYPE_CHECKING:
    from mlcharge_flows.scf.statistics import ArmSummary, Summary

WALL_TIME = "wall time saved"
"""Head of the column that stands only where the control arm shows a quiet machine."""

ENERGIES = "same / lower / higher energy"
"""Head of the column of final energies."""

MOMENTS = "same moments"
"""Head of the column that is left out where no run is spin-polarized."""


def _steps_of(arm: ArmSummary) -> str:
    if not arm.n_materials:
        return NOTHING
    return f"{steps(arm.median_n_total_reference)} → {steps(arm.median_n_total)}"


def _fractions(*fractions: float | None) -> str:
    if None in fractions:
        return NOTHING
    return " / ".join(percent(fraction, 0).removesuffix(" %") for fraction in fractions) + " %"


def _same_moments(arm: ArmSummary) -> str:
    if not arm.n_spin_polarized:
        return NOTHING
    return f"{arm.n_moments_agree} of {arm.n_spin_polarized}"


COLUMNS: tuple[Column[ArmSummary], ...] = (
    Column(
        "counted",
        "materials where this arm and the reference both count, of those attempted",
        lambda arm: f"{arm.n_materials} of {arm.n_attempted}",
    ),
    Column(
        "occupancies",
        "source of the augmentation occupancies of the initial densities",
        lambda arm: ", ".join(arm.augmentation_sources) or NOTHING,
    ),
    Column(
        "orbitals, delay",
        "source of the initial orbitals, and steps at fixed density at the beginning (NELMDL)",
        lambda arm: ", ".join([*(arm.orbital_sources or ["random"]), *map(str, arm.delays)]),
    ),
    Column(
        "median steps",
        "median n_total of the reference and of this arm, over the same materials",
        _steps_of,
    ),
    Column(
        "ratio of medians",
        "reduction of the median, 1 − median(arm) / median(reference): the published definition",
        lambda arm: percent(arm.ratio_of_medians),
    ),
    Column(
        "mean reduction",
        "mean over materials of 1 − n_total(arm) / n_total(reference)",
        lambda arm: percent(arm.mean_reduction),
    ),
    Column(
        "95 % interval",
        "paired bootstrap interval of the mean reduction",
        lambda arm: interval(arm.mean_reduction_ci95),
    ),
    Column(
        "faster / equal / slower",
        "fractions of materials with fewer, equally many and more steps",
        lambda arm: _fractions(arm.fraction_faster, arm.fraction_equal, arm.fraction_slower),
    ),
    Column(
        "of ceiling",
        "mean reduction over that of the converged density with the same orbitals and delay, on "
        "the materials that have both",
        lambda arm: percent(arm.fraction_of_ceiling, 0),
    ),
    Column(
        "first rms(c)",
        "median residual of the initial density: the first rms(c) in OSZICAR, a norm over density "
        "and occupancies that has no unit",
        lambda arm: small(arm.median_first_residual),
    ),
    Column(
        WALL_TIME,
        "median over materials, the preparation of the initial density included, but not the "
        "loading of the model, once per process; shown only if the control arm (the reference's "
        "density, read from a CHGCAR) finds the machine quiet",
        lambda arm: percent(arm.median_wall_saving),
    ),
    Column(
        "CPU time saved",
        "the same for processor times, which other work on the machine changes little: of the "
        "first process of a run with several, and of all threads that prepare a density",
        lambda arm: percent(arm.median_cpu_saving),
    ),
    Column(
        "max |dE|, meV/atom",
        "largest energy difference to the reference",
        lambda arm: number(arm.max_abs_dE_meV_per_atom, 3),
    ),
    Column(
        ENERGIES,
        "fractions of materials whose final energy is that of the reference within 1 meV/atom, "
        "lower, and higher; to be compared with the control arm, which begins from the "
        "reference's own density",
        lambda arm: _fractions(
            arm.fraction_energy_agrees, arm.fraction_energy_lower, arm.fraction_energy_higher
        ),
    ),
    Column(
        MOMENTS,
        "materials whose final moments are those of the reference within 0.1 Bohr magnetons, of "
        "the spin-polarized ones: moments of the ions if OUTCAR has them (LORBIT = 11), else that "
        "of the cell; all moments reversed are the same state; to be compared with the control arm",
        _same_moments,
    ),
)
"""Columns of the summary, after the name of the arm."""


def shown_columns(summary: Summary) -> tuple[Column[ArmSummary], ...]:
    """Choose the columns that mean something.

    Parameters
    ----------
    summary
        Statistics of a campaign.

    Returns
    -------
    tuple of Column
        :data:`COLUMNS`, without moments where no run is spin-polarized.
    """
    has_moments = any(arm.n_spin_polarized for arm in summary.arms.values())
    return tuple(column for column in COLUMNS if has_moments or column.head != MOMENTS)
