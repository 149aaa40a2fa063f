"""Whether the files in a folder are of one run: each is compared with OUTCAR.

OUTCAR repeats settings, data sets and geometry, and prints every electronic step. A file that does
not say what is compared, or that cannot be read, contradicts nothing.
"""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from math import isfinite, isnan
from typing import TYPE_CHECKING

import numpy as np

from mlcharge_flows.errors import one_line
from mlcharge_flows.io import UNREADABLE
from mlcharge_flows.scf.input_consistency import if_readable, other_inputs
from mlcharge_flows.scf.ion_elements import dataset_elements, ion_elements
from mlcharge_flows.scf.run_files import (
    count_ions,
    count_ions_of_vasprun,
    read_ions,
)
from mlcharge_flows.vasp.oszicar import OszicarError, read_oszicar
from mlcharge_flows.vasp.poscar import element_symbol, read_poscar
from mlcharge_flows.vasp.vasprun import VasprunStart, read_vasprun_start

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlcharge_flows.scf.run_files import RunFiles
    from mlcharge_flows.vasp.ionic_steps import IonicStep
    from mlcharge_flows.vasp.outcar import Outcar

GEOMETRY_PRECISION = 1e-3
"""Digits of lattice vectors and positions in the files of a run, angstrom."""
_LAST_MOVE = 0.05
"""What a CHGCAR may be away from the geometry of the last ionic step, angstrom."""
_NEXT_MOVE = 0.5
"""What CONTCAR may be away from it where the ions go on moving, angstrom."""


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
        try:
            found = None if path is None else read_oszicar(path)
        except UNREADABLE as error:
            if name == "OSZICAR" and isinstance(error, OszicarError):
                return one_line(error)  # not every VASP prints its steps to vasp.out
            found = None
        first = found.ionic_steps[0].steps if found and found.ionic_steps else ()
        steps[name] = [step.energy for step in first]
    vasprun = if_readable(read_vasprun_start, files.vasprun) or VasprunStart()
    numbers = {name: len(steps[name]) for name in ("OSZICAR", "OUTCAR", "vasp.out")}
    ions = {
        "OUTCAR": outcar.n_ions or 0,
        "POSCAR": if_readable(count_ions, files.poscar) or 0,
        "CHGCAR": if_readable(count_ions, files.chgcar) or 0,
        "CONTCAR": if_readable(count_ions, files.contcar) or 0,
        "vasprun.xml": if_readable(count_ions_of_vasprun, files.vasprun) or 0,
    }
    for counts, unit in ((numbers, "electronic steps"), (ions, "ions")):
        known = {name: n for name, n in counts.items() if n}
        if len(set(known.values())) > 1:
            return f"{unit}: {', '.join(f'{n} in {name}' for name, n in known.items())}"
    for name in ("vasp.out", "OUTCAR"):
        pairs = zip(steps["OSZICAR"], steps[name], strict=False)
        for number, (own, other) in enumerate(pairs, start=1):
            if isnan(own) and isfinite(other):  # OUTCAR's columns overflow, those of OSZICAR do not
                return f"energy of step {number}: no number in OSZICAR, {other:.8g} in {name}"
        if not _agree(steps["OSZICAR"], steps[name]):
            return f"energies of OSZICAR and {name}"
    last = steps["OUTCAR"][-1:]
    if vasprun.energies and last and not any(_agree(last, [e]) for e in vasprun.energies):
        return "energies of OUTCAR and vasprun.xml"
    return _other_geometry(files, outcar, vasprun) or other_inputs(files, outcar, vasprun)


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
    symbols = dataset_elements(outcar)
    crystals: dict[str, tuple[tuple[str, ...], np.ndarray, np.ndarray]] = {}
    for name, path in (("POSCAR", files.poscar), ("CONTCAR", files.contcar)):
        found = if_readable(partial(read_poscar, symbols=symbols), path)
        if found and symbols and found.symbols != symbols:
            return f"elements: {' '.join(found.symbols)} in {name}, {' '.join(symbols)} in OUTCAR"
        if found:
            cell = found.structure
            own = tuple(site.specie.symbol for site in cell)
            crystals[name] = own, cell.lattice.matrix, cell.frac_coords
    if chgcar := if_readable(read_ions, files.chgcar):
        crystals["CHGCAR"] = chgcar.symbols, chgcar.lattice, chgcar.positions
    if vasprun.lattice is not None and vasprun.positions is not None:
        own = tuple(map(element_symbol, vasprun.symbols))
        crystals["vasprun.xml"] = own, vasprun.lattice, vasprun.positions
    ions = ion_elements(outcar)
    for name, (own, _, _) in crystals.items():
        if own and ions and own != ions:
            return f"elements: {_formula(own)} in {name}, {_formula(ions)} in OUTCAR"
    for name, (_, lattice, positions) in crystals.items():
        if difference := _moved_from_run(name, lattice, positions, outcar):
            return difference
    return None


def _moved_from_run(
    name: str, lattice: np.ndarray, positions: np.ndarray, outcar: Outcar
) -> str | None:
    """What of a file's geometry is not that of the ionic step to which it belongs; or None."""
    first, last = outcar.first, outcar.last
    if name == "CONTCAR":  # written after the ions were moved, unless they had come to rest
        precision = GEOMETRY_PRECISION if outcar.is_relaxed else _NEXT_MOVE
        difference = _moved(lattice, positions, last, precision)
        return difference and f"{difference} of CONTCAR and OUTCAR (ionic step {last.number})"
    difference = _moved(lattice, positions, first, GEOMETRY_PRECISION)
    at_the_end = last.number > 1 and not _moved(lattice, positions, last, _LAST_MOVE)
    if difference and not (name == "CHGCAR" and at_the_end):
        end = " (ionic step 1; it fits the last one)" if at_the_end else ""
        return f"{difference} of {name} and OUTCAR{end}"
    return None


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


def _formula(symbols: Sequence[str]) -> str:
    counts = dict.fromkeys(symbols, 0)
    for symbol in symbols:
        counts[symbol] += 1
    return " ".join(f"{symbol}{n}" for symbol, n in counts.items())
