"""What VASP would do with a CHGCAR: the messages it prints, and whether it uses the density.

VASP drops the whole density, and superposes atoms without stopping (ICHARG = 1), as soon as the
grid differs or the augmentation occupancies of one ion are unreadable. Only its standard output
says so.

References
----------
VASP wiki, ICHARG, https://www.vasp.at/wiki/index.php/ICHARG; custodian issue 24, pymatgen issue
709 and pymatgen-core issue 131 (messages about files that VASP could not read).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlcharge_flows.density.augmentation import n_occupancies
from mlcharge_flows.vasp.chgcar import (
    GZIP,
    ChgcarError,
    MagnetizationError,
    NonCollinearError,
    OccupancyError,
    read_chgcar,
)
from mlcharge_flows.vasp.chgcar_header import echoed_comment

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.density.density import Density

INCOMPLETE = "WARNING: chargedensity file is incomplete"
OTHER_GRID = "WARNING: dimensions on CHGCAR file are different"
CORRUPT_OCCUPANCIES = "RD_RHO_PAW: ion{ion:3d} data corrupt"
NO_OCCUPANCIES = "WARNING: PAW occupancies are missing on CHGCAR"
READ = "charge-density read from file: {comment}"
MAGNETIZATION_READ = "magnetization density read from file 1"
MAGNETIZATION_OF_ATOMS = "magnetization density of overlapping atoms calculated"

HEADER_PRECISION = 2e-6
"""Precision of a CHGCAR's header, which has six decimals: fractional coordinates, and angstrom."""
_ELECTRON_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Acceptance:
    """VASP's reaction to one file.

    Parameters
    ----------
    readable
        Whether the file holds a whole total density, be it gzipped.
    read_by_vasp
        Whether VASP would use it as initial density with ICHARG = 1.
    messages
        Lines that VASP would print; none where its reaction is not known.
    warnings
        What VASP would not say: the exact defect, another structure, another number of electrons,
        a non-collinear density.
    density
        What the file holds, as far as it is readable.
    """

    readable: bool
    read_by_vasp: bool
    messages: tuple[str, ...]
    warnings: tuple[str, ...] = ()
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
    """Predict what a collinear run with these inputs makes of a CHGCAR.

    Parameters
    ----------
    path
        The file. A gzipped one counts as unpacked if its name ends in ``.gz``; under any other name
        VASP would open it, and understand nothing.
    crystal
        Ions of the POSCAR; None leaves this, as each of the following, unchecked.
    shape
        The run's fine grid (NGXF, NGYF, NGZF).
    n_electrons
        NELECT.
    channels
        Projector channels of each ion.
    spin_polarized
        Whether ISPIN = 2.

    Returns
    -------
    Acceptance
        VASP's reaction; defects of the file are never raised.
    """
    density: Density
    defects: tuple[str, ...] = ()
    warnings: list[str] = []
    try:
        density = read_chgcar(path)
    except OccupancyError as error:
        density, defects = error.density, _corrupt(error.ion)
        warnings.append(str(error))
    except NonCollinearError as error:
        reason = f"{error}; a collinear run cannot start from it"
        return Acceptance(True, False, (), (reason,), error.density)
    except MagnetizationError as error:
        density = error.density
        warnings.append(str(error))
        if error.cut:
            warnings.append("VASP can hang on a magnetization that is cut: mend or remove it")
    except (ChgcarError, OSError) as error:
        return Acceptance(False, False, (INCOMPLETE,), (str(error),))

    if _gzipped(path):
        warnings.append("the file is gzipped: unpack it for VASP")
        if Path(path).suffix != ".gz":  # VASP opens it, under the name that it has
            return Acceptance(True, False, (INCOMPLETE,), tuple(warnings), density)
    if crystal is not None and len(crystal) != len(density.crystal):
        reason = f"the file holds {len(density.crystal)} ions, the run {len(crystal)}"
        return Acceptance(True, False, (INCOMPLETE,), (*warnings, reason), density)
    warnings += _differences(density, crystal, n_electrons)
    if shape is not None and tuple(shape) != density.shape:
        warnings.append(f"grid {density.shape} on the file, {tuple(shape)} in the run")
        return Acceptance(True, False, (OTHER_GRID,), tuple(warnings), density)
    if not defects:
        defects, reasons = _occupancy_defects(density, channels)
        warnings += reasons
    if defects:
        return Acceptance(True, False, defects, tuple(warnings), density)
    messages = [READ.format(comment=echoed_comment(density.comment))]
    if spin_polarized:
        messages.append(MAGNETIZATION_READ if density.magnetization else MAGNETIZATION_OF_ATOMS)
    return Acceptance(True, True, tuple(messages), tuple(warnings), density)


def _gzipped(path: str | os.PathLike[str]) -> bool:
    with Path(path).open("rb") as file:
        return file.read(len(GZIP)) == GZIP


def _corrupt(ion: int) -> tuple[str, str]:
    return CORRUPT_OCCUPANCIES.format(ion=ion), NO_OCCUPANCIES


def _occupancy_defects(
    density: Density, channels: Sequence[Sequence[int]] | None
) -> tuple[tuple[str, ...], list[str]]:
    if density.augmentation is None:
        return _corrupt(1), ["the file has no occupancies"]
    for ion, occupancies in enumerate(density.augmentation):
        n = len(occupancies)
        expected = n if channels is None else n_occupancies(channels[ion])
        if n != expected:
            reason = f"ion {ion + 1} has {n} occupancies, its data set needs {expected}"
            return _corrupt(ion + 1), [reason]
    return (), []


def _differences(density: Density, crystal: Crystal | None, n_electrons: float | None) -> list[str]:
    warnings = []
    if crystal is not None:
        if crystal.symbols != density.crystal.symbols:
            warnings.append("the file lists other elements than the run")
        if np.max(np.abs(crystal.lattice - density.crystal.lattice)) > HEADER_PRECISION:
            warnings.append("the file has another lattice than the run")
        moved = crystal.positions - density.crystal.positions
        if np.max(np.abs(moved - np.rint(moved)), initial=0.0) > HEADER_PRECISION:
            warnings.append("ions have moved: VASP adds the change of the atoms' superposition")
    if n_electrons is not None and abs(density.n_electrons - n_electrons) > _ELECTRON_TOLERANCE:
        warnings.append(f"the file holds {density.n_electrons:.4f} electrons, not {n_electrons:g}")
    return warnings
