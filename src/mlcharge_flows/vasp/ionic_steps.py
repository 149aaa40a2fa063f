"""Ionic steps of an OUTCAR: electronic steps, energies, geometry and moments of first and last.

CHGCAR holds the density of the last ionic step, at the geometry that OUTCAR prints with its forces.

References
----------
VASP wiki, OUTCAR and CHGCAR, https://www.vasp.at/wiki/index.php/CHGCAR; lines of real files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlcharge_flows.vasp.fortran import REAL, parse_column

if TYPE_CHECKING:
    from collections.abc import Iterable

ITERATION = re.compile(r"^-+ Iteration\s+(\d+)\(\s*(\d+)\)")
"""First line of an electronic step: the numbers of the ionic and of the electronic step."""
_RMS = re.compile(rf"^\s*rms\(total\)\s*=\s*({REAL})")
# One blank: the closing block of an ionic step repeats the line with two, and fewer digits.
_FREE_ENERGY = re.compile(rf"^\s*free energy\s+TOTEN\s*=\s*({REAL})")
_CHANGE = re.compile(rf"^\s*total energy-change \(2\. order\)\s*:\s*({REAL})\s*\(\s*({REAL})\)")
_SIGMA0 = re.compile(rf"energy without entropy.*energy\(sigma->0\)\s*=\s*({REAL})")
_EDIFF_REACHED = "aborting loop because EDIFF is reached"
_LATTICE = re.compile(r"^\s*direct lattice vectors\s+reciprocal lattice vectors")
_FRACTIONAL = re.compile(r"^\s*position of ions in fractional coordinates")
_CARTESIAN = re.compile(r"^\s*POSITION\s+TOTAL-FORCE")
_MOMENTS = "magnetization (x)"
_REAL = re.compile(REAL)
_DECIMAL = re.compile(r"[-+]?\d+\.\d+")
_ACCURACY_REACHED = "reached required accuracy - stopping structural"
_ELAPSED = re.compile(rf"^\s*Elapsed time \(sec\):\s*({REAL})")
_CPU_TIME = re.compile(rf"^\s*Total CPU time used \(sec\):\s*({REAL})")


@dataclass(frozen=True, eq=False)
class IonicStep:
    """Electronic steps of one ionic step, and the geometry at which they were done.

    Parameters
    ----------
    number
        From 1.
    energies
        Free energy of each electronic step, eV.
    residuals
        ``rms(total)`` of these steps: the rms(c) of OSZICAR; None where not printed.
    change, band_change
        Change of the free energy and of the band-structure energy in the last step, eV.
    energy
        Energy extrapolated to sigma -> 0 of the last step, eV.
    ediff_reached
        Whether OUTCAR says that the loop was aborted because EDIFF is reached. VASP 5 says so also
        when NELM steps are used up.
    lattice
        Lattice vectors as rows, angstrom, shape (3, 3).
    positions
        Cartesian coordinates of the ions, angstrom, shape (ions, 3).
    moments
        Magnetic moments of the ions, Bohr magnetons, after the last electronic step; empty where
        VASP prints no table of them (LORBIT below 10 without RWIGS, or no spin). In non-collinear
        runs they are the components along x.
    """

    number: int = 1
    energies: tuple[float, ...] = ()
    residuals: tuple[float | None, ...] = ()
    change: float | None = None
    band_change: float | None = None
    energy: float | None = None
    ediff_reached: bool = False
    lattice: np.ndarray | None = None
    positions: np.ndarray | None = None
    moments: tuple[float, ...] = ()


class Geometry:
    """Lattice and ions, read line by line; None as long as they are not printed."""

    def __init__(self) -> None:
        self.lattice: np.ndarray | None = None
        self.positions: np.ndarray | None = None
        self._rows: list[list[float]] = []
        self._block: re.Pattern[str] | None = None

    def read(self, line: str) -> bool:
        """Read a line.

        Parameters
        ----------
        line
            The next line of the file.

        Returns
        -------
        bool
            Whether it belongs to a lattice or a list of positions.
        """
        if self._block is not None:
            row = [float(word) for word in _DECIMAL.findall(line)[:3]]
            if len(row) == 3:
                self._rows.append(row)
                if self._block is not _LATTICE or len(self._rows) < 3:
                    return True
            elif not self._rows:  # a rule between heading and rows
                return True
            self._close()
            return True
        for heading in (_LATTICE, _FRACTIONAL, _CARTESIAN):
            if heading.match(line):
                self._block, self._rows = heading, []
                return True
        return False

    def _close(self) -> None:
        rows = np.array(self._rows)
        if self._block is _LATTICE:
            self.lattice = rows
        elif self._block is _CARTESIAN:
            self.positions = rows
        elif self.lattice is not None:
            self.positions = rows @ self.lattice
        self._block = None


class _Moments:
    """The last table ``magnetization (x)``, read line by line; empty before one is complete."""

    def __init__(self) -> None:
        self.values: tuple[float, ...] = ()
        self._rows: list[float] | None = None

    def read(self, line: str) -> bool:
        """Take a line; False if it does not belong to the table."""
        if line.strip() == _MOMENTS:
            self._rows = []
        elif self._rows is None:
            return False
        elif (words := line.split()) and words[0].isdecimal() and _REAL.fullmatch(words[-1]):
            self._rows.append(parse_column(words[-1]))
        elif self._rows:  # a rule ends the table; with one ion, a blank line
            self.values, self._rows = tuple(self._rows), None
        elif words and not words[0].startswith(("#", "-")):
            self._rows = None
        return True


class _StepReader:
    """The lines of one ionic step."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.geometry = Geometry()
        self.moments = _Moments()
        self.energies: list[float] = []
        self.residuals: list[float | None] = []
        self.changes: list[tuple[float, float] | None] = []
        self.energy: float | None = None
        self.ediff_reached = False
        self._n_electronic = 0
        self._ground_state = True
        self._residual: float | None = None
        self._change: tuple[float, float] | None = None

    def begin(self, number: int) -> None:
        """Begin an electronic step."""
        # In a further loop of the same ionic step (LPEAD, LCALCEPS) the numbers restart at 1.
        self._ground_state = self._ground_state and number > self._n_electronic
        self._n_electronic, self._residual, self._change = number, None, None

    def read(self, line: str) -> None:
        """Take a line of the step."""
        if self.geometry.read(line) or not self._ground_state or self.moments.read(line):
            return
        if match := _RMS.match(line):
            self._residual = parse_column(match[1])
        elif match := _CHANGE.match(line):
            self._change = parse_column(match[1]), parse_column(match[2])
        elif match := _FREE_ENERGY.match(line):
            self.energies.append(parse_column(match[1]))
            self.residuals.append(self._residual)
            self.changes.append(self._change)
        elif match := _SIGMA0.search(line):
            self.energy = parse_column(match[1])
        elif _EDIFF_REACHED in line:
            self.ediff_reached = True

    def finish(self, initial: Geometry) -> IonicStep:
        """The step, at the geometry of the header if it prints none itself."""
        change, band_change = (self.changes and self.changes[-1]) or (None, None)
        if change is None and len(self.energies) > 1:
            change = self.energies[-1] - self.energies[-2]
        printed = self.geometry
        return IonicStep(
            self.number,
            tuple(self.energies),
            tuple(self.residuals),
            change,
            band_change,
            self.energy,
            self.ediff_reached,
            initial.lattice if printed.lattice is None else printed.lattice,
            initial.positions if printed.positions is None else printed.positions,
            self.moments.values,
        )


