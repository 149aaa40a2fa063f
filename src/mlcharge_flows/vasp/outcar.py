"""OUTCAR: projector channels, the stop rule, electronic steps, timing, origin of the density.

OUTCAR prints ``initial charge density was supplied:`` for a density read from CHGCAR and for a
superposition of atoms alike, and repeats ICHARG as asked for. But in the second case, and only
then, the next line is ``charge density of overlapping atoms calculated``. So it shows that a run
fell back to atoms even where its standard output is lost; which file was read it does not show,
since only standard output echoes the comment.

References
----------
VASP wiki, OUTCAR, https://www.vasp.at/wiki/index.php/OUTCAR; lines of real files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from monty.io import zopen

from mlcharge_flows.errors import MlchargeError
from mlcharge_flows.vasp.fortran import REAL, parse_column

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_TITEL = re.compile(r"^\s*TITEL\s*=\s*(.*?)\s*$")
_CHANNEL = re.compile(r"^\s*non local Contribution for L=\s*(\d+)\s+read in")
_N_CHANNELS = re.compile(r"number of l-projection\s+operators is LMAX\s*=\s*(\d+)")
_N_IONS = re.compile(r"number of ions\s+NIONS\s*=\s*(\d+)")
_NELM = re.compile(r"^\s*NELM\s*=\s*(\d+);\s*NELMIN\s*=\s*(\d+);\s*NELMDL\s*=\s*(-?\d+)")
_EDIFF = re.compile(rf"^\s*EDIFF\s*=\s*({REAL})\s+stopping-criterion")
_LMAXMIX = re.compile(r"^\s*LMAXMIX\s*=\s*(-?\d+)")
_ENCUT = re.compile(rf"^\s*ENCUT\s*=\s*({REAL})\s*eV")
_NELECT = re.compile(rf"^\s*NELECT\s*=\s*({REAL})")
_START = re.compile(r"^\s*initial charge (?:density was supplied|from wavefunction)")
# "magnetization density of overlapping atoms" is printed for a CHGCAR without spin, too.
_SUPERPOSED = re.compile(r"^\s*charge density of overlapping atoms calculated")
_FROM_ORBITALS = re.compile(r"^\s*initial charge from wavefunction")
_ITERATION = re.compile(r"^-+ Iteration\s+(\d+)\(\s*(\d+)\)")
_RMS = re.compile(rf"^\s*rms\(total\)\s*=\s*({REAL})")
# One blank: the closing block of an ionic step repeats the line with two, and fewer digits.
_FREE_ENERGY = re.compile(rf"^\s*free energy\s+TOTEN\s*=\s*({REAL})")
_CHANGE = re.compile(rf"^\s*total energy-change \(2\. order\)\s*:\s*({REAL})\s*\(\s*({REAL})\)")
_SIGMA0 = re.compile(rf"energy without entropy.*energy\(sigma->0\)\s*=\s*({REAL})")
_EDIFF_REACHED = "aborting loop because EDIFF is reached"
_ELAPSED = re.compile(rf"^\s*Elapsed time \(sec\):\s*({REAL})")


EDIFF = 1e-4
"""VASP's default of EDIFF, eV (https://www.vasp.at/wiki/index.php/EDIFF)."""


class OutcarError(MlchargeError, ValueError):
    """An OUTCAR that contradicts itself; the message names the file."""


@dataclass(frozen=True)
class Outcar:
    """Header, ionic step 1 and closing lines of an OUTCAR; None where the file does not say.

    Parameters
    ----------
    titels
        TITEL of each data set, in the order of the POTCAR.
    channels
        l of each projector channel of each data set: the layout of the augmentation occupancies.
    n_ions
        NIONS.
    n_electrons
        NELECT.
    encut
        Plane-wave cut-off, eV.
    lmaxmix
        Highest L of the occupancies that are mixed and written to CHGCAR.
    nelm, nelmdl
        Limit of electronic steps; fixed-density steps as printed, negative for "first ionic step
        only". VASP may do 5 where it printed 0 (ISTART = 1 without usable orbitals).
    ediff
        Stop rule for the change of the free energy and of the band-structure energy, eV.
    from_atoms
        Whether VASP says that it superposed atomic densities (or used orbitals); None if it did
        not get that far.
    energies
        Free energy of each electronic step of ionic step 1, eV.
    residuals
        ``rms(total)`` of these steps: the rms(c) of OSZICAR; None where not printed.
    change, band_change
        Change of the free energy and of the band-structure energy in the last of these steps, eV.
    energy
        Energy extrapolated to sigma -> 0 of the last of these steps, eV.
    ediff_reached
        Whether OUTCAR says of ionic step 1 that the loop was aborted because EDIFF is reached.
        VASP 5 says so also when NELM steps are used up.
    elapsed
        Wall time of the whole run, s; VASP prints it last, so None means that it did not finish.
    """

    titels: tuple[str, ...] = ()
    channels: tuple[tuple[int, ...], ...] = ()
    n_ions: int | None = None
    n_electrons: float | None = None
    encut: float | None = None
    lmaxmix: int | None = None
    nelm: int | None = None
    nelmdl: int | None = None
    ediff: float | None = None
    from_atoms: bool | None = None
    energies: tuple[float, ...] = ()
    residuals: tuple[float | None, ...] = ()
    change: float | None = None
    band_change: float | None = None
    energy: float | None = None
    ediff_reached: bool = False
    elapsed: float | None = None

    @property
    def converged(self) -> bool:
        """Whether ionic step 1 met the stop rule, as far as OUTCAR shows it."""
        return self.stop_rule_met(len(self.energies), self.change, self.band_change)

    def stop_rule_met(
        self,
        n_steps: int,
        change: float | None,
        band_change: float | None,
        ediff: float = EDIFF,
    ) -> bool:
        """Whether ionic step 1 met the stop rule, given the changes in its last step.

        Parameters
        ----------
        n_steps
            Electronic steps done.
        change
            Change of the free energy in the last step, eV; None if unknown.
        band_change
            Change of the band-structure energy in the last step, eV; None if unknown.
        ediff
            Stop rule where OUTCAR does not print it, eV.

        Returns
        -------
        bool
            True if OUTCAR says that EDIFF was reached, and either fewer than NELM steps were done
            or both changes are below EDIFF.

        References
        ----------
        VASP wiki, EDIFF and NELM, https://www.vasp.at/wiki/index.php/EDIFF.
        """
        if not self.ediff_reached:
            return False
        if self.nelm is None or n_steps < self.nelm:
            return True
        known = [abs(value) for value in (change, band_change) if value is not None]
        return bool(known) and max(known) < (self.ediff or ediff)


