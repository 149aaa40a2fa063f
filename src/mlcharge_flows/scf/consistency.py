"""Whether the files in a folder are of one run: each is compared with OUTCAR.

OUTCAR repeats settings, data sets and geometry, and prints every electronic step. A file that does
not say what is compared, or that cannot be read, contradicts nothing.
"""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal
from math import isfinite
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from mlcharge_flows.io import UNREADABLE, open_text
from mlcharge_flows.scf.run_files import (
    count_ions,
    count_ions_of_vasprun,
    read_ions,
    read_titels,
)
from mlcharge_flows.vasp.incar import read_incar
from mlcharge_flows.vasp.oszicar import read_oszicar
from mlcharge_flows.vasp.poscar import element_symbol, read_poscar
from mlcharge_flows.vasp.vasprun import VasprunStart, read_vasprun_start

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from mlcharge_flows.scf.run_files import RunFiles
    from mlcharge_flows.vasp.ionic_steps import IonicStep
    from mlcharge_flows.vasp.outcar import Outcar

T = TypeVar("T")

ENCUT_PRECISION = 0.06
"""OUTCAR prints ENCUT with one decimal, eV."""
GEOMETRY_PRECISION = 1e-3
"""Digits of lattice vectors and positions in the files of a run, angstrom."""
_LAST_MOVE = 0.05
"""What CONTCAR may be away from the geometry of the last ionic step, angstrom."""
_EDIFF_FACTOR = 1.6
"""OUTCAR prints EDIFF with one digit."""


def mismatch(files: RunFiles, outcar: Outcar) -> str | None:
    """In what the files of a run contradict each other.

    Parameters
    ----------
    files
        Where they are.
    outcar
        OUTCAR, with which the others are compared.

    Returns
    -------
    str or None
        ``what: values in the files``; None if they are of one run, as far as they tell.
    """
    steps = {"OUTCAR": list(outcar.first.energies)}
    for name, path in (("OSZICAR", files.oszicar), ("vasp.out", files.stdout)):
        found = if_readable(read_oszicar, path)  # not every VASP prints its steps to vasp.out
        first = found.ionic_steps[0].steps if found and found.ionic_steps else ()
        steps[name] = [step.energy for step in first]
    vasprun = if_readable(read_vasprun_start, files.vasprun) or VasprunStart()
    numbers = {name: len(steps[name]) for name in ("OSZICAR", "OUTCAR", "vasp.out")}
    ions = {
        "OUTCAR": outcar.n_ions or 0,
        "POSCAR": if_readable(count_ions, files.poscar) or 0,
        "CHGCAR": if_readable(count_ions, files.chgcar) or 0,
        "vasprun.xml": if_readable(count_ions_of_vasprun, files.vasprun) or 0,
    }
    for counts, unit in ((numbers, "electronic steps"), (ions, "ions")):
        known = {name: n for name, n in counts.items() if n}
        if len(set(known.values())) > 1:
            return f"{unit}: {', '.join(f'{n} in {name}' for name, n in known.items())}"
    for name in ("vasp.out", "OUTCAR"):
        if not _agree(steps["OSZICAR"], steps[name]):
            return f"energies of OSZICAR and {name}"
    last = steps["OUTCAR"][-1:]
    if vasprun.energies and last and not any(_agree(last, [e]) for e in vasprun.energies):
        return "energies of OUTCAR and vasprun.xml"
    return _other_geometry(files, outcar, vasprun) or _other_settings(files, outcar, vasprun)


def if_readable(read: Callable[[Path], T], path: Path | None) -> T | None:
    """Read a file that may be missing or damaged.

    Parameters
    ----------
    read
        Its reader.
    path
        The file; None without one.

    Returns
    -------
    object
        What the reader returns; None if the file cannot be read.
    """
    with suppress(*UNREADABLE, TypeError, IndexError):
        return None if path is None else read(path)
    return None


def _agree(energies: Sequence[float], others: Sequence[float]) -> bool:
    """Whether the last energy is the same in two files, within the digits that they print."""
    # VASP prints 12 digits in OSZICAR and on standard output, and 8 decimals in OUTCAR.
    if not energies or not others or not isfinite(energies[-1] + others[-1]):
        return True
    tolerance = 2 * (_last_digit(energies) + _last_digit(others))
    return abs(energies[-1] - others[-1]) <= tolerance


def _last_digit(values: Sequence[float]) -> float:
    """Unit of the last decimal that any of the numbers has: zeros behind it may be padding."""
    exponents = (Decimal(repr(value)).normalize().as_tuple().exponent for value in values)
    return float(10.0 ** min((int(e) for e in exponents if isinstance(e, int)), default=0))


