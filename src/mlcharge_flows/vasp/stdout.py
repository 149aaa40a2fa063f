"""What VASP says on standard output about the density it starts from.

INCAR tells what was asked for and OUTCAR repeats it; only the messages tell what happened. VASP
echoes the first line of a CHGCAR that it accepts, so that line carries the proof of which file
was read. A CHGCAR that it cannot use is dropped as a whole, with a warning, and the run goes on
from the superposition of atomic densities (ICHARG = 1) or stops (ICHARG = 11).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from monty.io import zopen

if TYPE_CHECKING:
    from pathlib import Path

Provenance = Literal["chgcar", "atoms", "unknown"]

_READ = re.compile(r"charge-density read from file: ?(.*)")
_NOT_READ = re.compile(
    r"charge-?density file is incomplete"
    r"|dimensions on CHGCAR file are different"
    r"|number of atoms are different on CHGCAR"
    r"|RD_RHO_PAW.*data corrupt"
    r"|PAW occupancies are missing"
    r"|charge density could not be read from file"
)
_MAGNETIZATION_READ = re.compile(r"magnetization density read from file")
_MAGNETIZATION_FROM_ATOMS = re.compile(r"magnetization density of overlapping atoms calculated")
_ENTERED = re.compile(r"entering main loop")
_ERROR = re.compile(r"\bERROR\b:?\s*(.*)")
_FIRST_STEP = re.compile(r"\s*[A-Z]{2,4}\s*:\s+1\s")


@dataclass(frozen=True)
class StartMessages:
    """The messages of a run up to its first electronic step.

    Parameters
    ----------
    comment
        First line of the CHGCAR that was read, stripped; None if none was.
    magnetization
        Where the spin density came from; None if nothing was said (no spin).
    warnings
        Messages about a CHGCAR that was not, or badly, read.
    errors
        Lines that VASP marks as errors.
    entered
        Whether the main loop was entered.
    """

    comment: str | None = None
    magnetization: Literal["chgcar", "atoms"] | None = None
    warnings: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    entered: bool = False

    @property
    def provenance(self) -> Provenance:
        """Density that the run started from.

        ``chgcar`` takes an echoed comment and no complaint about any part of the file. A run that
        entered the main loop without that started from atoms (or from orbitals, ICHARG = 0: not
        from a CHGCAR either). A run that stopped before is ``unknown``.
        """
        if self.comment is not None and not self.warnings:
            return "chgcar"
        fell_back = bool(self.warnings) and not self.errors
        return "atoms" if self.entered or fell_back else "unknown"


def read_start(path: str | Path) -> StartMessages:
    r"""Read the start messages from VASP's standard output, plain or compressed.

    Parameters
    ----------
    path
        Usually ``vasp.out``. Read up to the first electronic step.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> def start(line):
    ...     with TemporaryDirectory() as folder:
    ...         path = Path(folder, "vasp.out")
    ...         _ = path.write_text(f" {line}\n entering main loop\n")
    ...         return read_start(path)
    >>> messages = start("charge-density read from file: learned 3f2a            ")
    >>> messages.provenance, messages.comment
    ('chgcar', 'learned 3f2a')
    >>> start("WARNING: chargedensity file is incomplete").provenance
    'atoms'
    """
    comment: str | None = None
    magnetization: Literal["chgcar", "atoms"] | None = None
    warnings: list[str] = []
    errors: list[str] = []
    entered = False
    with zopen(path, mode="rt", encoding="utf-8", errors="replace") as file:
        for raw in file:
            line = str(raw).strip().strip("|").strip()  # VASP 6 draws boxes around some messages
            if match := _READ.search(line):
                comment = match[1].strip()
            elif _MAGNETIZATION_READ.search(line):
                magnetization = "chgcar"
            elif _MAGNETIZATION_FROM_ATOMS.search(line):
                magnetization = "atoms"
            elif _NOT_READ.search(line):
                warnings.append(line)
            elif _ENTERED.search(line):
                entered = True
            elif _FIRST_STEP.match(line):
                entered = True
                break
            if _ERROR.search(line):
                errors.append(line)
    return StartMessages(comment, magnetization, tuple(warnings), tuple(errors), entered)