def read_outcar(path: str | Path) -> Outcar:
    """Read an OUTCAR, plain or compressed, also of a run that was killed.

    Parameters
    ----------
    path
        The file; read line by line, so its size does not matter.

    Returns
    -------
    Outcar
        What the file says.

    Raises
    ------
    OutcarError
        A data set announces another number of channels than it lists.
    OSError
        The file cannot be read.
    """
    with zopen(path, mode="rt", encoding="utf-8", errors="replace") as file:
        lines = (str(line) for line in file)
        # takewhile drops the first Iteration line, which is step 1(1) in every run.
        header = _read_header(path, takewhile(lambda line: not _ITERATION.match(line), lines))
        return Outcar(**header, **_read_steps(lines))


def _read_header(path: str | Path, lines: Iterable[str]) -> dict[str, Any]:
    titels: list[str] = []
    channels: list[list[int]] = []
    found: dict[str, Any] = {}
    for line in lines:
        if match := _TITEL.match(line):
            titels.append(match[1])
            channels.append([])
        elif match := _CHANNEL.match(line):
            channels[-1].append(int(match[1]))
        elif match := _N_CHANNELS.search(line):
            if len(channels[-1]) != int(match[1]):
                raise OutcarError(
                    f"{path}: {titels[-1]} lists {len(channels[-1])} channels, LMAX = {match[1]}"
                )
        elif match := _N_IONS.search(line):
            found["n_ions"] = int(match[1])
        elif match := _NELM.match(line):
            found["nelm"], found["nelmdl"] = int(match[1]), int(match[3])
        elif match := _EDIFF.match(line):
            found["ediff"] = parse_column(match[1])
        elif match := _LMAXMIX.match(line):
            found["lmaxmix"] = int(match[1])
        elif match := _ENCUT.match(line):
            found["encut"] = parse_column(match[1])
        elif match := _NELECT.match(line):
            found["n_electrons"] = parse_column(match[1])
        elif _START.match(line):
            found["from_atoms"] = bool(_FROM_ORBITALS.match(line))
        elif _SUPERPOSED.match(line):
            found["from_atoms"] = True
    return {"titels": tuple(titels), "channels": tuple(map(tuple, channels)), **found}


def _read_steps(lines: Iterable[str]) -> dict[str, Any]:
    energies: list[float] = []
    residuals: list[float | None] = []
    changes: list[tuple[float, float] | None] = []
    found: dict[str, Any] = {}
    residual: float | None = None
    change: tuple[float, float] | None = None
    number = 1
    first = True  # still in the ground state of ionic step 1
    for line in lines:
        if match := _ITERATION.match(line):
            # In a further loop of the same ionic step (LPEAD, LCALCEPS) the numbers restart at 1.
            first = first and int(match[1]) == 1 and int(match[2]) > number
            number, residual, change = int(match[2]), None, None
        elif match := _ELAPSED.match(line):
            found["elapsed"] = parse_column(match[1])
        elif not first:
            continue
        elif match := _RMS.match(line):
            residual = parse_column(match[1])
        elif match := _CHANGE.match(line):
            change = parse_column(match[1]), parse_column(match[2])
        elif match := _FREE_ENERGY.match(line):
            energies.append(parse_column(match[1]))
            residuals.append(residual)
            changes.append(change)
        elif match := _SIGMA0.search(line):
            found["energy"] = parse_column(match[1])
        elif _EDIFF_REACHED in line:
            found["ediff_reached"] = True
    if changes and changes[-1]:
        found["change"], found["band_change"] = changes[-1]
    elif len(energies) > 1:
        found["change"] = energies[-1] - energies[-2]
    return {"energies": tuple(energies), "residuals": tuple(residuals), **found}
