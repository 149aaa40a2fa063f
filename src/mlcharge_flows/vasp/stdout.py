"""VASP's messages on standard output about its initial density.

The INCAR holds what was asked for and the OUTCAR repeats it; only these messages show what
happened. VASP echoes the first word of the first line of a CHGCAR that it accepts, which so proves
which file was read. A CHGCAR that it cannot use is dropped as a whole, with a warning, and the run
goes on from the superposition of atomic densities (ICHARG = 1) or stops (ICHARG = 11).

References
----------
VASP wiki, ICHARG, https://www.vasp.at/wiki/index.php/ICHARG; standard outputs of real runs.
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
class DensityMessages:
    """Messages of a run about its initial density, up to its first electronic step.

    Parameters
    ----------
    comment
        VASP's echo of the first line of the CHGCAR that was read, stripped; None if none was.
    magnetization
        Origin of the spin density; None without such a message (no spin).
    warnings
        Messages about a CHGCAR that was not read, or not wholly.
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
        """Origin of the initial density: ``chgcar``, ``atoms`` or ``unknown``.

        It is ``chgcar`` if a comment was echoed and no warning concerns any part of the file. A run
        that entered the main loop otherwise began with the superposition of atoms, or with the
        density of its orbitals (ICHARG = 0). A run that stopped before is ``unknown``.
        """
        if self.comment is not None and not self.warnings:
            return "chgcar"
        fell_back = bool(self.warnings) and not self.errors
        return "atoms" if self.entered or fell_back else "unknown"


def read_density_messages(path: str | Path) -> DensityMessages:
    r"""Read the messages about the initial density from VASP's standard output.

    Parameters
    ----------
    path
        Usually ``vasp.out``, plain or compressed. Read up to the first electronic step.

    Returns
    -------
    DensityMessages
        The messages.

    Raises
    ------
    OSError
        The file cannot be read.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> def messages(line):
    ...     with TemporaryDirectory() as folder:
    ...         path = Path(folder, "vasp.out")
    ...         _ = path.write_text(f" {line}\n entering main loop\n")
    ...         return read_density_messages(path)
    >>> read = messages("charge-density read from file: learned-3f2a            ")
    >>> read.provenance, read.comment
    ('chgcar', 'learned-3f2a')
    >>> messages("WARNING: chargedensity file is incomplete").provenance
    'atoms'
    """
    comment: str | None = None
    magnetization: Literal["chgcar", "atoms"] | None = None
    warnings: list[str] = []
    errors: list[str] = []
    entered = False
    with zopen(path, mode="rt", encoding="utf-8", errors="replace") as file:
        for raw in file:
            line = str(raw).strip().strip("|").strip()  # some messages of VASP 6 are in boxes
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
    return DensityMessages(comment, magnetization, tuple(warnings), tuple(errors), entered)
