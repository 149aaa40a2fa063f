"""Custodian handlers for a run that its start has spoilt: once again, from atoms.

custodian's own handlers would change the physics (k-points, symmetry, algorithm) to mend what the
density has done. These come first and leave them nothing to see.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from custodian.custodian import ErrorHandler
from custodian.utils import backup
from custodian.vasp.handlers import VASP_BACKUP_FILES, VaspErrorHandler
from pymatgen.io.vasp import Incar

from mlcharge_flows.atomate2.finalize import is_comment, set_aside
from mlcharge_flows.atomate2.provenance import StartRecord
from mlcharge_flows.vasp.incar import read_incar
from mlcharge_flows.vasp.oszicar import IonicStep, read_oszicar
from mlcharge_flows.vasp.stdout import read_density_messages

if TYPE_CHECKING:
    from collections.abc import Iterator

# The names are custodian's, and so it knows how each version of VASP words them.
_SIGNS = (
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
_MESSAGES = [text for sign in _SIGNS for text in VaspErrorHandler.error_msgs[sign]]
_NAN = re.compile(r"\bNaN\b", re.IGNORECASE)
_IONIC_STEP_ENDS = re.compile(r"\s+\d+\s+F=")
_NELM, _EDIFF = 60, 1e-4
"""VASP's defaults."""


class BadStartHandler(ErrorHandler):
    """Restart from atoms when ionic step 1 goes wrong after VASP has read the start.

    Signs are BRMIX, sub-space, ZHEGV, ZHEEV and ZPOTRF messages, NaN, and NELM reached without
    convergence. A start that VASP did not read is no cause to restart, it began from atoms then;
    and a density that is to be kept (ICHARG > 10) cannot be replaced.
    """

    is_monitor = True
    max_num_corrections = 1
    raise_on_max = False

    def check(self, directory: str = "./") -> bool:
        """Whether the start has spoilt the run."""
        return self._fault(Path(directory)) is not None

    def correct(self, directory: str = "./") -> dict[str, Any]:
        """Back up, drop what the start has led to, and let VASP superpose atoms."""
        folder = Path(directory)
        fault = self._fault(folder) or "bad start"
        backup(VASP_BACKUP_FILES, directory=directory)
        record = StartRecord.read(folder)
        if record is not None:
            set_aside(folder, record)
            record.icharg, record.restarted = 2, fault
            record.write(folder)
        for name in ("CHGCAR", "CHG", "WAVECAR", "OUTCAR", "OSZICAR", "CONTCAR", "vasprun.xml"):
            (folder / name).unlink(missing_ok=True)
        for name in ("vasp.out", "std_err.txt"):
            (folder / name).write_text("")
        incar = {**read_incar(folder / "INCAR"), "ICHARG": 2, "ISTART": 0}
        Incar(incar).write_file(folder / "INCAR")
        return {
            "errors": [f"bad start: {fault}"],
            "actions": [{"dict": "INCAR", "action": {"_set": {"ICHARG": 2, "ISTART": 0}}}],
        }

    def _fault(self, folder: Path) -> str | None:
        """What went wrong in ionic step 1; None if nothing did, or the start is not the cause."""
        return self._sign(folder) if _runs_from_its_start(folder) else None

    def _sign(self, folder: Path) -> str | None:
        for name in ("vasp.out", "OSZICAR"):
            for line in _first_ionic_step(folder / name):
                for message in _MESSAGES:
                    if message in line:
                        return message
                if _NAN.search(line):
                    return f"NaN in {name}"
        step = _steps(folder)
        incar = read_incar(folder / "INCAR")
        if step and step.finished and step.n_total >= int(incar.get("NELM", _NELM)):
            last, ediff = step.steps[-1], float(incar.get("EDIFF", _EDIFF))
            if not max(abs(last.change), abs(last.band_change)) < ediff:
                return f"not converged in NELM = {step.n_total} steps"
        return None


class CrashedStartHandler(BadStartHandler):
    """Restart from atoms when VASP stops within ionic step 1, or while it reads the start.

    It takes the end of the run to know, so this one does not monitor. Nor does it know whether a
    run stopped or was stopped: once custodian has corrected anything, it stays out of the way.
    """

    is_monitor = False

    def _fault(self, folder: Path) -> str | None:
        record = StartRecord.read(folder)
        if _corrected(folder):
            return None
        if record and record.start and _may_restart(record) and _names_chgcar(folder):
            return "VASP stopped while reading the CHGCAR"
        return super()._fault(folder)

    def _sign(self, folder: Path) -> str | None:
        step = _steps(folder)
        return None if step and step.finished else "VASP stopped in ionic step 1"


def _runs_from_its_start(folder: Path) -> bool:
    record, stdout = StartRecord.read(folder), folder / "vasp.out"
    if record is None or record.start is None or not _may_restart(record) or not stdout.is_file():
        return False
    messages = read_density_messages(stdout)
    return messages.provenance == "chgcar" and is_comment(messages.comment, record.start)


def _may_restart(record: StartRecord) -> bool:
    return record.restarted is None and record.icharg == 1


def _names_chgcar(folder: Path) -> bool:
    """Whether the Fortran run-time stopped the program over the file."""
    path = folder / "std_err.txt"
    return path.is_file() and "CHGCAR" in path.read_text(errors="replace")


def _corrected(folder: Path) -> bool:
    path = folder / "custodian.json"
    jobs = json.loads(path.read_text()) if path.is_file() else []
    return any(job["corrections"] for job in jobs)


def _first_ionic_step(path: Path) -> Iterator[str]:
    """Lines of a log up to the end of ionic step 1."""
    if path.is_file():
        with path.open(errors="replace") as file:
            for line in file:
                yield line
                if _IONIC_STEP_ENDS.match(line):
                    return


def _steps(folder: Path) -> IonicStep | None:
    path = folder / "OSZICAR"
    try:
        steps = read_oszicar(path).ionic_steps if path.is_file() else ()
    except ValueError:  # a garbled line: whatever it means, it is no finished step
        return None
    return steps[0] if steps else None
