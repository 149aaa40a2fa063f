"""Counting a finished run: steps, residuals, energy, time, and its initial density.

``n_total`` is the number of electronic steps of ionic step 1, as published comparisons count them
(lines of OSZICAR), those at fixed density included. ``n_scf`` leaves these out (VASP's NELMDL): it
counts from the first step that prints rms(c), which in VASP equals the number of lines with rms(c)
plus one. Non-self-consistent runs (ICHARG = 11) print no rms(c) and have no ``n_scf``.
"""

from __future__ import annotations

import json
import re
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mlcharge_flows.errors import one_line
from mlcharge_flows.io import UNREADABLE, decode_text, open_text, read_bytes
from mlcharge_flows.scf.band_gap import read_band_gap
from mlcharge_flows.scf.consistency import mismatch
from mlcharge_flows.scf.ion_elements import ion_elements
from mlcharge_flows.scf.run import ScfRun
from mlcharge_flows.scf.run_files import RunFiles, RunFilesError
from mlcharge_flows.vasp.density_messages import read_density_messages
from mlcharge_flows.vasp.incar import read_incar
from mlcharge_flows.vasp.oszicar import read_oszicar
from mlcharge_flows.vasp.outcar import EDIFF, Outcar, read_outcar

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlcharge_flows.vasp.density_messages import DensityMessages
    from mlcharge_flows.vasp.oszicar import IonicStep, Oszicar

T = TypeVar("T")


def count_run(
    folder: str | Path,
    expected_comment: str | None = None,
    preparation_time: float = 0.0,
    loading_time: float | None = None,
) -> ScfRun:
    """Read what a run did from OSZICAR, vasp.out, OUTCAR and custodian.json, plain or compressed.

    It never raises for what it finds: a missing folder, a killed, unconverged or unreadable run is
    a result whose ``failure`` says why, with everything that could be read.

    Where OSZICAR is lost, steps and residuals are taken from OUTCAR. Where standard output is
    lost, OUTCAR still shows a superposition of atoms, but no density from a CHGCAR is verified.

    Parameters
    ----------
    folder
        Run folder.
    expected_comment
        Comment line of the CHGCAR that the run was given; None if it was given none.
    preparation_time
        Wall time spent on the initial density, s.
    loading_time
        Wall time spent on loading libraries and the model for it, s; None if none was loaded.

    Returns
    -------
    ScfRun
        What was counted.

    Examples
    --------
    >>> count_run("/no/such/folder").failure
    'missing: no folder /no/such/folder'
    """
    folder = Path(folder).absolute()
    run = ScfRun(
        folder=str(folder),
        expected_comment=expected_comment,
        preparation_time=preparation_time,
        loading_time=loading_time,
    )
    if not folder.is_dir():
        run.failure = f"missing: no folder {folder}"
        return run
    try:
        files = RunFiles.find(folder)
    except RunFilesError as error:
        run.failure = str(error)
    except UNREADABLE as error:
        run.failure = f"unreadable: {one_line(error)}"
    else:
        run.failure = _count(run, files)
    return run


def _count(run: ScfRun, files: RunFiles) -> str | None:
    """Fill in what the files tell; the cause of a failure, or None."""
    problems: list[str] = []
    messages = _read(read_density_messages, files.stdout, problems)
    if messages and messages.errors and not messages.entered:
        # Whatever else lies in the folder is of an earlier run.
        run.warnings = list(messages.warnings)
        return f"stopped: {messages.errors[0]}"
    outcar = _read(read_outcar, files.outcar, problems) or Outcar()
    oszicar = _first_step(_read(read_oszicar, files.oszicar, problems))
    if messages and not messages.entered and (outcar.first.energies or oszicar):
        state = "is empty" if _is_blank(files.stdout) else "ends before the main loop"
        message = files.last_words() or f"vasp.out {state}, other files are of another run"
        return f"did not start: {message}"
    _fill_steps(run, outcar, oszicar)
    if files.stdout is None:
        run.warnings = ["vasp.out is missing"]
    _fill_provenance(run, outcar, messages)
    if run.n_total and not oszicar and not problems:
        state = "is missing" if files.oszicar is None else "is empty"
        run.warnings.append(f"OSZICAR {state}: the steps are those of OUTCAR")
    if version := _read(_version, files.outcar, []):
        run.execution["version"] = version
    run.corrections = _read(_corrections, files.custodian, problems) or 0
    last = oszicar.steps[-1] if oszicar and oszicar.steps else None
    run.converged = outcar.stop_rule_met(
        run.n_total or 0,
        last.change if last else outcar.first.change,
        last.band_change if last else outcar.first.band_change,
        _read(_ediff, files.incar, []) or EDIFF,
    )
    if problems:
        return f"unreadable: {problems[0]}"
    if run.n_total is None:
        silent = not (files.oszicar or files.outcar or not _is_blank(files.stdout, missing=True))
        cause = "the executable wrote nothing" if silent else "no electronic step"
        message = files.last_words()
        return f"{cause}: {message}" if message else cause
    if outcar.elapsed is None or run.energy is None:
        state = "killed, or still running" if files.outcar else "no OUTCAR"
        return f"did not finish: {files.last_words(errors_only=True) or state}"
    if difference := mismatch(files, outcar):
        return f"files of different runs: {difference}"
    if not run.converged:
        return f"not converged: {run.n_total} steps, NELM = {outcar.nelm}"
    run.band_gap = _read(read_band_gap, files.eigenval, [])
    return None