@dataclass(frozen=True, eq=False)
class IonicSteps:
    """What follows the header of an OUTCAR.

    Parameters
    ----------
    first, last
        Ionic step 1, and the last one whose ground state was computed: linear response counts on
        as if it were further ionic steps.
    elapsed, cpu_time
        Wall time and processor time of the whole run, s; None if VASP did not print it.
    accuracy_reached
        Whether a relaxation ended because its accuracy was reached.
    """

    first: IonicStep
    last: IonicStep
    elapsed: float | None
    cpu_time: float | None
    accuracy_reached: bool


def read_ionic_steps(lines: Iterable[str], initial: Geometry) -> IonicSteps:
    """Read what follows the first Iteration line of an OUTCAR.

    Parameters
    ----------
    lines
        The lines after ``Iteration 1(1)``.
    initial
        Geometry that the header prints.

    Returns
    -------
    IonicSteps
        Its first and last ionic step, and how it ended.

    Raises
    ------
    ValueError
        Steps follow the end of a run.
    """
    first = last = step = _StepReader(1)
    step.begin(1)
    elapsed = cpu_time = None
    accuracy_reached = False
    for line in lines:
        if match := ITERATION.match(line):
            if elapsed is not None:
                raise ValueError("holds the steps of several runs")
            if int(match[1]) != step.number:
                step = _StepReader(int(match[1]))
            step.begin(int(match[2]))
        elif match := _ELAPSED.match(line):
            elapsed = parse_column(match[1])
        elif match := _CPU_TIME.match(line):
            cpu_time = parse_column(match[1])
        elif _ACCURACY_REACHED in line:
            accuracy_reached = True
        else:
            step.read(line)
            if step.energy is not None:
                last = step
    steps = first.finish(initial), last.finish(initial)
    return IonicSteps(*steps, elapsed, cpu_time, accuracy_reached)
