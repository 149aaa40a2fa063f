"""One counted run: electronic steps, the initial density they began from, and their cost."""

from __future__ import annotations

import re
from math import isfinite
from typing import Literal

from pydantic import AliasChoices, BaseModel, Field

from mlcharge_flows.errors import one_line
from mlcharge_flows.vasp.chgcar_writer import echoed_comment, header_comment

_OF_THE_MACHINE = re.compile(
    # Without last words, a run that ended before its first step was killed.
    r"^the executable wrote nothing|^no electronic step$|killed|signal|left no document"
    r"|return code is (-\d|1[3-9]\d|12[6-9])"
    r"|no space left|disk quota|out of memory|OutOfMemory|MemoryError|cannot allocate|bad_alloc"
    r"|\boom\b|\[Errno \d+\]|SetupError|input/output error|stale file handle|bus error"
    r"|command not found|unable to (launch|create|allocate|confirm)|node failure|time limit",
    re.IGNORECASE,
)
_MOST_STEPS = 1_000_000
_MISSING_OUTPUT = re.compile(r"\[Errno 2\].*(vasprun|OUTCAR|OSZICAR|CHGCAR|CONTCAR|EIGENVAL)")
_NO_DENSITY = "no initial density"


class ScfRun(BaseModel):
    """What one run did, read from its folder and never from its input.

    A failure and a provenance issue are written as ``cause`` or ``cause: details``; reports count
    by cause.

    Examples
    --------
    >>> run = ScfRun(folder="/run", n_total=6, started_from="chgcar", echoed_comment="learned-3f2a")
    >>> run.expected_comment = "learned-3f2a"
    >>> run.verified
    True
    >>> run.started_from = "atoms"
    >>> run.fell_back, run.verified, run.exclusion_reason
    (True, False, 'fell back to atoms')
    """

    folder: str = Field(description="Run folder, absolute.")
    n_atoms: int | None = Field(None, description="Number of ions.")
    n_total: int | None = Field(None, description="Electronic steps of ionic step 1.")
    n_scf: int | None = Field(
        None, description="n_total less the fixed-density steps: lines with rms(c), plus one."
    )
    first_residual: float | None = Field(
        None, description="First rms(c): |rho_out - rho_in| of the initial density."
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
    cpu_time: float | None = Field(
        None,
        description="Processor time of the whole run, s; of its first process if it has several.",
    )
    preparation_time: float = Field(
        0.0,
        description="Wall time spent on the initial density (prediction, writing), s.",
        validation_alias=AliasChoices("preparation_time", "start_time"),
    )
    preparation_cpu_time: float | None = Field(
        None, description="Processor time spent on the initial density, s; None: not measured."
    )
    loading_time: float | None = Field(
        None,
        description="Wall time spent on loading libraries and the model, s; None if none was "
        "loaded. It is due once per process and no part of preparation_time.",
    )
    converged: bool = Field(False, description="The stop rule was met before NELM.")
    started_from: Literal["chgcar", "atoms", "unknown"] = Field(
        "unknown", description="Decided from the executable's stdout, never from INCAR."
    )
    echoed_comment: str | None = Field(
        None,
        description="Comment line that the executable echoed when it read the CHGCAR.",
        validation_alias=AliasChoices("echoed_comment", "start_comment"),
    )
    expected_comment: str | None = Field(
        None, description="Comment line of the CHGCAR that was given to the run."
    )
    augmentation_source: str | None = Field(
        None,
        description="Source of the augmentation occupancies of that CHGCAR: learned, atomic, "
        "element-mean, from file, learned by another model, ..",
        validation_alias=AliasChoices("augmentation_source", "occupancies"),
    )
    orbitals_source: str | None = Field(
        None,
        description="Source of the initial orbitals that the run was to begin from: atomic, or "
        "wavecar; None: random ones.",
    )
    orbitals_failure: str | None = Field(
        None, description="Why there were none; None if there were, or none were wanted."
    )
    orbitals_read_by_vasp: bool | None = Field(
        None,
        description="Whether the executable printed that it read a WAVECAR; None if it mentions "
        "none, and in older results.",
    )
    n_delay: int | None = Field(
        None,
        description="Steps at fixed density at the beginning, NELMDL of the OUTCAR without its "
        "sign; None in older results.",
    )
    warnings: list[str] = Field(
        default_factory=list, description="Messages about a CHGCAR that was not, or badly, read."
    )
    encut: float | None = Field(None, description="Cutoff of the plane waves, eV.")
    functional: str | None = Field(
        None, description="GGA and METAGGA tags, and hybrid, as OUTCAR prints them."
    )
    spin_polarized: bool | None = Field(None, description="Whether ISPIN = 2.")
    total_moment: float | None = Field(
        None,
        description="Magnetic moment of the cell after ionic step 1, Bohr magnetons; None without "
        "spin, and in older results.",
    )
    ion_moments: list[float] | None = Field(
        None,
        description="Those of the ions, in the order of POSCAR; None where OUTCAR has no table of "
        "them (LORBIT below 10), without spin, and in older results.",
    )
    ion_elements: list[str] | None = Field(
        None, description="Element of each of these ions; None where ion_moments is."
    )
    hubbard: bool | None = Field(
        None, description="Whether DFT+U was used (LDAU, with a U or J); None in older results."
    )
    band_gap: float | None = Field(
        None,
        description="Fundamental gap over the k-points of the run (EIGENVAL), eV; 0 for a metal, "
        "None where it is not known.",
    )
    model: str | None = Field(
        None,
        description="Name of the model that predicted the initial density, and the first digits of "
        "the SHA-256 of its checkpoint.",
    )
    execution: dict[str, str] = Field(
        default_factory=dict,
        description="What decides the numbers beside the settings: executable, its version, PAW "
        "data sets by hash. Empty in results of version 0.1.",
    )
    corrections: int = Field(0, description="Corrections made by custodian.")
    failure: str | None = Field(
        None, description="Why there is no usable result; None if there is."
    )

    @property
    def fell_back(self) -> bool:
        """Whether the run was given a CHGCAR and yet started from atoms."""
        return self.expected_comment is not None and self.started_from == "atoms"

    @property
    def provenance_issue(self) -> str | None:
        """Why the initial density of the run is not verified; None if it is.

        A run that was given a CHGCAR must have read it (not fallen back) and echoed its comment,
        of which VASP keeps 40 characters and prints the first word: comments are one word. A run
        that was given none must have started from atoms. Neither may have been corrected by
        custodian, which deletes CHGCAR and changes INCAR. Initial orbitals must have been read if
        and only if the run was to begin from them.
        """
        if self.corrections:
            return "corrected by custodian"
        if self.started_from == "unknown":
            contradiction = [text for text in self.warnings if text.startswith("standard output")]
            reason = [*contradiction, "standard output does not show it"][0]
            return f"initial density not verified: {reason}"
        if self.fell_back:
            return "fell back to atoms" + (f": {self.warnings[0]}" if self.warnings else "")
        if self.expected_comment is None:
            is_free = self.started_from == "atoms"
            return self._orbitals_issue if is_free else "read a CHGCAR that it was not given"
        expected, echo = map(header_comment, (self.expected_comment, self.echoed_comment or ""))
        if echo == expected:
            return self._orbitals_issue
        if echo == echoed_comment(expected):
            return f"CHGCAR not identified: of its comment {expected!r} only {echo!r} was printed"
        return f"read another CHGCAR: {echo!r}"

    @property
    def _orbitals_issue(self) -> str | None:
        """Why the initial orbitals of the run are not verified; None if they are."""
        if self.orbitals_failure:
            reason = self.orbitals_failure.removeprefix("initial orbitals: ")
            return f"no initial orbitals: {reason}"
        if self.orbitals_source and not self.orbitals_read_by_vasp:
            return "initial orbitals not read: standard output does not show it"
        if self.orbitals_read_by_vasp and not self.orbitals_source:
            return "read a WAVECAR that it was not given"
        return None

    @property
    def verified(self) -> bool:
        """Whether the run certainly started from the density that it was given."""
        return self.provenance_issue is None

    @property
    def exclusion_reason(self) -> str | None:
        """Why the run does not count for its arm, as ``cause: details``; None if it counts."""
        return (
            self.failure
            or self.provenance_issue
            or (None if self.n_total else "no electronic step")
        )

    @property
    def contradiction(self) -> str | None:
        """In what the values contradict each other, as those of no run do; None if in nothing."""
        energies = [energy for energy in (self.energy, *self.energies) if energy is not None]
        if not all(map(isfinite, energies)):
            return "an energy is not finite"
        if self.failure is None and not 1 <= (self.n_total or 0) <= _MOST_STEPS:
            return f"n_total is {one_line(self.n_total, 40)}, and there is no failure"
        return None

    @property
    def failed_by_machine(self) -> bool:
        """Whether the failure is the machine's, not that of the material and its settings.

        Memory, disk space, a signal or the end of a batch job, a launcher or an executable that is
        missing: the same run may succeed the next time.
        """
        text = self.failure or ""
        return bool(_OF_THE_MACHINE.search(text)) and not _MISSING_OUTPUT.search(text)

    @property
    def lacks_initial_density(self) -> bool:
        """Whether nothing ran because there was no initial density."""
        return (self.failure or "").startswith(_NO_DENSITY)

    @property
    def total_time(self) -> float | None:
        """Wall time of the run and of the preparation of its initial density, s."""
        return self.wall_time + self.preparation_time if self.wall_time else None

    @property
    def total_cpu_time(self) -> float | None:
        """Processor time of the run and of the preparation of its initial density, s.

        Where that of the preparation was not measured, it is taken for the wall time.
        """
        spent = self.preparation_cpu_time
        preparation = self.preparation_time if spent is None else spent
        return self.cpu_time + preparation if self.cpu_time else None
