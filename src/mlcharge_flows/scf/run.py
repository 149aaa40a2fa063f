"""One counted run: electronic steps, the initial density they began from, and their cost.

``n_total`` is the number of electronic steps of ionic step 1, as published comparisons count them
(lines of OSZICAR). ``n_scf`` leaves out the steps at fixed density (VASP's NELMDL): it counts from
the first step that prints rms(c), which in VASP equals the number of lines with rms(c) plus one.
Non-self-consistent runs (ICHARG = 11) print no rms(c) and have no ``n_scf``.
"""

from __future__ import annotations

import json
import zlib
from math import isfinite
from pathlib import Path
from typing import Any, Literal

from monty.io import zopen
from monty.os.path import zpath
from pydantic import AliasChoices, BaseModel, Field

from mlcharge_flows.errors import one_line
from mlcharge_flows.vasp.chgcar_header import header_comment
from mlcharge_flows.vasp.oszicar import read_oszicar
from mlcharge_flows.vasp.outcar import Outcar, read_outcar
from mlcharge_flows.vasp.stdout import Provenance, StartMessages, read_start


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
    preparation_time: float = Field(
        0.0,
        description="Wall time spent on the initial density (prediction, writing), s.",
        validation_alias=AliasChoices("preparation_time", "start_time"),
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
    warnings: list[str] = Field(
        default_factory=list, description="Messages about a CHGCAR that was not, or badly, read."
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
        custodian, which deletes CHGCAR and changes INCAR.
        """
        if self.corrections:
            return "corrected by custodian"
        if self.started_from == "unknown":
            return "initial density not verified: standard output does not tell it"
        if self.fell_back:
            return "fell back to atoms" + (f": {self.warnings[0]}" if self.warnings else "")
        if self.expected_comment is None:
            return None if self.started_from == "atoms" else "read a CHGCAR that it was not given"
        if header_comment(self.echoed_comment or "") != header_comment(self.expected_comment):
            return f"read another CHGCAR: {self.echoed_comment!r}"
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
    def total_time(self) -> float | None:
        """Wall time of the run and of the preparation of its initial density, s."""
        return self.wall_time + self.preparation_time if self.wall_time else None


def count_run(
    folder: str | Path, expected_comment: str | None = None, preparation_time: float = 0.0
) -> ScfRun:
    """Read what a run did from OSZICAR, vasp.out, OUTCAR and custodian.json, plain or compressed.

    Never raises for what it finds: a missing folder, a killed, unconverged or unreadable run is a
    result whose ``failure`` says why, with everything that could be read.

    Where OSZICAR is lost, steps and residuals are taken from OUTCAR. Where standard output is
    lost, OUTCAR still tells a start from atoms, but a density from a CHGCAR is never verified.

    Parameters
    ----------
    folder
        Run folder.
    expected_comment
        Comment line of the CHGCAR that the run was given; None if it was given none.
    preparation_time
        Wall time spent on the initial density, s.

    Examples
    --------
    >>> count_run("/no/such/folder").failure
    'missing: no folder /no/such/folder'
    """
    folder = Path(folder).absolute()
    try:
        found, failure = _read(folder)
    except (OSError, ValueError, EOFError, zlib.error) as error:
        found, failure = {}, f"unreadable: {one_line(error)}"
    return ScfRun(
        folder=str(folder),
        expected_comment=expected_comment,
        preparation_time=preparation_time,
        failure=failure,
        **found,
    )


def _read(folder: Path) -> tuple[dict[str, Any], str | None]:
    if not folder.is_dir():
        return {}, f"missing: no folder {folder}"
    oszicar, outcar_path, stdout = (
        _existing(folder, name) for name in ("OSZICAR", "OUTCAR", "vasp.out")
    )
    messages = read_start(stdout) if stdout else None
    if messages and messages.errors and not messages.entered:
        # Whatever else lies in the folder is of an earlier run.
        return {"warnings": list(messages.warnings)}, f"stopped: {messages.errors[0]}"
    outcar = read_outcar(outcar_path) if outcar_path else Outcar()
    energies, residuals, energy = outcar.energies, outcar.residuals, outcar.energy
    if oszicar and (ionic_steps := read_oszicar(oszicar).ionic_steps):
        energies = tuple(step.energy for step in ionic_steps[0].steps)
        residuals = tuple(step.rms_c for step in ionic_steps[0].steps)
        energy = ionic_steps[0].E0
    printed = [n for n, residual in enumerate(residuals) if residual is not None]
    found = {
        "n_atoms": outcar.n_ions,
        "n_total": len(energies) or None,
        "n_scf": len(energies) - printed[0] if printed else None,
        "first_residual": _finite(residuals[printed[0]]) if printed else None,
        "energies": [_finite(value) for value in energies],
        "residuals": [_finite(value) for value in residuals],
        "energy": _finite(energy),
        "wall_time": outcar.elapsed,
        "converged": outcar.converged,
        "corrections": _corrections(folder),
    }
    found |= _start(messages, outcar)
    if found["n_total"] is None:
        silent = not (oszicar or outcar_path or (stdout and stdout.stat().st_size))
        cause = "the executable wrote nothing" if silent else "no electronic step"
        said = _last_line(folder, "std_err.txt")
        return found, f"{cause}: {said}" if said else cause
    return found, _failure(found, outcar, outcar_path is not None)


def _start(messages: StartMessages | None, outcar: Outcar) -> dict[str, Any]:
    """Where the run started; OUTCAR can refute what standard output says, never replace it."""
    if messages is None:
        messages = StartMessages(warnings=("vasp.out is missing",))
        provenance: Provenance = "unknown"
    else:
        provenance = messages.provenance
    warnings = list(messages.warnings)
    if outcar.from_atoms and provenance != "atoms":
        provenance = "atoms"
        warnings.insert(0, "OUTCAR says that the density was made, not read")
    return {
        "started_from": provenance,
        "echoed_comment": messages.comment,
        "warnings": warnings,
    }


def _failure(found: dict[str, Any], outcar: Outcar, has_outcar: bool) -> str | None:
    if outcar.elapsed is None or found["energy"] is None:
        return f"did not finish: {'killed, or still running' if has_outcar else 'no OUTCAR'}"
    if not outcar.converged:
        return f"not converged: {found['n_total']} steps, NELM = {outcar.nelm}"
    return None


def _corrections(folder: Path) -> int:
    """Count the corrections that custodian made, over all of its jobs."""
    path = _existing(folder, "custodian.json")
    if path is None:
        return 0
    with zopen(path, mode="rt", encoding="utf-8") as file:
        jobs = json.load(file)
    try:
        return sum(len(job["corrections"]) for job in jobs)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a custodian record") from error


def _last_line(folder: Path, name: str) -> str:
    """Last line that is not blank, at most 200 characters of it; empty if there is none."""
    path = _existing(folder, name)
    if path is None:
        return ""
    with zopen(path, mode="rt", encoding="utf-8", errors="replace") as file:
        lines = [line for line in file if line.strip()]
    return " ".join(lines[-1].split())[:200] if lines else ""


def _existing(folder: Path, name: str) -> Path | None:
    path = Path(zpath(folder / name))
    return path if path.is_file() else None


def _finite(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None
