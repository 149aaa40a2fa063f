"""After VASP, before anything parses: where the run started, and its start taken out of the way.

With LCHARG = F the CHGCAR that a run started from is still there when it ends, looks like its
result, and would be listed, stored and copied as one.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from custodian.custodian import Validator
from monty.os.path import zpath

from mlcharge_flows.atomate2.provenance import StartRecord
from mlcharge_flows.vasp.chgcar_header import header_comment
from mlcharge_flows.vasp.stdout import read_density_messages

if TYPE_CHECKING:
    from mlcharge_flows.sources.start import StartDocument

KEPT = "mlcharge.start"
"""Name of a start after its run. No parser may take it for a CHGCAR, so it has none in it."""


def conclude(folder: Path) -> StartRecord | None:
    """Complete the record of a run that has ended, and rename its start; safe to repeat.

    Parameters
    ----------
    folder
        Run folder.

    Returns
    -------
    StartRecord
        The record; None if the run has none.
    """
    record = StartRecord.read(folder)
    if record is None:
        return None
    stdout = Path(zpath(folder / "vasp.out"))
    if stdout.is_file():
        messages = read_density_messages(stdout)
        record.started_from, record.warnings = messages.provenance, list(messages.warnings)
        if record.orbitals_inherited and messages.provenance == "atoms":
            # Nothing about a CHGCAR: VASP made the density from the orbitals that it has.
            record.started_from = "orbitals"
        if record.start is not None and record.start.failure is None:
            record.used = messages.provenance == "chgcar" and is_comment(
                messages.comment, record.start
            )
    set_aside(folder, record)
    record.write(folder)
    return record


def set_aside(folder: Path, record: StartRecord) -> None:
    """Rename a start that VASP has not replaced; if it has, the document names it no longer."""
    start, path, kept = record.start, folder / "CHGCAR", folder.absolute() / KEPT
    if start is None or start.path is None:
        return
    mine = Path(start.path).parent == folder.absolute()
    if is_start(path, start):
        path.replace(kept)
        start.path = str(kept) if mine else start.path
    elif mine and not kept.is_file():
        start.path = None


def is_start(path: Path, start: StartDocument) -> bool:
    """Whether a CHGCAR is this start, by the hash in its first line."""
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            return is_comment(file.readline(200), start)
    except FileNotFoundError:
        return False


def is_comment(comment: str | None, start: StartDocument) -> bool:
    """Whether a first line, as written or as echoed by VASP, is that of a start."""
    return (
        comment is not None
        and start.comment is not None
        and header_comment(comment) == header_comment(start.comment)
    )


class StartValidator(Validator):
    """Custodian's last look at a run: concludes it, and refuses a density that was not read.

    It comes first, so that the record is complete and the start renamed whatever the others find.
    """

    def check(self, directory: str = "./") -> bool:
        """Conclude the run; True stops the job: ICHARG > 10, and VASP did not read the density."""
        record = conclude(Path(directory))
        return record is not None and record.not_read is not None
