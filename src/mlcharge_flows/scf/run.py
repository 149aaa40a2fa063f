"""One counted run: how many electronic steps, from which start, at what cost."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from mlcharge_flows.vasp.chgcar_header import header_comment


class ScfRun(BaseModel):
    """What one run did, read from its folder and never from its intention.

    A failure, and a doubt about the start, is written as ``cause`` or ``cause: details``; reports
    count by cause.

    Examples
    --------
    >>> run = ScfRun(folder="/run", n_total=6, started_from="chgcar", start_comment="learned-3f2a")
    >>> run.expected_comment = "learned-3f2a"
    >>> run.proven
    True
    >>> run.started_from = "atoms"
    >>> run.fell_back, run.proven, run.excluded
    (True, False, 'fell back to atoms')
    """

    folder: str = Field(description="Run folder, absolute.")
    n_atoms: int | None = Field(None, description="Number of ions.")
    n_total: int | None = Field(None, description="Electronic steps of ionic step 1.")
    n_scf: int | None = Field(
        None, description="n_total less the fixed-density steps: lines with rms(c), plus one."
    )
    first_residual: float | None = Field(
        None, description="First rms(c): |rho_out - rho_in| of the starting density."
    )
    energies: list[float | None] = Field(
        default_factory=list,
        description="Free energy of each electronic step of ionic step 1, eV; None: overflowed.",
    )
    residuals: list[float | None] = Field(
        default_factory=list, description="rms(c) of each of these steps; None where not printed."
    )
    energy: float | None = Field(None, description="E0 (sigma -> 0) after ionic step 1, eV.")
    wall_time: float | None = Field(None, description="Elapsed time of the whole run, s.")
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
    occupancies: str | None = Field(
        None,
        description="Policy that the on-site occupancies of that CHGCAR came by: learned, atomic, "
        "element-mean, from file, learned by another model, ..",
    )
    warnings: list[str] = Field(
        default_factory=list, description="Messages about a CHGCAR that was not, or badly, read."
    )
    corrections: int = Field(0, description="Corrections made by custodian.")
    failure: str | None = Field(
        None, description="Why there is no usable result; None if there is."
    )

    @property
    def fell_back(self) -> bool:
        """Whether the run was given a CHGCAR and started from atoms all the same."""
        return self.expected_comment is not None and self.started_from == "atoms"

    @property
    def doubt(self) -> str | None:
        """Why it is not proven that the run started where it was meant to; None if it is.

        A run that was given a CHGCAR must have read it (not fallen back) and echoed its comment,
        of which VASP keeps 40 characters and prints the first word: comments are one word. A run
        that was given none must have started from atoms. Neither may have been touched by
        custodian, which deletes CHGCAR and changes INCAR.
        """
        if self.corrections:
            return "corrected by custodian"
        if self.started_from == "unknown":
            return "start not proven: nothing on standard output tells"
        if self.fell_back:
            return "fell back to atoms" + (f": {self.warnings[0]}" if self.warnings else "")
        if self.expected_comment is None:
            return None if self.started_from == "atoms" else "read a CHGCAR that it was not given"
        if header_comment(self.start_comment or "") != header_comment(self.expected_comment):
            return f"read another CHGCAR: {self.start_comment!r}"
        return None

    @property
    def proven(self) -> bool:
        """Whether the run certainly started from the density that it was given."""
        return self.doubt is None

    @property
    def excluded(self) -> str | None:
        """Why the run does not count for its arm: its failure or the doubt about its start."""
        return self.failure or self.doubt
