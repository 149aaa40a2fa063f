"""What custodian does for a run with an initial density, and with initial orbitals.

If VASP refuses the orbitals, or the SCF diverges from them, the run is restarted once from the
density alone. If the SCF diverges from the density, the run is restarted once from atomic
densities. custodian's own handlers would change the physics (k-points, symmetry, algorithm) to mend
what density and orbitals have caused; these come first, and leave the others nothing to correct.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from custodian.custodian import ErrorHandler, Validator
from custodian.utils import backup
from custodian.vasp.handlers import VASP_BACKUP_FILES, VaspErrorHandler
from pymatgen.io.vasp import Incar

from mlcharge_flows.atomate2.schemas import RunProvenance
from mlcharge_flows.atomate2.staging import archive_initial_chgcar, finalize_run
from mlcharge_flows.sources.initial_chgcar import is_initial_chgcar
from mlcharge_flows.vasp.density_messages import DensityMessages, read_density_messages
from mlcharge_flows.vasp.incar import read_incar
from mlcharge_flows.vasp.oszicar import IonicStep, read_oszicar

if TYPE_CHECKING:
    from collections.abc import Iterator

# The names are custodian's, which knows how each version of VASP words them.
_ERRORS = (
    "brmix",
    "edddav",
    "eddiag",
    "eddrmm",
    "grad_not_orth",
    "pdsyevx",
    "pssyevx",
    "subspacematrix",
    "zheev",
    "zpotrf",
)
_MESSAGES = [text for error in _ERRORS for text in VaspErrorHandler.error_msgs[error]]
# Only the numbers of a step: VASP 6 prints the species Na and N as "NaN ".
_NAN_IN_STEP = re.compile(r"\s*[A-Z]{2,4}\s*:\s+\d+\s.*\bNaN\b|\s+\d+\s+F=.*\bNaN\b", re.IGNORECASE)
_IONIC_STEP_ENDS = re.compile(r"\s+\d+\s+F=")
_BAD_ORBITALS = "bad initial orbitals"
_NELM, _EDIFF = 60, 1e-4
"""VASP's defaults."""


class DivergedDensityHandler(ErrorHandler):
    """Restart once from atomic densities if the SCF diverges from the initial density.

    Signs, all in ionic step 1, are BRMIX, sub-space, ZHEGV, ZHEEV and ZPOTRF messages, NaN in the
    numbers of a step, and NELM reached without convergence. A run that did not read its initial
    density began from atoms, and is left to the other handlers, as is one whose density is to be
    kept (ICHARG > 10).
    """

    is_monitor = True
    max_num_corrections = 1
    raise_on_max = False

    def check(self, directory: str = "./") -> bool:
        """Whether the SCF diverges from the initial density.

        Parameters
        ----------
        directory
            Folder of the run.

        Returns
        -------
        bool
            True if the run is to be restarted.
        """
        return self._fault(Path(directory)) is not None

    def correct(self, directory: str = "./") -> dict[str, Any]:
        """Back up the run, remove what followed from the density, and set ICHARG = 2.

        Parameters
        ----------
        directory
            Folder of the run.

        Returns
        -------
        dict
            Errors and actions, as custodian lists them.
        """
        folder = Path(directory)
        fault = self._fault(folder) or "bad initial density"
        backup(VASP_BACKUP_FILES, directory=directory)
        provenance = RunProvenance.read_if_possible(folder)
        if provenance is not None:
            archive_initial_chgcar(folder, provenance)
            provenance.icharg, provenance.restart_reason = 2, fault
        (folder / "CHGCAR").unlink(missing_ok=True)
        actions = _prepare_restart(folder, provenance, {"ICHARG": 2, "ISTART": 0})
        return {"errors": [f"bad initial density: {fault}"], "actions": actions}

    def _fault(self, folder: Path) -> str | None:
        """What went wrong in ionic step 1; None if nothing did, or the density is not the cause."""
        return self._sign(folder) if _reads_initial_density(folder) else None

    def _sign(self, folder: Path) -> str | None:
        for name in ("vasp.out", "OSZICAR"):
            for line in _first_ionic_step(folder / name):
                for message in _MESSAGES:
                    if message in line:
                        return message
                if _NAN_IN_STEP.match(line):
                    return f"NaN in {name}"
        step = _step(folder)
        incar = read_incar(folder / "INCAR")
        if step and step.finished and step.n_total >= int(incar.get("NELM", _NELM)):
            last, ediff = step.steps[-1], float(incar.get("EDIFF", _EDIFF))
            if not max(abs(last.change), abs(last.band_change)) < ediff:
                return f"not converged in NELM = {step.n_total} steps"
        return None


