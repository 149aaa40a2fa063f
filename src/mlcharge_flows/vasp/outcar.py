"""OUTCAR: settings, projector channels, stop rule, electronic steps, timing, origin of the density.

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
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import numpy as np

from mlcharge_flows.errors import MlchargeError
from mlcharge_flows.io import open_text
from mlcharge_flows.vasp.fortran import REAL, parse_column
from mlcharge_flows.vasp.ionic_steps import ITERATION, Geometry, IonicStep, read_ionic_steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

_TITEL = re.compile(r"^\s*TITEL\s*=\s*(.*?)\s*$")
_CHANNEL = re.compile(r"^\s*non local Contribution for L=\s*(\d+)\s+read in")
_N_CHANNELS = re.compile(r"number of l-projection\s+operators is LMAX\s*=\s*(\d+)")
_NELM = re.compile(r"^\s*NELM\s*=\s*(\d+);\s*NELMIN\s*=\s*(\d+);\s*NELMDL\s*=\s*(-?\d+)")
_ZVAL = re.compile(rf"^\s*POMASS\s*=.*;\s*ZVAL\s*=\s*({REAL})")
_INCAR_ECHO = re.compile(r"^\s*INCAR:\s*$")
_INCAR_TAG = re.compile(r"^\s*(\w+)\s*=\s*(\S.*?)\s*$")
_KPOINTS_TITLE = re.compile(r"^ KPOINTS:\s?(.*?)\s*$")
_KPOINTS = re.compile(r"^\s*k-points in reciprocal lattice and weights:")
_KPOINT = re.compile(rf"^\s*({REAL})\s*({REAL})\s*({REAL})\s+\d*\.\d+\s*$")


def _integers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split())


def _reals(text: str) -> tuple[float, ...]:
    return tuple(parse_column(word) for word in text.split())


_TAGS: dict[str, tuple[re.Pattern[str], Callable[[str], Any]]] = {
    "n_ions": (re.compile(r".*number of ions\s+NIONS\s*=\s*(\d+)"), int),
    "ions_per_type": (re.compile(r"^\s*ions per type\s*=\s*(.+)"), _integers),
    "grid": (
        re.compile(r"^\s*dimension x,y,z NGXF\s*=(\s*\d+\s*NGYF\s*=\s*\d+\s*NGZF\s*=\s*\d+)"),
        lambda text: _integers(re.sub(r"[^\d]+", " ", text)),
    ),
    "n_electrons": (re.compile(rf"^\s*NELECT\s*=\s*({REAL})"), parse_column),
    "encut": (re.compile(rf"^\s*ENCUT\s*=\s*({REAL})\s*eV"), parse_column),
    "ediff": (re.compile(rf"^\s*EDIFF\s*=\s*({REAL})\s+stopping-criterion"), parse_column),
    "lmaxmix": (re.compile(r"^\s*LMAXMIX\s*=\s*(-?\d+)"), int),
    "icharg": (re.compile(r"^\s*ICHARG\s*=\s*(\d+)\s+charge:"), int),
    "ispin": (re.compile(r"^\s*ISPIN\s*=\s*(\d+)\s+spin polarized"), int),
    "prec": (re.compile(r"^\s*PREC\s*=\s*(\w+)"), str),
    "nsw": (re.compile(r"^\s*NSW\s*=\s*(\d+)\s+number"), int),
    "ibrion": (re.compile(r"^\s*IBRION\s*=\s*(-?\d+)\s+ionic"), int),
    "isif": (re.compile(r"^\s*ISIF\s*=\s*(\d+)\s+stress"), int),
    "ismear": (re.compile(r"^\s*ISMEAR\s*=\s*(-?\d+);\s*SIGMA"), int),
    "gga": (re.compile(r"^\s*GGA\s*=\s*(\S+)\s+(?:GGA type|functional components)"), str),
    "lhfcalc": (re.compile(r"^\s*LHFCALC\s*=\s*([TF])\s"), lambda text: text == "T"),
    "ldaul": (re.compile(r".*for each species LDAUL\s*=\s*(.+)"), _integers),
    "ldauu": (re.compile(r".*for each species LDAUU\s*=\s*(.+)"), _reals),
    "ldauj": (re.compile(r".*for each species LDAUJ\s*=\s*(.+)"), _reals),
}
"""Settings that the header prints on a line of their own, and how they are read."""
_PRINTED = re.compile(
    r"^\s+(LNONCOLLINEAR|LSORBIT|LASPH|LREAL|LHFCALC|LDIPOL|IDIPOL|ISYM|NELECT|NUPDOWN)\s*="
    r"\s*(\S+)\s+\S|^\s+ISMEAR\s*=.*?;\s*(SIGMA)\s*=\s*(\S+)|^\s+(GGA)\s*=\s*(\S+)\s+GGA type"
)
_POTCAR_LEXCH = re.compile(r"^\s*LEXCH\s*=\s*([A-Z\d]{2})\s*$")
_START = re.compile(r"^\s*initial charge (?:density was supplied|from wavefunction)")
# "magnetization density of overlapping atoms" is printed for a CHGCAR without spin, too.
_SUPERPOSED = re.compile(r"^\s*charge density of overlapping atoms calculated")
_FROM_ORBITALS = re.compile(r"^\s*initial charge from wavefunction")


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
    zvals
        Valence electrons of each data set.
    lexch
        Exchange-correlation functional of the data sets, as LEXCH of the POTCAR names it.
    n_ions
        NIONS.
    ions_per_type
        Number of ions of each data set.
    grid
        Fine grid (NGXF, NGYF, NGZF).
    n_electrons
        NELECT.
    encut
        Plane-wave cutoff, eV.
    lmaxmix
        Highest L of the occupancies that are mixed and written to CHGCAR.
    icharg, ispin, nsw, ibrion, isif, ismear
        The tags of these names.
    prec
        First letters of PREC.
    incar
        INCAR as VASP 6 repeats it, tags in capitals; empty where it is not repeated.
    printed
        Values of further tags as the list of all settings prints them, by tag.
    kpoints_title
        First 40 characters of KPOINTS; None where VASP read none.
    kpoints
        Fractional coordinates of the k-points, shape (k, 3).
    gga
        GGA as printed; ``--`` where the functional is that of the data sets.
    metagga
        METAGGA as VASP 6 repeats it from INCAR, empty if it is not there. VASP 5 does not print it.
    lhfcalc
        Whether exact exchange is part of the functional.
    ldaul, ldauu, ldauj
        l, U and J of DFT+U for each data set, eV; empty without DFT+U.
    nelm, nelmdl
        Limit of electronic steps; fixed-density steps as printed, negative for "first ionic step
        only". VASP may do 5 where it printed 0 (ISTART = 1 without usable orbitals).
    ediff
        Stop rule for the change of the free energy and of the band-structure energy, eV.
    is_relaxed
        Whether the ions stayed where they were after the last ionic step, as they do in a static
        run, and where a relaxation reached its accuracy.
    from_atoms
        Whether VASP says that it superposed atomic densities (or used orbitals); None if it did
        not get that far.
    first, last
        Ionic step 1, and the last one in which the ground state was computed.
    elapsed
        Wall time of the whole run, s; VASP prints it last, so None means that it did not finish.
    cpu_time
        Processor time of the whole run, s: of the first process where there are several.
    """

    titels: tuple[str, ...] = ()
    channels: tuple[tuple[int, ...], ...] = ()
    zvals: tuple[float, ...] = ()
    lexch: str | None = None
    n_ions: int | None = None
    ions_per_type: tuple[int, ...] = ()
    grid: tuple[int, int, int] | None = None
    n_electrons: float | None = None
    encut: float | None = None
    lmaxmix: int | None = None
    icharg: int | None = None
    ispin: int | None = None
    nsw: int | None = None
    ibrion: int | None = None
    isif: int | None = None
    ismear: int | None = None
    prec: str | None = None
    incar: Mapping[str, str] = field(default_factory=dict)
    printed: Mapping[str, str] = field(default_factory=dict)
    kpoints_title: str | None = None
    kpoints: np.ndarray | None = None
    gga: str | None = None
    metagga: str | None = None
    lhfcalc: bool | None = None
    ldaul: tuple[int, ...] = ()
    ldauu: tuple[float, ...] = ()
    ldauj: tuple[float, ...] = ()
    nelm: int | None = None
    nelmdl: int | None = None
    ediff: float | None = None
    is_relaxed: bool = False
    from_atoms: bool | None = None
    first: IonicStep = field(default_factory=IonicStep)
    last: IonicStep = field(default_factory=IonicStep)
    elapsed: float | None = None
    cpu_time: float | None = None

    @property
    def converged(self) -> bool:
        """Whether ionic step 1 met the stop rule, as far as OUTCAR shows it."""
        return self._met_by(self.first)

    @property
    def last_converged(self) -> bool:
        """Whether the last ionic step met the stop rule, as far as OUTCAR shows it."""
        return self._met_by(self.last)

    def _met_by(self, step: IonicStep) -> bool:
        n_steps = len(step.energies)
        return step.ediff_reached and self._below_ediff(
            n_steps, step.change, step.band_change, EDIFF
        )

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
        return self.first.ediff_reached and self._below_ediff(n_steps, change, band_change, ediff)

    def _below_ediff(
        self, n_steps: int, change: float | None, band_change: float | None, ediff: float
    ) -> bool:
        """Whether fewer than NELM steps were done, or the changes of the last are below EDIFF."""
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
        A data set announces another number of channels than it lists, or the file holds several
        runs.
    OSError
        The file cannot be read.
    """
    with open_text(path) as lines:
        # takewhile drops the first Iteration line, which is step 1(1) in every run.
        header = _read_header(path, takewhile(lambda line: not ITERATION.match(line), lines))
        try:
            steps = read_ionic_steps(lines, header.pop("geometry"))
        except ValueError as error:
            raise OutcarError(f"{path}: {error}") from None
    return Outcar(
        first=steps.first,
        last=steps.last,
        elapsed=steps.elapsed,
        cpu_time=steps.cpu_time,
        is_relaxed=steps.accuracy_reached or header.get("nsw") == 0,
        **header,
    )


def _read_header(path: str | Path, lines: Iterable[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    printed: dict[str, str] = {}
    datasets, echo, geometry, kpoints = _PawDatasets(path), _IncarEcho(), Geometry(), _KPoints()
    for line in lines:
        if any(block.read(line) for block in (echo, datasets, kpoints, geometry)):
            continue
        if match := _NELM.match(line):
            found["nelm"], found["nelmdl"] = int(match[1]), int(match[3])
        elif _START.match(line):
            found["from_atoms"] = bool(_FROM_ORBITALS.match(line))
        elif _SUPERPOSED.match(line):
            found["from_atoms"] = True
        elif "=" in line:
            if match := _PRINTED.match(line):
                tag, value = filter(None, match.groups())
                printed.setdefault(tag, value)
            for name, (pattern, convert) in _TAGS.items():
                if match := pattern.match(line):
                    found[name] = convert(match[1])
                    break
    return {
        "titels": tuple(datasets.titels),
        "channels": tuple(map(tuple, datasets.channels)),
        "zvals": tuple(datasets.zvals),
        "lexch": datasets.lexch,
        "metagga": echo.tag("METAGGA"),
        "incar": echo.tags,
        "printed": printed,
        "kpoints_title": kpoints.title,
        "kpoints": np.array(kpoints.points) if kpoints.points else None,
        "geometry": geometry,
        **found,
    }


class _PawDatasets:
    """What the header prints of each PAW data set."""

    def __init__(self, path: str | Path) -> None:
        self.path = path
        self.titels: list[str] = []
        self.channels: list[list[int]] = []
        self.zvals: list[float] = []
        self.lexch: str | None = None

    def read(self, line: str) -> bool:
        """Take a line; False if it says nothing of a data set."""
        if match := _TITEL.match(line):
            self.titels.append(match[1])
            self.channels.append([])
        elif match := _CHANNEL.match(line):
            self.channels[-1].append(int(match[1]))
        elif match := _N_CHANNELS.search(line):
            if len(self.channels[-1]) != int(match[1]):
                raise OutcarError(
                    f"{self.path}: {self.titels[-1]} lists {len(self.channels[-1])} channels, "
                    f"LMAX = {match[1]}"
                )
        elif match := _ZVAL.match(line):
            self.zvals.append(parse_column(match[1]))
        elif match := _POTCAR_LEXCH.match(line):
            self.lexch = self.lexch or match[1]
        else:
            return False
        return True


class _IncarEcho:
    """INCAR as VASP 6 repeats it; the heading alone is there in VASP 5, too."""

    def __init__(self) -> None:
        self.tags: dict[str, str] = {}
        self._inside = False

    def read(self, line: str) -> bool:
        """Take a line; False if it does not belong to INCAR."""
        if self._inside and (match := _INCAR_TAG.match(line)):
            self.tags.setdefault(match[1].upper(), match[2])
            return True
        self._inside = bool(_INCAR_ECHO.match(line))
        return self._inside

    def tag(self, name: str) -> str | None:
        """Value of a tag, empty where INCAR does not have it; None without the echo."""
        return (self.tags.get(name, "").split() or [""])[0] if self.tags else None


class _KPoints:
    """Title of KPOINTS, and the k-points."""

    def __init__(self) -> None:
        self.title: str | None = None
        self.points: list[list[float]] = []
        self._inside = False

    def read(self, line: str) -> bool:
        """Take a line; False if it says nothing of k-points."""
        if match := _KPOINTS_TITLE.match(line):
            self.title = match[1]
            return True
        if self._inside and (match := _KPOINT.match(line)):
            self.points.append([parse_column(text) for text in match.groups()])
            return True
        self._inside = bool(_KPOINTS.match(line))
        return self._inside
