"""The runs of one material, one per arm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import AliasChoices, BaseModel, Field

from mlcharge_flows.scf.run import ScfRun  # noqa: TC001 - pydantic needs it at run time

if TYPE_CHECKING:
    from collections.abc import Iterable

REFERENCE = "default"
"""Arm that starts from the executable's own superposition of atomic densities (ICHARG = 2)."""

CONTROL = "superposition"
"""Arm that reads the same superposition from a CHGCAR: its steps and times are the reference's."""

CEILING = "converged"
"""Arm that starts from the converged density."""


class Comparison(BaseModel):
    """All arms of one material, under one protocol."""

    material_id: str = Field(
        description="Identifier, unique within a campaign.",
        validation_alias=AliasChoices("material_id", "material"),
    )
    formula: str = Field(description="Reduced formula.")
    n_atoms: int = Field(description="Number of ions.")
    protocol: str = Field(description="Hash of the settings that all arms share.")
    arms: dict[str, ScfRun] = Field(
        description="By name: default, superposition, converged, learned, ..."
    )
    models: dict[str, str] = Field(
        default_factory=dict,
        description="SHA-256 of the checkpoints behind the arms that models predicted.",
    )
    structure: str | None = Field(
        None, description="Hash of the structure; None in results of version 0.1."
    )

    def energy_difference(self, arm: str, reference: str) -> float | None:
        """Energy of an arm relative to the reference.

        Parameters
        ----------
        arm
            Its name.
        reference
            Name of the arm that it is compared with.

        Returns
        -------
        float or None
            E0(arm) - E0(reference), meV per atom; None if either has no energy.
        """
        run, base = self.arms.get(arm), self.arms.get(reference)
        if run is None or base is None or run.energy is None or base.energy is None:
            return None
        return 1000 * (run.energy - base.energy) / self.n_atoms


def ordered_arms(arms: Iterable[str], reference: str) -> list[str]:
    """Order the names of arms for a report: the reference first, the ceiling last.

    Parameters
    ----------
    arms
        Names.
    reference
        Arm that the others are compared with.

    Returns
    -------
    list of str
        The names, those in between by the alphabet.

    Examples
    --------
    >>> ordered_arms(["converged", "learned", "default", "superposition"], "default")
    ['default', 'learned', 'superposition', 'converged']
    """
    return sorted(arms, key=lambda name: (name != reference, name == CEILING, name))
