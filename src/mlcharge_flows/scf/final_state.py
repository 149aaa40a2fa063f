"""Whether two runs of one material ended in the same electronic and magnetic state.

Energy and moments are those of ionic step 1. Some runs end in another state whatever they begin
from: how many do so by chance, the control arm shows, which reads the reference's own density.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, Field

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlcharge_flows.scf.comparison import Comparison
    from mlcharge_flows.scf.run import ScfRun

ENERGY_TOLERANCE = 1.0
"""Largest difference of two equal energies, meV per atom."""

MOMENT_TOLERANCE = 0.1
"""Largest difference of two equal moments, Bohr magnetons.

It stands between the noise of runs that met EDIFF (near its minimum the energy grows with the
square of a moment, so some hundredths in soft magnets) and the difference of two spin states of an
ion, about one; a reversed moment differs by twice itself.
"""


class OtherState(BaseModel):
    """A material where an arm ended in another state than the reference."""

    material_id: str = Field(description="Identifier of the material.")
    formula: str = Field(description="Reduced formula.")
    dE_meV_per_atom: float | None = Field(  # noqa: N815 - name of the JSON field
        None, description="E(arm) - E(reference), meV per atom."
    )
    max_moment_difference: float | None = Field(
        None, description="Largest difference of final moments, Bohr magnetons."
    )
    total_moment: float | None = Field(
        None, description="Moment of the cell in the run of the arm, Bohr magnetons."
    )
    total_moment_reference: float | None = Field(None, description="The same of the reference.")


def moment_difference(run: ScfRun, base: ScfRun) -> float | None:
    """Largest difference of the final moments of two runs of one material.

    Moments of ions are compared; where a run has none, the total moments, which cannot tell an
    antiferromagnet from a crystal without moments. Without spin-orbit coupling all moments
    reversed at once are the same state, so the smaller difference of both signs is taken.

    Parameters
    ----------
    run, base
        Runs of the same ions in the same order.

    Returns
    -------
    float or None
        Bohr magnetons; None if a run is not spin-polarized or its moments are not known.

    Examples
    --------
    >>> from mlcharge_flows.scf.run import ScfRun
    >>> def iron(*moments):
    ...     return ScfRun(folder="", spin_polarized=True, ion_moments=moments)
    >>> moment_difference(iron(2.25, -2.25), iron(-2.25, 2.25))
    0.0
    >>> moment_difference(iron(2.25, -2.25), iron(2.25, 2.25))
    4.5
    """
    if not (run.spin_polarized and base.spin_polarized):
        return None
    own, other = run.ion_moments, base.ion_moments
    if not (own and other and len(own) == len(other)):
        if run.total_moment is None or base.total_moment is None:
            return None
        own, other = [run.total_moment], [base.total_moment]
    return float(min(np.abs(np.subtract(own, other)).max(), np.abs(np.add(own, other)).max()))


def other_states(comparisons: Iterable[Comparison], arm: str, reference: str) -> list[OtherState]:
    """Find materials where energy or moments are not those of the reference.

    Parameters
    ----------
    comparisons
        Materials where both arms count.
    arm, reference
        Names of the two arms.

    Returns
    -------
    list of OtherState
        The largest difference of energies first.
    """
    found = []
    for comparison in comparisons:
        run, base = comparison.arms[arm], comparison.arms[reference]
        dE, moments = comparison.energy_difference(arm, reference), moment_difference(run, base)
        if abs(dE or 0.0) >= ENERGY_TOLERANCE or (moments or 0.0) >= MOMENT_TOLERANCE:
            found.append(
                OtherState(
                    material_id=comparison.material_id,
                    formula=comparison.formula,
                    dE_meV_per_atom=dE,
                    max_moment_difference=moments,
                    total_moment=run.total_moment,
                    total_moment_reference=base.total_moment,
                )
            )
    return sorted(found, key=lambda state: (-abs(state.dE_meV_per_atom or 0.0), state.material_id))
