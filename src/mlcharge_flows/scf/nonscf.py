"""Runs at fixed density: errors against the self-consistent run, in published terms, and cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import AliasChoices, BaseModel, Field

from mlcharge_flows.scf.averages import count_causes, mean, median
from mlcharge_flows.scf.comparison import REFERENCE, Comparison, refuse_mixed
from mlcharge_flows.scf.electronic_structure import ElectronicStructureError
from mlcharge_flows.scf.final_state import ENERGY_TOLERANCE
from mlcharge_flows.scf.run import ScfRun  # noqa: TC001 - pydantic needs it at run time
from mlcharge_flows.scf.statistics import FractionsModel

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from mlcharge_flows.scf.electronic_structure import ElectronicStructure

    FloatArray = NDArray[np.float64]
    Costs = tuple[float | None, float | None]

BAND_TOLERANCE = 43.0
"""Largest error of a band energy or gap, meV: 1 kcal/mol, as in the published tests."""

FORCE_TOLERANCE = 0.03
"""Largest error of a force, eV/angstrom, as in the published tests."""

N_EMPTY_BANDS = 2
"""Bands compared above the occupied ones; the last bands of any run are not converged."""

MAX_ZERO_FORCE = 1e-3
"""Smaller forces count as zero, eV/angstrom: by symmetry, or the ions are at rest."""


class FixedDensityErrors(FractionsModel):
    """Errors of one run at fixed density; None where one of the two runs has no such value.

    A band energy is one level at one k-point, of the occupied bands and the two above, as printed,
    without a shift. It counts with the weight of its k-point.
    """

    dE_meV_per_atom: float | None = Field(  # noqa: N815 - name of the JSON field
        None, description="Error of E0, the energy for sigma -> 0."
    )
    dF_meV_per_atom: float | None = Field(  # noqa: N815
        None,
        description="Error of the free energy: the Harris functional's is of second order in the "
        "error of the density.",
    )
    gap: float | None = Field(None, description="Fundamental gap, eV; 0: a metal.")
    gap_reference: float | None = Field(None, description="The reference's.")
    direct_gap: float | None = Field(None, description="Direct gap, eV; 0: a metal.")
    direct_gap_reference: float | None = Field(None, description="The reference's.")
    n_band_energies: int = Field(0, description="Band energies compared.")
    fraction_bands_within: float | None = Field(None, description="Of them, those within 43 meV.")
    fraction_bands_within_shifted: float | None = Field(
        None,
        description="The same after subtracting the mean error: the zero of a crystal's energies "
        "is arbitrary.",
    )
    mean_abs_band_meV: float | None = Field(  # noqa: N815
        None, description="Mean absolute error of the band energies, meV."
    )
    band_shift_meV: float | None = Field(None, description="Mean signed error, meV.")  # noqa: N815
    fraction_forces_within: float | None = Field(None, description="Ions within 0.03 eV/angstrom.")
    max_force_error: float | None = Field(None, description="Largest |dF| of an ion, eV/angstrom.")
    forces_vanish: bool | None = Field(
        None, description="Whether the reference has zero forces, as symmetry often demands."
    )

    @property
    def direct_gap_error(self) -> float | None:
        """Error of the direct gap, meV; None where either is unknown."""
        if self.direct_gap is None or self.direct_gap_reference is None:
            return None
        return 1000 * (self.direct_gap - self.direct_gap_reference)


class NonSCFComparison(Comparison):
    """Runs at fixed density of one material, beside its self-consistent run.

    In ``arms``, ``default`` is the self-consistent run; every other one kept its initial density,
    with all other settings the same.
    """

    band_paths: dict[str, ScfRun] = Field(
        default_factory=dict,
        description="Runs along the band path; that of `default` has its converged density.",
        validation_alias=AliasChoices("band_paths", "lines"),
    )
    errors: dict[str, FixedDensityErrors] = Field(
        default_factory=dict, description="Of the arms, against the self-consistent run."
    )
    band_path_errors: dict[str, FixedDensityErrors] = Field(
        default_factory=dict,
        description="Of the runs along the band path, against that of `default`.",
        validation_alias=AliasChoices("band_path_errors", "line_errors"),
    )
    problems: dict[str, str] = Field(
        default_factory=dict,
        description="Why the electronic structure of a run cannot be compared, as "
        "`cause: details`.",
    )

    def exclusion_reason(self, arm: str) -> str | None:
        """Why the run of an arm does not count.

        Parameters
        ----------
        arm
            Its name.

        Returns
        -------
        str or None
            ``cause: details``; None if it counts.
        """
        return self.arms[arm].exclusion_reason or self.problems.get(arm)

    def free_energy_difference(self, arm: str) -> float | None:
        """Free energy after the last step relative to the self-consistent run.

        Parameters
        ----------
        arm
            Its name.

        Returns
        -------
        float or None
            F - F(reference), meV per atom; None if either has none.
        """
        last = [run.energies[-1:] for run in (self.arms[arm], self.arms[REFERENCE])]
        values = [energy for energies in last for energy in energies if energy is not None]
        return 1000 * (values[0] - values[1]) / max(self.n_atoms, 1) if len(values) == 2 else None


def fixed_density_errors(
    found: ElectronicStructure, reference: ElectronicStructure
) -> FixedDensityErrors:
    """Errors of eigenvalues and forces; energies are not among them.

    Parameters
    ----------
    found
        Of the run at fixed density.
    reference
        Of the run that it is compared with.

    Returns
    -------
    FixedDensityErrors
        Without energies.

    Raises
    ------
    ElectronicStructureError
        The two have different k-points or electrons.

    Examples
    --------
    >>> from mlcharge_flows.scf.electronic_structure import ElectronicStructure
    >>> levels = np.array([[-1.0, 0.5, 4.0], [-2.0, 1.5, 5.0]])
    >>> points = {"kpoints": np.zeros((2, 3)), "weights": np.full(2, 0.5), "n_electrons": 2.0}
    >>> exact = ElectronicStructure(eigenvalues=levels, fermi_level=0.0, **points)
    >>> shifted = ElectronicStructure(eigenvalues=levels + 0.1, fermi_level=0.1, **points)
    >>> errors = fixed_density_errors(shifted, exact)
    >>> errors.fraction_bands_within, errors.fraction_bands_within_shifted
    (0.0, 1.0)
    >>> round(errors.band_shift_meV)
    100
    """
    if (
        found.kpoints.shape != reference.kpoints.shape
        or np.abs(found.kpoints - reference.kpoints).max() > 1e-6
        or abs(found.n_electrons - reference.n_electrons) > 1e-3
    ):
        raise ElectronicStructureError(
            "not comparable: other k-points or electrons than the reference"
        )
    n_bands = min(
        found.n_occupied + N_EMPTY_BANDS,
        found.eigenvalues.shape[1],
        reference.eigenvalues.shape[1],
    )
    error = 1000 * (found.eigenvalues[:, :n_bands] - reference.eigenvalues[:, :n_bands])
    weights = np.broadcast_to(found.weights[:, None], error.shape)
    shift = float(np.average(error, weights=weights))

    def within(values: FloatArray) -> float:
        return float(np.average(np.abs(values) <= BAND_TOLERANCE, weights=weights))

    errors = FixedDensityErrors(
        gap=found.gap,
        gap_reference=reference.gap,
        direct_gap=found.direct_gap,
        direct_gap_reference=reference.direct_gap,
        n_band_energies=error.size,
        fraction_bands_within=within(error),
        fraction_bands_within_shifted=within(error - shift),
        mean_abs_band_meV=float(np.average(np.abs(error), weights=weights)),
        band_shift_meV=shift,
    )
    if found.forces is not None and reference.forces is not None:
        distances = np.linalg.norm(found.forces - reference.forces, axis=1)
        largest = float(np.linalg.norm(reference.forces, axis=1).max())
        errors.fraction_forces_within = float(np.mean(distances <= FORCE_TOLERANCE))
        errors.max_force_error = float(distances.max())
        errors.forces_vanish = largest < MAX_ZERO_FORCE
    return errors


class FixedDensitySummary(FractionsModel):
    """Statistics of the runs at one arm's fixed density.

    All medians, means and fractions are over ``n_materials``: both runs finished, each verified to
    have its density, and their electronic structures can be compared. Fractions of band
    energies and of forces are means over materials, each of which counts the same. They are never
    percentages.
    """

    n_attempted: int = Field(description="n_materials + n_failed + n_unpaired.")
    n_materials: int = Field(description="Materials that are compared.")
    n_failed: int = Field(description="Materials where the run at fixed density does not count.")
    n_unpaired: int = Field(description="Materials where only the self-consistent run does not.")
    failures: dict[str, int] = Field(
        default_factory=dict, description="Runs that do not count, by cause; sums to n_failed."
    )
    median_abs_dE: float | None = Field(None, description="Median |dE0|, meV/atom.")  # noqa: N815
    fraction_energy_within: float | None = Field(None, description="|dE0| below 1 meV/atom.")
    median_abs_dF: float | None = Field(None, description="Median |dF|, meV/atom.")  # noqa: N815
    n_gaps: int = Field(0, description="Materials with a direct gap in both runs, metals included.")
    n_metals: int = Field(0, description="Of them, metals in both runs: the gap is exact.")
    fraction_direct_gaps_within: float | None = Field(None, description="|d gap| within 43 meV.")
    fraction_bands_within: float | None = Field(None, description="Band energies within 43 meV.")
    fraction_bands_within_shifted: float | None = Field(
        None, description="The same after subtracting each material's mean error."
    )
    median_abs_band_meV: float | None = Field(  # noqa: N815
        None, description="Median over materials of the mean error of band energies."
    )
    fraction_band_path_within: float | None = Field(
        None,
        description="Band energies along the band path within 43 meV.",
        validation_alias=AliasChoices("fraction_band_path_within", "fraction_line_bands_within"),
    )
    n_forces: int = Field(0, description="Materials with forces in both runs.")
    n_forces_vanish: int = Field(0, description="Of them, with zero forces in the reference.")
    fraction_forces_within: float | None = Field(None, description="Ions within 0.03 eV/angstrom.")
    median_n_total: float | None = Field(None, description="Median electronic steps.")
    median_n_total_reference: float | None = Field(None, description="The reference's.")
    wall_time: float | None = Field(None, description="Summed wall time, preparation included, s.")
    wall_time_reference: float | None = Field(None, description="The reference's, s.")
    preparation_time: float | None = Field(
        None,
        description="Summed time to prepare the initial densities, s.",
        validation_alias=AliasChoices("preparation_time", "start_time"),
    )
    wall_ratio: float | None = Field(None, description="wall_time / wall_time_reference.")
    band_path_wall_ratio: float | None = Field(
        None,
        description="Cost of bands: preparation and run along the band path, over the "
        "self-consistent run and its run along the band path.",
        validation_alias=AliasChoices("band_path_wall_ratio", "line_wall_ratio"),
    )


class NonSCFSummary(BaseModel):
    """Statistics of runs at fixed density, arm by arm."""

    n_materials: int = Field(description="Materials, whatever became of them.")
    protocols: list[str] = Field(description="Hashes of the settings.")
    arms: dict[str, FixedDensitySummary] = Field(
        description="By name, without the reference.",
        validation_alias=AliasChoices("arms", "starts"),
    )


def summarize_nonscf(comparisons: Iterable[NonSCFComparison]) -> NonSCFSummary:
    """Summarize every arm over the materials where it and the self-consistent run count.

    Parameters
    ----------
    comparisons
        One per material.

    Returns
    -------
    NonSCFSummary
        One entry per arm, in their order of appearance.

    Raises
    ------
    MixedResultsError
        The materials were run with different settings, checkpoints, executables or PAW data sets.

    Examples
    --------
    >>> summarize_nonscf([]).n_materials
    0
    """
    campaign = list(comparisons)
    refuse_mixed(campaign)
    names = dict.fromkeys(n for c in campaign for n in c.arms if n != REFERENCE)
    return NonSCFSummary(
        n_materials=len(campaign),
        protocols=sorted({comparison.protocol for comparison in campaign}),
        arms={name: _summarize_arm(campaign, name) for name in names},
    )


def _summarize_arm(campaign: Sequence[NonSCFComparison], name: str) -> FixedDensitySummary:
    tried = [comparison for comparison in campaign if name in comparison.arms]
    causes = [cause for comparison in tried if (cause := comparison.exclusion_reason(name))]
    paired = [comparison for comparison in tried if name in comparison.errors]
    errors = [comparison.errors[name] for comparison in paired]
    with_path = [comparison for comparison in paired if name in comparison.band_path_errors]
    runs = [(comparison.arms[name], comparison.arms[REFERENCE]) for comparison in paired]
    dE, gaps = _magnitudes(errors, "dE_meV_per_atom"), _magnitudes(errors, "direct_gap_error")
    path_errors = [comparison.band_path_errors[name] for comparison in with_path]
    wall = _total((run.total_time, base.total_time) for run, base in runs)
    return FixedDensitySummary(
        n_attempted=len(tried),
        n_materials=len(paired),
        n_failed=len(causes),
        n_unpaired=len(tried) - len(causes) - len(paired),
        failures=count_causes(causes),
        median_abs_dE=median(dE),
        fraction_energy_within=mean(dE < ENERGY_TOLERANCE),
        median_abs_dF=median(_magnitudes(errors, "dF_meV_per_atom")),
        n_gaps=len(gaps),
        n_metals=sum(e.direct_gap == 0 and e.direct_gap_reference == 0 for e in errors),
        fraction_direct_gaps_within=mean(gaps <= BAND_TOLERANCE),
        fraction_bands_within=mean(_magnitudes(errors, "fraction_bands_within")),
        fraction_bands_within_shifted=mean(_magnitudes(errors, "fraction_bands_within_shifted")),
        median_abs_band_meV=median(_magnitudes(errors, "mean_abs_band_meV")),
        fraction_band_path_within=mean(_magnitudes(path_errors, "fraction_bands_within")),
        n_forces=sum(e.fraction_forces_within is not None for e in errors),
        n_forces_vanish=sum(bool(e.forces_vanish) for e in errors),
        fraction_forces_within=mean(_magnitudes(errors, "fraction_forces_within")),
        median_n_total=median(np.array([run.n_total for run, _ in runs], float)),
        median_n_total_reference=median(np.array([base.n_total for _, base in runs], float)),
        wall_time=wall[0] if wall else None,
        wall_time_reference=wall[1] if wall else None,
        preparation_time=sum(run.preparation_time for run, _ in runs) if runs else None,
        wall_ratio=_ratio(wall),
        band_path_wall_ratio=_ratio(_total(_band_path_costs(c, name) for c in with_path)),
    )


def _magnitudes(errors: Iterable[FixedDensityErrors], name: str) -> FloatArray:
    """Magnitudes of an error, shape (n,), of the materials that have it."""
    values = [getattr(error, name) for error in errors]
    return np.array([abs(value) for value in values if value is not None], float)


def _band_path_costs(comparison: NonSCFComparison, name: str) -> Costs:
    """Wall time of the bands from an initial density, and of those from the self-consistent run."""
    scf_time = comparison.arms[REFERENCE].total_time
    # The converged density is there: writing it again is no cost of the reference.
    path_time = comparison.band_paths[REFERENCE].wall_time
    both = scf_time + path_time if scf_time is not None and path_time is not None else None
    return comparison.band_paths[name].total_time, both


def _total(costs: Iterable[Costs]) -> tuple[float, float] | None:
    """Summed costs of the materials where both are known."""
    known = [(cost, base) for cost, base in costs if cost is not None and base is not None]
    return (sum(cost for cost, _ in known), sum(base for _, base in known)) if known else None


def _ratio(costs: tuple[float, float] | None) -> float | None:
    return costs[0] / costs[1] if costs and costs[1] else None
