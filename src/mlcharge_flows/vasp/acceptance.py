"""What VASP would do with a CHGCAR: the messages it prints, and whether it starts from the file.

VASP drops the whole density, and starts from atoms without stopping (ICHARG=1), as soon as the
grid differs or one occupancy record is unreadable. Only its standard output tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlcharge_flows.density.augmentation import n_occupancies
from mlcharge_flows.vasp.chgcar import (
    ChgcarError,
    MagnetizationError,
    OccupancyError,
    read_chgcar,
)
from mlcharge_flows.vasp.chgcar_header import echoed_comment
from mlcharge_flows.vasp.chgcar_reader import GZIP

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.density.density import Density

INCOMPLETE = "WARNING: chargedensity file is incomplete"
OTHER_GRID = "WARNING: dimensions on CHGCAR file are different"
CORRUPT_RECORD = "RD_RHO_PAW: ion{ion:3d} data corrupt"
NO_OCCUPANCIES = "WARNING: PAW occupancies are missing on CHGCAR"
READ = "charge-density read from file: {comment}"
MAGNETIZATION_READ = "magnetization density read from file 1"
MAGNETIZATION_OF_ATOMS = "magnetization density of overlapping atoms calculated"

#: Six decimals are all that a CHGCAR's header has: fractional coordinates, and angstrom.
HEADER_PRECISION = 2e-6
_ELECTRONS = 1e-3


@dataclass(frozen=True, eq=False)
class Acceptance:
    """Verdict on one file.

    Parameters
    ----------
    readable
        Whether the file holds a whole total density, be it gzipped.
    used
        Whether VASP would start from it with ICHARG=1.
    messages
        Lines that VASP would print.
    notes
        What VASP would not say but a person should know: the exact defect, another structure,
        another number of electrons.
    density
        What the file holds, as far as it is readable.
    """

    readable: bool
    used: bool
    messages: tuple[str, ...]
    notes: tuple[str, ...] = ()
    density: Density | None = None


def chgcar_acceptance(
    path: str | os.PathLike[str],
    *,
    crystal: Crystal | None = None,
    shape: tuple[int, int, int] | None = None,
    n_electrons: float | None = None,
    channels: Sequence[Sequence[int]] | None = None,
    spin_polarized: bool = False,
) -> Acceptance:
    """Judge a CHGCAR as a run with these inputs would.

    Parameters
    ----------
    path
        The file. A gzipped one is judged as if unpacked if its name ends in ``.gz``; under any
        other name VASP would open it, and understand nothing.
    crystal
        Ions of the POSCAR; None leaves this, as each of the following, unchecked.
    shape
        The run's fine grid.
    n_electrons
        NELECT.
    channels
        Projector channels of each ion.
    spin_polarized
        Whether ISPIN = 2.

    Returns
    -------
    Acceptance
        The verdict; defects of the file are never raised.
    """
    density: Density
    defects: tuple[str, ...] = ()
    notes: list[str] = []
    try:
        density = read_chgcar(path)
    except OccupancyError as error:
        density, defects = error.density, _corrupt(error.ion)
        notes.append(str(error))
    except MagnetizationError as error:
        density = error.density
        notes.append(str(error))
        if error.cut:
            notes.append("VASP can hang on a magnetization that is cut: mend or remove it")
    except (ChgcarError, OSError) as error:
        return Acceptance(False, False, (INCOMPLETE,), (str(error),))

    if _gzipped(path):
        notes.append("the file is gzipped: unpack it for VASP")
        if Path(path).suffix != ".gz":  # VASP opens it, under the name that it has
            return Acceptance(True, False, (INCOMPLETE,), tuple(notes), density)
    if crystal is not None and len(crystal) != len(density.crystal):
        note = f"the file holds {len(density.crystal)} ions, the run {len(crystal)}"
        return Acceptance(True, False, (INCOMPLETE,), (*notes, note), density)
    notes += _differences(density, crystal, n_electrons)
    if shape is not None and tuple(shape) != density.shape:
        notes.append(f"grid {density.shape} on the file, {tuple(shape)} in the run")
        return Acceptance(True, False, (OTHER_GRID,), tuple(notes), density)
    if not defects:
        defects, reasons = _record_defects(density, channels)
        notes += reasons
    if defects:
        return Acceptance(True, False, defects, tuple(notes), density)
    messages = [READ.format(comment=echoed_comment(density.comment))]
    if spin_polarized:
        messages.append(MAGNETIZATION_READ if density.magnetization else MAGNETIZATION_OF_ATOMS)
    return Acceptance(True, True, tuple(messages), tuple(notes), density)


def _gzipped(path: str | os.PathLike[str]) -> bool:
    with Path(path).open("rb") as file:
        return file.read(len(GZIP)) == GZIP


def _corrupt(ion: int) -> tuple[str, str]:
    return CORRUPT_RECORD.format(ion=ion), NO_OCCUPANCIES


def _record_defects(
    density: Density, channels: Sequence[Sequence[int]] | None
) -> tuple[tuple[str, ...], list[str]]:
    if density.augmentation is None:
        return _corrupt(1), ["the file has no occupancies"]
    for ion, record in enumerate(density.augmentation):
        expected = len(record) if channels is None else n_occupancies(channels[ion])
        if len(record) != expected:
            reason = f"ion {ion + 1} has {len(record)} occupancies, its data set needs {expected}"
            return _corrupt(ion + 1), [reason]
    return (), []


def _differences(density: Density, crystal: Crystal | None, n_electrons: float | None) -> list[str]:
    notes = []
    if crystal is not None:
        if crystal.symbols != density.crystal.symbols:
            notes.append("the file lists other elements than the run")
        if np.max(np.abs(crystal.lattice - density.crystal.lattice)) > HEADER_PRECISION:
            notes.append("the file has another lattice than the run")
        moved = crystal.positions - density.crystal.positions
        if np.max(np.abs(moved - np.rint(moved)), initial=0.0) > HEADER_PRECISION:
            notes.append("ions have moved: VASP adds the change of the atoms' superposition")
    if n_electrons is not None and abs(density.n_electrons - n_electrons) > _ELECTRONS:
        notes.append(f"the file holds {density.n_electrons:.4f} electrons, not {n_electrons:g}")
    return notes
