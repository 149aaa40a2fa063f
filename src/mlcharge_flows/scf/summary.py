"""What a report says about an arm; every fraction is a fraction, never a percentage."""

from __future__ import annotations

from pydantic import BaseModel, Field


class ArmSummary(BaseModel):
    """Statistics of one arm, paired with the reference.

    All medians, means and shares are over the same ``n_materials`` materials: those where both the
    arm and the reference count. A run counts if it finished, converged, and provably started from
    the density of its arm; every other run of the arm is in ``failures``. A quantity is None where
    no material has it.
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
    occupancies: list[str] = Field(
        default_factory=list, description="Policies that the occupancies of the starts came by."
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
    share_faster: float | None = Field(None, description="Materials with fewer steps.")
    share_equal: float | None = Field(None, description="Materials with equally many steps.")
    share_slower: float | None = Field(None, description="Materials with more steps.")
    share_of_ceiling: float | None = Field(
        None,
        description="mean_reduction of the arm over that of the converged start, both over the "
        "materials where arm, reference and ceiling count.",
    )

    median_n_scf: float | None = Field(
        None, description="Median steps after the fixed-density ones."
    )
    median_n_scf_reference: float | None = Field(
        None, description="The reference's, over the same materials."
    )
    median_first_residual: float | None = Field(
        None, description="Median first rms(c): the error of the start, as VASP sees it."
    )
    median_first_residual_reference: float | None = Field(
        None, description="The reference's, over the same materials."
    )

    median_wall_saving: float | None = Field(
        None,
        description="Median of 1 - wall(arm) / wall(reference), each with the time to make its "
        "start.",
    )
    total_wall_saving: float | None = Field(
        None, description="The same for the summed wall times of all materials."
    )
    total_start_time: float | None = Field(
        None, description="Summed time to make the starts of the arm, s."
    )

    max_abs_dE_meV_per_atom: float | None = Field(  # noqa: N815 - name of the JSON field
        None, description="Largest |E(arm) - E(reference)|, meV per atom."
    )
    share_energy_agrees: float | None = Field(
        None, description="Materials with |dE| < 1 meV/atom, of those where both have an energy."
    )


class Summary(BaseModel):
    """Statistics of a campaign, arm by arm."""

    reference: str = Field(description="Arm that all others are paired with.")
    ceiling: str = Field(description="Arm whose start is the converged density.")
    n_materials: int = Field(description="Materials in the campaign, whatever became of them.")
    protocols: list[str] = Field(
        description="Hashes of the settings; more than one means that unlike runs were mixed."
    )
    arms: dict[str, ArmSummary] = Field(description="By name, the reference first.")