def _other_geometry(files: RunFiles, outcar: Outcar, vasprun: VasprunStart) -> str | None:
    """In which file elements, lattice or positions are not those of OUTCAR; None if in none."""
    symbols = tuple(element_symbol(titel.split()[1]) for titel in outcar.titels if " " in titel)
    poscar = if_readable(read_poscar, files.poscar)
    if poscar and symbols and poscar.symbols != symbols:
        return f"elements: {' '.join(poscar.symbols)} in POSCAR, {' '.join(symbols)} in OUTCAR"
    crystals: dict[str, tuple[tuple[str, ...], np.ndarray, np.ndarray]] = {}
    if poscar:
        cell = poscar.structure
        crystals["POSCAR"] = (
            tuple(site.specie.symbol for site in cell),
            cell.lattice.matrix,
            cell.frac_coords,
        )
    elif vectors := if_readable(_read_lattice, files.poscar):  # of VASP 4, without elements
        crystals["POSCAR"] = (), np.array(vectors), np.empty((0, 3))
    if chgcar := if_readable(read_ions, files.chgcar):
        crystals["CHGCAR"] = chgcar.symbols, chgcar.lattice, chgcar.positions
    if vasprun.lattice is not None and vasprun.positions is not None:
        own = tuple(map(element_symbol, vasprun.symbols))
        crystals["vasprun.xml"] = own, vasprun.lattice, vasprun.positions
    if len(symbols) == len(outcar.ions_per_type):
        ions = tuple(
            s for s, n in zip(symbols, outcar.ions_per_type, strict=True) for _ in range(n)
        )
        for name, (own, _, _) in crystals.items():
            if own and ions and own != ions:
                return f"elements: {_formula(own)} in {name}, {_formula(ions)} in OUTCAR"
    for name, (_, lattice, positions) in crystals.items():
        difference = _moved(lattice, positions, outcar.first, GEOMETRY_PRECISION)
        # A relaxation writes the density of its last step; POSCAR may be replaced by CONTCAR.
        if difference and (
            outcar.last.number == 1 or _moved(lattice, positions, outcar.last, _LAST_MOVE)
        ):
            return f"{difference} of {name} and OUTCAR"
    return None


def _read_lattice(path: Path) -> list[list[float]]:
    """Lattice vectors of a POSCAR, angstrom, whatever follows them."""
    with open_text(path) as file:
        lines = [line.split() for _, line in zip(range(5), file, strict=False)]
    scale = float(lines[1][0])
    rows = np.array([[float(word) for word in line[:3]] for line in lines[2:]])
    if scale < 0.0:
        scale = float((-scale / abs(np.linalg.det(rows))) ** (1 / 3))
    return [[scale * x for x in row] for row in rows.tolist()]


def _moved(
    lattice: np.ndarray, positions: np.ndarray, step: IonicStep, precision: float
) -> str | None:
    """What of a geometry is not that of an ionic step; None if nothing is, or it is not known."""
    if step.lattice is None or step.lattice.shape != (3, 3):
        return None
    if np.abs(lattice - step.lattice).max() > precision:
        return "lattice vectors"
    if step.positions is None or step.positions.shape != positions.shape:
        return None
    apart = positions - step.positions @ np.linalg.inv(lattice)
    apart = (apart - np.rint(apart)) @ lattice
    return "positions" if np.abs(apart).max() > precision else None


def _other_settings(files: RunFiles, outcar: Outcar, vasprun: VasprunStart) -> str | None:
    """In what INCAR, POTCAR and vasprun.xml are not of the run of OUTCAR; None if they are."""
    incar = if_readable(read_incar, files.incar)
    noncollinear = incar and (incar.get("LNONCOLLINEAR") or incar.get("LSORBIT"))
    used: dict[str, Any] = {
        "ENCUT": outcar.encut,
        "ISPIN": None if noncollinear else outcar.ispin,  # VASP sets 1
        "NELM": outcar.nelm,
        "EDIFF": outcar.ediff,
        "LMAXMIX": outcar.lmaxmix,
        "ICHARG": outcar.icharg,
    }
    if incar and "ENMAX" in incar:
        incar = {"ENCUT": incar["ENMAX"], **incar}
    found = _other_tag(incar or {}, used, "INCAR")
    parameters = {"ENCUT": vasprun.parameters.get("ENMAX"), **vasprun.parameters}
    found = found or _other_tag(parameters, {**used, "ICHARG": None}, "vasprun.xml")
    if found:
        return found
    repeated = _metagga(vasprun.incar.get("METAGGA", "")) if vasprun.incar else None
    repeated = repeated if outcar.metagga is None else _metagga(outcar.metagga)
    if incar and repeated is not None and _metagga(incar.get("METAGGA", "")) != repeated:
        source = "vasprun.xml" if outcar.metagga is None else "OUTCAR"
        own = _metagga(incar.get("METAGGA", ""))
        return f"METAGGA: {own or 'none'} in INCAR, {repeated or 'none'} in {source}"
    titels = {"POTCAR": if_readable(read_titels, files.potcar), "vasprun.xml": vasprun.titels}
    for name, own_titels in titels.items():
        if own_titels and outcar.titels and own_titels != outcar.titels:
            listed = ", ".join(own_titels), ", ".join(outcar.titels)
            return f"PAW data sets: {listed[0]} in {name}, {listed[1]} in OUTCAR"
    return None


def _other_tag(tags: Mapping[str, Any], used: Mapping[str, Any], name: str) -> str | None:
    """First tag whose value in a file is not the one that OUTCAR prints."""
    for tag, value in used.items():
        try:
            own = float(tags[tag])
        except (KeyError, ValueError, TypeError):
            continue
        if value is None or not isfinite(own + value):
            continue
        if tag == "EDIFF":
            is_same = own <= 0 or value <= 0 or 1 / _EDIFF_FACTOR < own / value < _EDIFF_FACTOR
        else:
            is_same = abs(own - value) <= (ENCUT_PRECISION if tag == "ENCUT" else 0)
        if not is_same:
            return f"{tag}: {own:g} in {name}, {value:g} in OUTCAR"
    return None


def _metagga(value: object) -> str:
    name = str(value).strip().upper()
    return "" if name in ("NONE", "--", "F", ".FALSE.", "FALSE") else name


def _formula(symbols: Sequence[str]) -> str:
    counts = dict.fromkeys(symbols, 0)
    for symbol in symbols:
        counts[symbol] += 1
    return " ".join(f"{symbol}{n}" for symbol, n in counts.items())
