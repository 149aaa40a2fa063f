"""What VASP says of its initial density: predicted for a CHGCAR, and read from a run's output.

The INCAR holds what was asked for and the OUTCAR repeats it; only messages on standard output show
what happened. VASP echoes the first word of the first line of a CHGCAR that it reads, which proves
which file that was. As soon as the grid differs or the augmentation occupancies of one ion cannot
be read, it drops the whole density with a warning, and superposes atoms (ICHARG = 1) or stops
(ICHARG = 11).

References
----------
VASP wiki, ICHARG, https://www.vasp.at/wiki/index.php/ICHARG; standard outputs of real runs;
custodian issue 24, pymatgen issue 709 and pymatgen-core issue 131 (files that VASP cannot read).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from mlcharge_flows.density.augmentation import miscounted_occupancies
from mlcharge_flows.errors import one_line
from mlcharge_flows.io import compression, open_text
from mlcharge_flows.vasp.chgcar import (
    ChgcarError,
    MagnetizationError,
    NoGridError,
    NonCollinearError,
    OccupancyError,
    read_chgcar,
)
from mlcharge_flows.vasp.chgcar_writer import echoed_comment

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
SAME_PLACE = 0.05
"""Distance up to which an ion of a file is where an ion of the run is, angstrom."""
INTEGRAL_TOLERANCE = 1e-3
"""Electrons by which the integral of a density on its grid may differ from NELECT."""


@dataclass(frozen=True, eq=False)
class Acceptance:
    """VASP's reaction to one file.

    Parameters
    ----------
    read_by_vasp
        Whether VASP would use it as initial density with ICHARG = 1.
    messages
        Lines that VASP would print; none where its reaction is not known.
    warnings
        What VASP would not say: the exact defect, another structure, another number of electrons,
        a non-collinear density.
    density
        What the file holds, be it compressed; None if it has no whole total density.
    other_ions
        In what the ions of the file are others than those of the run, which VASP does not notice;
        None if they are the same, moved or not.
    cut
        Whether the magnetization of the file ends too early, where VASP can hang.
    has_grid
        Whether the file goes on to a grid; a POSCAR does not.
    """

    read_by_vasp: bool
    messages: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    density: Density | None = None
    other_ions: str | None = None
    cut: bool = False
    has_grid: bool = True


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
        The file. A compressed one counts as unpacked if its name ends in ``.gz``, ``.bz2`` or
        ``.xz``; under another name VASP would open it as it is.
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
    cut = False
    try:
        density = read_chgcar(path)
    except OccupancyError as error:
        density, defects = error.density, _corrupt(error.ion)
        warnings.append(str(error))
    except NonCollinearError as error:
        reason = f"{error}; a collinear run cannot start from it"
        return Acceptance(False, (), (reason,), error.density)
    except MagnetizationError as error:
        density = error.density
        warnings.append(str(error))
        cut = error.cut
        if cut:
            warnings.append("VASP can hang on a magnetization that is cut: mend or remove it")
    except (ChgcarError, OSError) as error:
        has_grid = not isinstance(error, NoGridError)
        return Acceptance(False, (INCOMPLETE,), (str(error),), has_grid=has_grid)

    if compression(path) is not None:
        warnings.append("the file is compressed: unpack it for VASP")
        if Path(path).suffix not in (".gz", ".bz2", ".xz"):  # VASP opens it as it is
            return Acceptance(False, (INCOMPLETE,), tuple(warnings), density)
    if crystal is not None and len(crystal) != len(density.crystal):
        reason = f"the file holds {len(density.crystal)} ions, the run {len(crystal)}"
        return Acceptance(False, (INCOMPLETE,), (*warnings, reason), density)
    warnings += _differences(density, crystal, n_electrons)
    if shape is not None and tuple(shape) != density.shape:
        warnings.append(f"grid {density.shape} on the file, {tuple(shape)} in the run")
        return Acceptance(False, (OTHER_GRID,), tuple(warnings), density)
    if not defects and (defect := _occupancy_defect(density, channels)):
        ion, reason = defect
        defects = _corrupt(ion)
        warnings.append(reason)
    if defects:
        return Acceptance(False, defects, tuple(warnings), density)
    messages = [READ.format(comment=echoed_comment(density.comment))]
    if spin_polarized:
        messages.append(MAGNETIZATION_READ if density.magnetization else MAGNETIZATION_OF_ATOMS)
    other = None if crystal is None else _other_ions(density.crystal, crystal)
    return Acceptance(True, tuple(messages), tuple(warnings), density, other, cut)


def _corrupt(ion: int) -> tuple[str, str]:
    return CORRUPT_OCCUPANCIES.format(ion=ion), NO_OCCUPANCIES


def _occupancy_defect(
    density: Density, channels: Sequence[Sequence[int]] | None
) -> tuple[int, str] | None:
    """Number of the first ion whose occupancies VASP cannot use, and why."""
    if density.augmentation is None:
        return 1, "the file has no occupancies"
    if channels is None or not (wrong := miscounted_occupancies(density.augmentation, channels)):
        return None
    ion, n, expected = wrong
    return ion, f"ion {ion} has {n} occupancies, its data set needs {expected}"


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
    if n_electrons is not None and abs(density.n_electrons - n_electrons) > INTEGRAL_TOLERANCE:
        warnings.append(f"the file holds {density.n_electrons:.4f} electrons, not {n_electrons:g}")
    return warnings


def _other_ions(own: Crystal, run: Crystal) -> str | None:
    """First ion of a file that is another one in the run: of another element, or swapped."""
    for ion, (symbol, expected) in enumerate(zip(own.symbols, run.symbols, strict=True), start=1):
        if symbol != expected:
            return f"ion {ion} is {symbol} in the file and {expected} in the run"
    moved = run.displacements(own.positions) > SAME_PLACE
    for ion in np.flatnonzero(moved).tolist():
        distance = run.displacements(own.positions[ion])
        if distance.min() < SAME_PLACE:
            return f"ion {ion + 1} of the file is ion {int(distance.argmin()) + 1} of the run"
    return None


Provenance = Literal["chgcar", "atoms", "unknown"]

# The wiki also prints it with a blank.
_READ = re.compile(r"charge[- ]density read from file: ?(.*)")
_ORBITALS_READ = re.compile(r"the WAVECAR file was read suc+essfully")  # once with a single c
_ORBITALS_NOT_READ = re.compile(
    r"WAVECAR not read|number of k-points has changed|trying to continue reading WAVECAR"
)
_NOT_READ = re.compile(
    r"charge-?density file is incomplete"
    r"|dimensions on CHGCAR file are different"
    r"|number of atoms are different on CHGCAR"
    r"|RD_RHO_PAW.*data corrupt"
    r"|PAW occupancies are missing"
    r"|charge density could not be read from file"
)
# "magnetization density of overlapping atoms" is printed beside a CHGCAR without spin, too.
_SUPERPOSED = re.compile(
    r"(?<!magnetization )density (?:of overlapping atoms|from superposition)|superposition of atom",
    re.IGNORECASE,
)
_ERROR = re.compile(r"\bERROR\b:?\s*(.*)")
_FIRST_STEP = re.compile(r"\s*[A-Z]{2,4}\s*:\s+1\s")


@dataclass(frozen=True)
class DensityMessages:
    """Messages of a run about its initial density and orbitals, up to its first electronic step.

    Parameters
    ----------
    comment
        VASP's echo of the comment of the CHGCAR that was read; None if none was.
    magnetization
        Origin of the spin density; None without such a message (no spin).
    warnings
        Messages about a CHGCAR that was not read, or not wholly.
    errors
        Lines that VASP marks as errors.
    entered
        Whether the main loop was entered.
    orbitals_read
        Whether the orbitals of a WAVECAR were read; None if VASP does not mention any.
    orbital_warnings
        Messages about a WAVECAR that was not read, or is of other k-points.
    contradiction
        Two messages about the density that exclude each other, such as those of two runs.
    """

    comment: str | None = None
    magnetization: Literal["chgcar", "atoms"] | None = None
    warnings: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    entered: bool = False
    orbitals_read: bool | None = None
    orbital_warnings: tuple[str, ...] = ()
    contradiction: str | None = None

    @property
    def provenance(self) -> Provenance:
        """Origin of the initial density: ``chgcar``, ``atoms`` or ``unknown``.

        It is ``chgcar`` if a comment was echoed and no warning concerns any part of the file.
        Otherwise a run that entered the main loop began with the superposition of atoms, or with
        the density of its orbitals (ICHARG = 0); one that stopped before is ``unknown``, and one
        whose messages contradict each other.
        """
        if self.contradiction is not None:
            return "unknown"
        if self.comment is not None and not self.warnings:
            return "chgcar"
        fell_back = bool(self.warnings) and not self.errors
        return "atoms" if self.entered or fell_back else "unknown"


def read_density_messages(path: str | Path) -> DensityMessages:
    r"""Read the messages about initial density and orbitals from VASP's standard output.

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
    >>> messages("the WAVECAR file was read successfully").orbitals_read
    True
    """
    echoes: list[str] = []
    superposed = ""
    orbitals_read: bool | None = None
    orbital_warnings: list[str] = []
    magnetization: Literal["chgcar", "atoms"] | None = None
    warnings: list[str] = []
    errors: list[str] = []
    entered = False
    with open_text(path) as file:
        for raw in file:
            line = raw.strip().strip("|").strip()  # some messages of VASP 6 are in boxes
            if match := _READ.match(line):
                echoes.append(match[1].strip())
            elif "magnetization density read from file" in line:
                magnetization = "chgcar"
            elif _SUPERPOSED.search(line):
                superposed = line
            elif MAGNETIZATION_OF_ATOMS in line:
                magnetization = "atoms"
            elif _NOT_READ.search(line):
                warnings.append(line)
            elif _ORBITALS_READ.search(line):
                orbitals_read = True
            elif _ORBITALS_NOT_READ.search(line):
                orbitals_read = False
                orbital_warnings.append(line)
            elif "entering main loop" in line:
                entered = True
            elif _FIRST_STEP.match(line):
                entered = True
                break
            if _ERROR.search(line):
                errors.append(line)
    said = [f"the CHGCAR {echo!r} was read" for echo in dict.fromkeys(echoes)]
    said += [one_line(superposed, 80)] if superposed else []
    return DensityMessages(
        echoes[-1] if echoes else None,
        magnetization,
        tuple(warnings),
        tuple(errors),
        entered,
        orbitals_read,
        tuple(orbital_warnings),
        f"standard output contradicts itself: {' and '.join(said[:2])}" if len(said) > 1 else None,
    )
