"""Counting one finished run: steps, residual, energy, time, and where it started.

``n_total`` is the number of electronic steps of ionic step 1, as the published comparisons count
(lines of OSZICAR). ``n_scf`` leaves out the steps of fixed density (VASP's NELMDL): it is counted
from the first step that prints rms(c), which in VASP is the number of lines with rms(c), plus one.
Non-self-consistent runs (ICHARG = 11) print none and have no ``n_scf``.
"""

from __future__ import annotations

import json
import zlib
from math import isfinite
from pathlib import Path
from typing import Any

from monty.io import zopen
from monty.os.path import zpath

from mlcharge_flows.scf.run import ScfRun
from mlcharge_flows.vasp.oszicar import read_oszicar
from mlcharge_flows.vasp.outcar import Outcar, read_outcar
from mlcharge_flows.vasp.stdout import Provenance, StartMessages, read_start


def count_run(
    folder: str | Path, expected_comment: str | None = None, start_time: float = 0.0
) -> ScfRun:
    """Read what a run did from OSZICAR, vasp.out, OUTCAR and custodian.json, plain or compressed.

    Never raises for what it finds: a missing folder, a killed, unconverged or unreadable run is a
    result whose ``failure`` says why, with everything that could be read.

    Where OSZICAR is lost, steps and residuals are taken from OUTCAR. Where standard output is
    lost, OUTCAR still tells a start from atoms, but no start from a CHGCAR is ever proven.

    Parameters
    ----------
    folder
        Run folder.
    expected_comment
        Comment line of the CHGCAR that the run was given; None if it was given none.
    start_time
        Wall time spent to make the start, s.

    Examples
    --------
    >>> count_run("/no/such/folder").failure
    'missing: no folder /no/such/folder'
    """
    folder = Path(folder).absolute()
    try:
        found, failure = _read(folder)
    except (OSError, ValueError, EOFError, zlib.error) as error:
        found, failure = {}, f"unreadable: {' '.join(str(error).split())}"
    return ScfRun(
        folder=str(folder),
        expected_comment=expected_comment,
        start_time=start_time,
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
        "start_comment": messages.comment,
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