class CrashedDensityHandler(DivergedDensityHandler):
    """Restart once from atomic densities if VASP stops in ionic step 1, or reading the CHGCAR.

    Only the end of a run shows that, so this handler does not monitor. A run that custodian has
    corrected may have been stopped by it, and is left alone.
    """

    is_monitor = False

    def _fault(self, folder: Path) -> str | None:
        if _is_corrected(folder):
            return None
        provenance = RunProvenance.read_if_possible(folder)
        if provenance and _can_restart(provenance) and _runtime_names_chgcar(folder):
            return "VASP stopped while reading the CHGCAR"
        return super()._fault(folder)

    def _sign(self, folder: Path) -> str | None:
        step = _step(folder)
        return None if step and step.finished else "VASP stopped in ionic step 1"


class DivergedOrbitalsHandler(DivergedDensityHandler):
    """Restart once from the initial density alone if VASP refuses the initial orbitals.

    Refused are those that VASP says it did not read, or that stop it. The signs of a diverged SCF
    count as well, since the orbitals may be their cause.
    """

    def correct(self, directory: str = "./") -> dict[str, Any]:
        """Back up the run, remove the WAVECAR, and set ISTART = 0 without the delay of orbitals.

        Parameters
        ----------
        directory
            Folder of the run.

        Returns
        -------
        dict
            Errors and actions, as custodian lists them.
        """
        folder = Path(directory)
        fault = self._fault(folder) or "refused"
        backup(VASP_BACKUP_FILES, directory=directory)
        provenance = RunProvenance.read_if_possible(folder)
        if provenance is not None:
            provenance.orbitals_restart_reason = fault
        actions = _prepare_restart(folder, provenance, {"ISTART": 0})
        return {"errors": [f"{_BAD_ORBITALS}: {fault}"], "actions": actions}

    def _fault(self, folder: Path) -> str | None:
        """What went wrong; None if nothing did, or without a density to restart from."""
        provenance, stdout = RunProvenance.read_if_possible(folder), folder / "vasp.out"
        if provenance is None or not provenance.has_initial_orbitals or not stdout.is_file():
            return None
        is_kept = provenance.existing_density_reason is not None  # an inherited CHGCAR
        if not (is_kept or is_initial_chgcar(folder / "CHGCAR")):
            return None
        return self._orbital_fault(folder, read_density_messages(stdout))

    def _orbital_fault(self, folder: Path, messages: DensityMessages) -> str | None:
        stopped = [line for line in messages.errors if "WAVECAR" in line]
        if refused := [*stopped, *messages.orbital_warnings]:
            return refused[0]
        return self._sign(folder) if messages.orbitals_read else None


class CrashedOrbitalsHandler(DivergedOrbitalsHandler):
    """Restart once from the initial density alone if VASP stops over the initial orbitals.

    That is while it reads the WAVECAR, or between that and the end of ionic step 1. Only the end of
    a run shows that, so this handler does not monitor. A run that custodian has corrected may have
    been stopped by it, and is left alone.
    """

    is_monitor = False

    def _orbital_fault(self, folder: Path, messages: DensityMessages) -> str | None:
        step = _step(folder)
        if _is_corrected(folder) or (step and step.finished) or messages.errors:
            return None
        if messages.orbitals_read and messages.entered:
            return "VASP stopped in ionic step 1"
        if _runtime_names_chgcar(folder) or messages.entered:
            return None
        is_found = "WAVECAR" in (folder / "vasp.out").read_text(errors="replace")
        return "VASP stopped while reading the WAVECAR" if is_found else None


