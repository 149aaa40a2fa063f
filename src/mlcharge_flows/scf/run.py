"""One counted run: how many electronic steps, from which start, at what cost."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class ScfRun(BaseModel):
    """What one run did, read from its folder and never from its intention."""

    folder: str = Field(description="Run folder, absolute.")
    n_atoms: int | None = Field(None, description="Number of ions.")
    n_total: int | None = Field(None, description="Electronic steps of ionic step 1.")
    n_scf: int | None = Field(
        None, description="n_total less the fixed-density steps: lines with rms(c), plus one."
    )
    first_residual: float | None = Field(
        None, description="First rms(c): |rho_out - rho_in| of the starting density."
    )
    energies: list[float] = Field(
        default_factory=list, description="Energy E of each electronic step of ionic step 1, eV."
    )
    residuals: list[float | None] = Field(
        default_factory=list, description="rms(c) of each of these steps; None where not printed."
    )
    energy: float | None = Field(None, description="Final energy E0 (sigma -> 0), eV.")
    wall_time: float | None = Field(None, description="Elapsed time of the executable, s.")
    start_time: float = Field(
        0.0, description="Wall time spent to make the start (inference, file writing), s."
    )
    converged: bool = Field(False, description="The stop rule was met before NELM.")
    started_from: Literal["chgcar", "atoms", "unknown"] = Field(
        "unknown", description="Decided from the executable's stdout, never from INCAR."
    )
    start_comment: str | None = Field(
        None, description="Comment line that the executable echoed when it read the CHGCAR."
    )
    expected_comment: str | None = Field(
        None, description="Comment line of the CHGCAR that was given to the run."
    )
    warnings: list[str] = Field(
        default_factory=list, description="Messages about a CHGCAR that was not, or badly, read."
    )
    corrections: int = Field(0, description="Corrections made by custodian.")
    failure: str | None = Field(None, description="Why there is no usable result; None if there is.")