def _fill_steps(run: ScfRun, outcar: Outcar, oszicar: IonicStep | None) -> None:
    """Steps, residuals and energies of ionic step 1: OSZICAR's, or else OUTCAR's."""
    energies, residuals, energy = outcar.first.energies, outcar.first.residuals, outcar.first.energy
    if oszicar:
        energies = tuple(step.energy for step in oszicar.steps)
        residuals = tuple(step.rms_c for step in oszicar.steps)
        energy = oszicar.E0
    printed = [n for n, residual in enumerate(residuals) if residual is not None]
    run.n_atoms = outcar.n_ions
    run.n_delay = None if outcar.nelmdl is None else abs(outcar.nelmdl)
    run.n_total = len(energies) or None
    run.n_scf = len(energies) - printed[0] if printed else None
    run.first_residual = _finite(residuals[printed[0]]) if printed else None
    run.energies = [_finite(value) for value in energies]
    run.residuals = [_finite(value) for value in residuals]
    run.energy = _finite(energy)
    run.wall_time, run.cpu_time = outcar.elapsed, outcar.cpu_time
    run.encut, run.functional = outcar.encut, _functional(outcar)
    if outcar.ispin is not None:
        run.spin_polarized = outcar.ispin == 2
        run.hubbard = any(outcar.ldauu) or any(outcar.ldauj)
    if run.spin_polarized:
        run.total_moment = _finite(oszicar.total_moment) if oszicar else None
        moments, elements = outcar.first.moments, ion_elements(outcar)
        if elements and len(elements) == len(moments) and all(map(isfinite, moments)):
            run.ion_moments, run.ion_elements = list(moments), list(elements)


def _functional(outcar: Outcar) -> str | None:
    """Tags that choose the functional; without GGA that of the PAW data sets (LEXCH)."""
    meta = str(outcar.metagga or "").strip("- ")
    if meta and meta.upper() not in ("NONE", "F"):
        return f"METAGGA = {meta}"
    chosen = str(outcar.gga or "").strip("- ")
    if chosen:
        found: str | None = f"GGA = {chosen}"
    else:
        found = f"LEXCH = {outcar.lexch}" if outcar.lexch else None
    return f"hybrid, {found}" if outcar.lhfcalc and found else found


def _fill_provenance(run: ScfRun, outcar: Outcar, messages: DensityMessages | None) -> None:
    """Initial density: OUTCAR can refute what standard output says, never replace it."""
    if messages:
        run.started_from, run.echoed_comment = messages.provenance, messages.comment
        run.orbitals_read_by_vasp = messages.orbitals_read
        run.warnings = list(messages.warnings)
        if messages.contradiction:
            run.warnings.insert(0, messages.contradiction)
    contradicted = messages is not None and messages.contradiction is not None
    if outcar.from_atoms and run.started_from != "atoms" and not contradicted:
        run.started_from = "atoms"
        run.warnings.insert(0, "OUTCAR says that the density was made, not read")


def _first_step(oszicar: Oszicar | None) -> IonicStep | None:
    return oszicar.ionic_steps[0] if oszicar and oszicar.ionic_steps else None


def _corrections(path: Path) -> int:
    """Count the corrections that custodian made, over all of its jobs."""
    text = decode_text(read_bytes(path))
    try:
        jobs = json.loads(text)
        if isinstance(jobs, list):
            return sum(len(job["corrections"]) for job in jobs)
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    reason = "not a custodian record" if text.strip() else "the file is empty"
    raise ValueError(f"{path}: {reason}")


def _version(path: Path) -> str:
    """Version of the executable in the first line of an OUTCAR, without the date of its build."""
    with open_text(path) as file:
        line = one_line(file.readline(200))
    ours = re.search(r"gpaw-vasp \S+ \(GPAW \S+\)", line)
    return ours[0] if ours else line.partition(" (build")[0].removesuffix(" complex")


def _ediff(path: Path) -> float:
    """EDIFF of an INCAR, eV."""
    return float(read_incar(path).get("EDIFF", EDIFF))


def _is_blank(path: Path | None, missing: bool = False) -> bool:
    """Whether a file holds nothing but blanks; `missing` where there is no file."""
    if path is None:
        return missing
    with open_text(path) as file:
        return not any(line.strip() for line in file)


def _read(read: Callable[[Path], T], path: Path | None, problems: list[str]) -> T | None:
    """What a reader makes of a file; None, and a line in `problems`, if it cannot be read."""
    try:
        return None if path is None else read(path)
    except UNREADABLE as error:
        text = one_line(error)
        problems.append(text if str(path) in text else f"{path}: {text}")
        return None


def _finite(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None