class InitialDensityValidator(Validator):
    """Finalize a run when VASP has ended, and refuse one whose fixed density was not read.

    This validator comes first: the provenance is complete, and the initial CHGCAR archived,
    whatever the others find.
    """

    def check(self, directory: str = "./") -> bool:
        """Whether the run has no result: ICHARG > 10, and VASP did not read the density.

        Parameters
        ----------
        directory
            Folder of the run.

        Returns
        -------
        bool
            True stops the job.
        """
        provenance = finalize_run(Path(directory))
        return provenance is not None and provenance.unread_density is not None


def _reads_initial_density(folder: Path) -> bool:
    """Whether VASP printed the comment of the initial density, and may be restarted."""
    provenance, stdout = RunProvenance.read_if_possible(folder), folder / "vasp.out"
    if provenance is None or not _can_restart(provenance) or not stdout.is_file():
        return False
    messages = read_density_messages(stdout)
    return messages.provenance == "chgcar" and provenance.is_echoed(messages.comment)


def _can_restart(provenance: RunProvenance) -> bool:
    return (
        provenance.initial_density is not None
        and provenance.restart_reason is None
        and provenance.icharg == 1
    )


def _runtime_names_chgcar(folder: Path) -> bool:
    """Whether the Fortran run-time library stopped the program over the file."""
    path = folder / "std_err.txt"
    return path.is_file() and "CHGCAR" in path.read_text(errors="replace")


def _is_corrected(folder: Path) -> bool:
    """Whether custodian has corrected the run; one of ours for bad orbitals does not count."""
    path = folder / "custodian.json"
    try:
        jobs = json.loads(path.read_text()) if path.is_file() else []
        corrections = [correction for job in jobs for correction in job["corrections"]]
        return any(not str(*one["errors"][:1]).startswith(_BAD_ORBITALS) for one in corrections)
    except (OSError, ValueError, KeyError, TypeError):
        return True  # what custodian did is not known


def _prepare_restart(
    folder: Path, provenance: RunProvenance | None, tags: dict[str, int]
) -> list[dict[str, Any]]:
    """Remove the outputs of a run, and put its own delay back; custodian's actions."""
    for name in ("CHG", "WAVECAR", "OUTCAR", "OSZICAR", "CONTCAR", "vasprun.xml"):
        (folder / name).unlink(missing_ok=True)
    for name in ("vasp.out", "std_err.txt"):
        (folder / name).write_text("")
    incar = {**read_incar(folder / "INCAR"), **tags}
    if provenance is not None:
        if provenance.added_tags.pop("NELMDL", None) is not None:
            incar.pop("NELMDL", None)
            if (own := provenance.replaced_tags.pop("NELMDL", None)) is not None:
                incar["NELMDL"] = own
        provenance.added_tags |= {t: v for t, v in tags.items() if t in provenance.added_tags}
        provenance.write(folder)
    Incar(incar).write_file(folder / "INCAR")
    return [{"dict": "INCAR", "action": {"_set": tags}}]


def _first_ionic_step(path: Path) -> Iterator[str]:
    """Lines of a log up to the end of ionic step 1."""
    if path.is_file():
        with path.open(errors="replace") as file:
            for line in file:
                yield line
                if _IONIC_STEP_ENDS.match(line):
                    return


def _step(folder: Path) -> IonicStep | None:
    """Ionic step 1 of OSZICAR; None if there is none, or a line of it is garbled."""
    path = folder / "OSZICAR"
    try:
        steps = read_oszicar(path).ionic_steps if path.is_file() else ()
    except ValueError:
        return None
    return steps[0] if steps else None
