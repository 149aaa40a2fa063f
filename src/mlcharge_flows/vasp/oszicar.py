"""OSZICAR: one line per electronic step, one closing line per ionic step.

References
----------
VASP wiki, OSZICAR, https://www.vasp.at/wiki/index.php/OSZICAR.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlcharge_flows.errors import MlchargeError
from mlcharge_flows.io import open_text
from mlcharge_flows.vasp.fortran import REAL, parse_column

if TYPE_CHECKING:
    from pathlib import Path

_ELECTRONIC = re.compile(
    r"\s*(?P<label>[A-Z]{2,4})\s*:\s*(?P<number>\d+|\*+)"
    rf"\s*(?P<energy>{REAL})\s*(?P<change>{REAL})\s*(?P<band_change>{REAL})"
    rf"\s*(?P<operations>\d+|\*+)\s*(?P<rms>{REAL})\s*(?P<rms_c>{REAL})?\s*$"
)
_DIRECT_MINIMIZERS = ("SDA", "CGA", "DMP")
"""Algorithms that update all orbitals at once (ALGO = All, Damped). They mix no density: their last
column is ``ort``, the overlap of gradients, under the same head rms(c)."""
_HEAD_OR_BLANK = re.compile(r"\s*(?:N(?:\s.*)?)?$")
_LABELLED = re.compile(r"\s*[A-Z]{2,4}\s*:\s*[\d*]")
_IONIC = re.compile(rf"\s*(?P<number>\d+|\*+)\s.*?F=\s*(?P<F>{REAL})\s*E0=\s*(?P<E0>{REAL})\s")
# Without spin-orbit coupling the moment is one number; non-collinear runs print three.
_MOMENT = re.compile(rf"\smag=\s*({REAL})\s*$")


class OszicarError(MlchargeError, ValueError):
    """An OSZICAR with a garbled line; the message names the file and the line."""


@dataclass(frozen=True)
class ElectronicStep:
    """One electronic step; a value that overflowed its column is nan.

    Parameters
    ----------
    label
        Algorithm: DAV (Davidson), RMM (residual minimization), CG, SDA, DMP, EIG, ...
    number
        Counted from 1 within the ionic step.
    energy
        Free energy, eV.
    change, band_change
        Change of the free energy and of the band-structure energy, eV.
    operations
        Applications of the Hamiltonian to an orbital; None where the column overflowed.
    rms
        Norm of the orbitals' residual, eV.
    rms_c
        ``|rho_out - rho_in|``; None where not printed (fixed density, the last step, algorithms
        without density mixing).
    """

    label: str
    number: int
    energy: float
    change: float
    band_change: float
    operations: int | None
    rms: float
    rms_c: float | None


@dataclass(frozen=True)
class IonicStep:
    """The electronic steps of one geometry and the line that closes them.

    Parameters
    ----------
    steps
        Electronic steps of the ground state in order. Steps of a further loop, which some tags
        (LPEAD, LCALCEPS) add within the same ionic step, are left out: its numbers restart at 1.
    F, E0
        Free energy and its extrapolation to sigma -> 0, eV; None if the step was not finished.
    total_moment
        Magnetic moment of the cell, Bohr magnetons; None if the step was not finished, without
        spin, and in non-collinear runs.
    """

    steps: tuple[ElectronicStep, ...]
    F: float | None = None
    E0: float | None = None
    total_moment: float | None = None

    @property
    def finished(self) -> bool:
        """Whether the closing line was written."""
        return self.E0 is not None

    @property
    def n_total(self) -> int:
        """Number of electronic steps, the fixed-density ones included."""
        return len(self.steps)


@dataclass(frozen=True)
class Oszicar:
    """All ionic steps of a run.

    Parameters
    ----------
    ionic_steps
        The last one is unfinished if the run was killed or still goes on.
    """

    ionic_steps: tuple[IonicStep, ...]


def read_oszicar(path: str | Path) -> Oszicar:
    """Read an OSZICAR, plain or compressed, also of a run that was killed.

    A last line that was cut while being written is left out.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    Oszicar
        Its steps.

    Raises
    ------
    OszicarError
        A line in the middle of the file starts like an electronic step but is not one, the file
        holds several runs, or text without any step.
    OSError
        The file cannot be read.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> lines = '''       N       E           dE         d eps       ncg     rms          rms(c)
    ... DAV:   1     0.482340968417E+01    0.48234E+01   -0.28645E+03  1392   0.498E+02
    ... RMM:   2    -0.108468770417E+02   -0.38230E-06   -0.30345E-06   659   0.128E-02 0.1E-03
    ...    1 F= -.10846877E+02 E0= -.10846877E+02  d E =-.108469E+02
    ... '''
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "OSZICAR")
    ...     _ = path.write_text(lines)
    ...     run = read_oszicar(path)
    >>> run.ionic_steps[0].n_total, run.ionic_steps[0].E0, run.ionic_steps[0].steps[1].rms_c
    (2, -10.846877, 0.0001)
    """
    ionic_steps: list[IonicStep] = []
    steps: list[ElectronicStep] = []
    further = False  # in a further loop of the same ionic step
    is_blank = True
    ionic = 0
    cut: int | None = None
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            is_blank = is_blank and (not line.endswith("\n") or bool(_HEAD_OR_BLANK.match(line)))
            if cut is not None:
                raise OszicarError(f"{path}: line {cut} is not an electronic step")
            # Without its line end, even a line that can be read may lack digits.
            if (match := _ELECTRONIC.match(line)) and line.endswith("\n"):
                step = _electronic_step(match, previous=steps[-1].number if steps else 0)
                further = further or bool(steps and step.number <= steps[-1].number)
                if not further:
                    steps.append(step)
            elif _LABELLED.match(line):
                cut = number  # fine if nothing follows: the run was killed while writing
            elif match := _IONIC.match(line):
                own = match["number"]
                if own.isdecimal() and int(own) <= ionic:
                    raise OszicarError(
                        f"{path}: line {number} is of ionic step {own} again: the file holds the "
                        "steps of several runs"
                    )
                ionic = int(own) if own.isdecimal() else ionic
                energies = parse_column(match["F"]), parse_column(match["E0"])
                moment = _MOMENT.search(line)
                ionic_steps.append(
                    IonicStep(tuple(steps), *energies, parse_column(moment[1]) if moment else None)
                )
                steps, further = [], False
    if steps:
        ionic_steps.append(IonicStep(tuple(steps)))
    if not ionic_steps and not is_blank and cut is None:
        raise OszicarError(f"{path}: holds no electronic step; is it an OSZICAR?")
    return Oszicar(tuple(ionic_steps))


def _electronic_step(match: re.Match[str], previous: int) -> ElectronicStep:
    number, operations = match["number"], match["operations"]
    mixes = match["rms_c"] and match["label"] not in _DIRECT_MINIMIZERS
    return ElectronicStep(
        label=match["label"],
        number=previous + 1 if number.startswith("*") else int(number),
        energy=parse_column(match["energy"]),
        change=parse_column(match["change"]),
        band_change=parse_column(match["band_change"]),
        operations=None if operations.startswith("*") else int(operations),
        rms=parse_column(match["rms"]),
        rms_c=parse_column(match["rms_c"]) if mixes else None,
    )
