"""What a density is worth without self-consistency: errors against the run that has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, Field

from mlcharge_flows.scf.comparison import Comparison
from mlcharge_flows.scf.run import ScfRun  # noqa: TC001 - pydantic needs it at run time
from mlcharge_flows.scf.states import StatesError

if TYPE_CHECKING:
    from mlcharge_flows.scf.states import States

REFERENCE = "default"
"""Name of the self-consistent run, from atoms."""

BAND_TOLERANCE = 43.0
"""Largest error of a band energy or gap, meV: 1 kcal/mol, as the published tests have it."""

FORCE_TOLERANCE = 0.03
"""Largest error of a force, eV/angstrom, as the published tests have it."""

BANDS_ABOVE = 2
"""Bands compared above the occupied ones; the last bands of any run are not converged."""

VANISHING = 1e-3
"""Forces below are none, eV/angstrom: symmetry forbids them, or the ions are at rest."""


class StateErrors(BaseModel):
    """Errors of one run at fixed density; None where one of the two runs has no such value.

    A band energy is one level at one k-point, of the occupied bands and the two above, as it is
    printed: no shift is taken off. It counts with the weight of its k-point.
    """

    dE_meV_per_atom: float | None = Field(  # noqa: N815 - name of the JSON field
        None, description="Error of E0, the energy for sigma -> 0."
    )
    dF_meV_per_atom: float | None = Field(  # noqa: N815
        None, description="Error of the free energy, which the Harris functional has in 2nd order."
    )
    gap: float | None = Field(None, description="Fundamental gap, eV; 0: a metal.")
    gap_reference: float | None = Field(None, description="The reference's.")
    direct_gap: float | None = Field(None, description="Direct gap, eV; 0: a metal.")
    direct_gap_reference: float | None = Field(None, description="The reference's.")
    n_band_energies: int = Field(0, description="Band energies compared.")
    share_bands_within: float | None = Field(None, description="Of them, those within 43 meV.")
    share_bands_within_shifted: float | None = Field(
        None,
        description="The same after taking off the mean error, of which physics knows nothing.",
    )
    mean_abs_band_meV: float | None = Field(  # noqa: N815
        None, description="Mean error of the band energies, meV."
    )
    band_shift_meV: float | None = Field(None, description="Mean signed error, meV.")  # noqa: N815
    share_forces_within: float | None = Field(None, description="Ions within 0.03 eV/angstrom.")
    max_force_error: float | None = Field(None, description="Largest |dF| of an ion, eV/angstrom.")
    forces_vanish: bool | None = Field(
        None, description="Whether the reference has no forces, as symmetry often demands."
    )

    @property
    def direct_gap_error(self) -> float | None:
        """Error of the direct gap, meV; None where either is unknown."""
        if self.direct_gap is None or self.direct_gap_reference is None:
            return None
        return 1000 * (self.direct_gap - self.direct_gap_reference)


class NonSCFComparison(Comparison):
    """Runs at fixed density of one material, beside its self-consistent run.

    In ``arms``, ``default`` is the self-consistent run; every other one took the density of its
    start as it is, with all other settings the same.
    """

    lines: dict[str, ScfRun] = Field(
        default_factory=dict,
        description="Runs along lines of symmetry; that of `default` has its converged density.",
    )
    errors: dict[str, StateErrors] = Field(
        default_factory=dict, description="Of the arms, against the self-consistent run."
    )
    line_errors: dict[str, StateErrors] = Field(
        default_factory=dict, description="Of the runs along lines, against that of `default`."
    )
    problems: dict[str, str] = Field(
        default_factory=dict,
        description="Why the states of a run cannot be compared, as `cause: details`.",
    )


def state_errors(states: States, reference: States) -> StateErrors:
    """Compare eigenstates and forces; energies are not among them.

    Parameters
    ----------
    states, reference
        Of the run at fixed density, and of the one it is compared with.

    Raises
    ------
    StatesError
        The two are of different k-points or electrons.

    Examples
    --------
    >>> from mlcharge_flows.scf.states import States
    >>> levels = np.array([[-1.0, 0.5, 4.0], [-2.0, 1.5, 5.0]])
    >>> points = {"kpoints": np.zeros((2, 3)), "weights": np.full(2, 0.5), "n_electrons": 2.0}
    >>> exact = States(eigenvalues=levels, fermi_level=0.0, **points)
    >>> shifted = States(eigenvalues=levels + 0.1, fermi_level=0.1, **points)
    >>> errors = state_errors(shifted, exact)
    >>> errors.share_bands_within, errors.share_bands_within_shifted, round(errors.band_shift_meV)
    (0.0, 1.0, 100)
    """
    if (
        states.kpoints.shape != reference.kpoints.shape
        or np.abs(states.kpoints - reference.kpoints).max() > 1e-6
        or abs(states.n_electrons - reference.n_electrons) > 1e-3
    ):
        raise StatesError("not comparable: other k-points or electrons than the reference")
    bands = min(
        states.n_occupied + BANDS_ABOVE, states.eigenvalues.shape[1], reference.eigenvalues.shape[1]
    )
    error = 1000 * (states.eigenvalues[:, :bands] - reference.eigenvalues[:, :bands])
    weights = np.broadcast_to(states.weights[:, None], error.shape)
    shift = float(np.average(error, weights=weights))

    def within(values: np.ndarray) -> float:
        return float(np.average(np.abs(values) <= BAND_TOLERANCE, weights=weights))

    return StateErrors(
        gap=states.gap,
        gap_reference=reference.gap,
        direct_gap=states.direct_gap,
        direct_gap_reference=reference.direct_gap,
        n_band_energies=error.size,
        share_bands_within=within(error),
        share_bands_within_shifted=within(error - shift),
        mean_abs_band_meV=float(np.average(np.abs(error), weights=weights)),
        band_shift_meV=shift,
        **_forces(states, reference),
    )


def _forces(states: States, reference: States) -> dict[str, float | bool]:
    if states.forces is None or reference.forces is None:
        return {}
    error = np.linalg.norm(states.forces - reference.forces, axis=1)
    return {
        "share_forces_within": float(np.mean(error <= FORCE_TOLERANCE)),
        "max_force_error": float(error.max()),
        "forces_vanish": bool(np.linalg.norm(reference.forces, axis=1).max() < VANISHING),
    }


def free_energy_difference(run: ScfRun, reference: ScfRun, n_atoms: int) -> float | None:
    """F - F(reference) after the last step, meV per atom; None if either has none."""
    last = [one.energies[-1] for one in (run, reference) if one.energies]
    if len(last) < 2 or last[0] is None or last[1] is None:
        return None
    return 1000 * (last[0] - last[1]) / n_atoms
