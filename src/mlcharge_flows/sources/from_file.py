"""CHGCARs as sources: a given file, or that of an earlier run; checked and regridded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from typing_extensions import override

from mlcharge_flows.density.augmentation import miscounted_occupancies
from mlcharge_flows.density.grid import regrid
from mlcharge_flows.file_kinds import not_a_file
from mlcharge_flows.scf.count import count_run
from mlcharge_flows.scf.run_files import RunFiles
from mlcharge_flows.sources.initial_chgcar import is_initial_chgcar
from mlcharge_flows.sources.source import Evaluated, Source, SourceError
from mlcharge_flows.vasp.chgcar import ChgcarError, OccupancyError, read_chgcar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.density.density import Density
    from mlcharge_flows.sources.run_inputs import RunInputs

POSITION_TOLERANCE = 0.01
"""Largest difference between ions, or lattice vectors, of the same structure, in angstrom."""

FILE_CHARGE_TOLERANCE = 0.01
"""Electrons by which the integral of a CHGCAR may differ from NELECT before it is scaled."""


@dataclass(frozen=True)
class FromFile(Source):
    """The density of a CHGCAR, once it is shown to belong to the run.

    Parameters
    ----------
    path
        The CHGCAR, plain or gzipped. Jobs run in folders of their own: give an absolute path.
    """

    path: str
    word: ClassVar[str] = "file"

    @classmethod
    def from_argument(cls, argument: str) -> Self:
        """Make the source that ``file@PATH`` names.

        Parameters
        ----------
        argument
            Path of the CHGCAR.

        Returns
        -------
        FromFile
            With the absolute path.

        Raises
        ------
        SourceError
            There is no path.
        """
        if not argument:
            raise SourceError("'file' needs the path of a CHGCAR: file@PATH")
        return cls(str(Path(argument).absolute()))

    @property
    def augmentation_word(self) -> str:
        """``file``, without the path."""
        return self.word

    @property
    def argument(self) -> str:
        """Path of the file."""
        return self.path

    @property
    def can_be_misread(self) -> bool:
        """Whether the name of the file can be the word of a source, or the name of a model."""
        return not Path(self.path).name.startswith("CHGCAR")

    @property
    def identity(self) -> tuple[str, str]:
        """Kind, and the path without links and dots."""
        return self.word, str(Path(self.path).resolve())

    @override
    def check(self, augmentation: bool = False) -> None:
        if reason := not_a_file(self.path):
            raise SourceError(f"{self}: {reason}")

    def evaluate(self, inputs: RunInputs, given: Evaluated | None = None) -> Evaluated:
        """Read the CHGCAR for a run.

        Parameters
        ----------
        inputs
            Inputs of the run.
        given
            Density that the file's augmentation occupancies are for; the grid of the file is then
            left as it is.

        Returns
        -------
        Evaluated
            Density of the file.

        Raises
        ------
        SourceError
            The file cannot be read, or is of another structure or number of electrons.
        """
        return read_for_run(Path(self.path), inputs, on_grid_of_run=given is None)


@dataclass(frozen=True)
class Converged(Source):
    """Density and augmentation occupancies to which the reference run converged."""

    word: ClassVar[str] = "converged"

    @property
    def needs_reference_run(self) -> bool:
        """True: the folder of the finished run is read."""
        return True

    def evaluate(self, inputs: RunInputs, given: Evaluated | None = None) -> Evaluated:
        """Read the CHGCAR of the reference run.

        Parameters
        ----------
        inputs
            Inputs of the run, with the folder of the reference run.
        given
            Density that the augmentation occupancies are for; the grid of the CHGCAR is then left
            as it is.

        Returns
        -------
        Evaluated
            Converged density.

        Raises
        ------
        SourceError
            There is no reference run, it failed or did not converge, or its CHGCAR is not of the
            run.
        """
        folder = inputs.reference_run
        if folder is None:
            raise SourceError("no earlier run to take the converged density from")
        chgcar = converged_chgcar(folder)
        return read_for_run(chgcar, inputs, on_grid_of_run=given is None)


def converged_chgcar(folder: Path) -> Path:
    """Find the CHGCAR to which a finished run converged.

    Parameters
    ----------
    folder
        Folder of the run.

    Returns
    -------
    Path
        The file, plain or compressed, which need not exist. Of custodian's double relaxation that
        of the last run.

    Raises
    ------
    SourceError
        The folder is gone, the run failed or did not converge, or the CHGCAR is what it began from.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder}: the earlier run is gone, and its density with it")
    run = count_run(folder)
    if run.failure or not run.converged:
        raise SourceError(f"{folder}: {run.failure or 'not converged'}")
    chgcar = RunFiles.find(folder, last=True).chgcar or folder / "CHGCAR"
    if is_initial_chgcar(chgcar):
        raise SourceError(f"{chgcar}: is what the run began from, not its result (LCHARG = F)")
    return chgcar


def read_for_run(path: Path, inputs: RunInputs, on_grid_of_run: bool = True) -> Evaluated:
    """Read a CHGCAR that is to be of the same structure and number of electrons as a run.

    Parameters
    ----------
    path
        The CHGCAR, plain or gzipped.
    inputs
        Inputs of the run.
    on_grid_of_run
        Whether the density is interpolated to the fine grid of the run.

    Returns
    -------
    Evaluated
        Density of the file for the crystal of the run. Augmentation occupancies that are missing or
        do not fit the PAW data sets are left out, and the reason is given.

    Raises
    ------
    SourceError
        The file cannot be read, or is of another structure or number of electrons.
    """
    density, issue = read_density(path)
    if difference := validate_chgcar(density, inputs):
        raise SourceError(f"{path}: {difference}")
    if issue is None and (defect := augmentation_defect(density.augmentation, inputs)):
        issue = f"{path}: {defect}"
    if issue is not None:
        density = replace(density, augmentation=None)
    # VASP compares the header with its POSCAR and moves atomic densities by the difference.
    density = replace(density, crystal=inputs.crystal)
    warnings: tuple[str, ...] = ()
    if on_grid_of_run:
        density, adapted = regrid_to_run(density, inputs)
        warnings = tuple(f"{path}: {line}" for line in adapted)
    return Evaluated(density, warnings, augmentation_issue=issue)


def read_density(path: Path) -> tuple[Density, str | None]:
    """Read a CHGCAR, without its augmentation occupancies where these alone are damaged.

    Parameters
    ----------
    path
        The file, plain or compressed.

    Returns
    -------
    density : Density
        Of the crystal in the header of the file.
    issue : str or None
        What is wrong with the occupancies; None if nothing is.

    Raises
    ------
    SourceError
        The file cannot be read.
    """
    try:
        return read_chgcar(path), None
    except OccupancyError as error:
        return error.density, str(error)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror or error})") from None
    except ChgcarError as error:
        raise SourceError(str(error)) from None


def validate_chgcar(density: Density, inputs: RunInputs) -> str | None:
    """Compare structure and number of electrons of a density with those of a run.

    Parameters
    ----------
    density
        Density of a CHGCAR.
    inputs
        Inputs of the run.

    Returns
    -------
    str or None
        The difference; None if the density may belong to the run.
    """
    if difference := structure_difference(density.crystal, inputs.crystal):
        return difference
    if abs(density.n_electrons - inputs.n_electrons) > FILE_CHARGE_TOLERANCE:
        return (
            f"holds {density.n_electrons:.4f} electrons, the run has {inputs.n_electrons:.4f}; "
            "another charge or other PAW data sets?"
        )
    return None


def structure_difference(own: Crystal, run: Crystal) -> str | None:
    """Compare the ions of a CHGCAR with those of a run.

    Parameters
    ----------
    own
        Ions of the CHGCAR.
    run
        Ions of the POSCAR.

    Returns
    -------
    str or None
        The first difference; None if there is none beyond :data:`POSITION_TOLERANCE`.
    """
    if own.symbols != run.symbols:
        return (
            f"is of another structure, {_formula(own.species)} instead of {_formula(run.species)}"
        )
    if np.abs(own.lattice - run.lattice).max() > POSITION_TOLERANCE:
        return "is of another structure: the lattice vectors differ from the run's"
    distance = run.displacements(own.positions)
    if distance.max() > POSITION_TOLERANCE:
        ion = int(distance.argmax())
        return (
            f"is of another structure: ion {ion + 1} ({run.symbols[ion]}) is "
            f"{distance[ion]:.3f} angstrom from where the run has it"
        )
    return None


def regrid_to_run(density: Density, inputs: RunInputs) -> tuple[Density, tuple[str, ...]]:
    """Bring a density to the fine grid, spin and number of electrons of a run.

    Parameters
    ----------
    density
        Density of the structure of the run.
    inputs
        Inputs of the run.

    Returns
    -------
    Density
        Interpolated in Fourier space if the grids differ, without magnetization for ISPIN = 1, and
        scaled to NELECT.
    tuple of str
        What was changed.
    """
    changes = []
    if density.magnetization is not None and inputs.incar.get("ISPIN", 1) != 2:
        changes.append("the magnetization is left out, the run has ISPIN = 1")
        density = replace(density, magnetization=None)
    if density.shape != inputs.grid:
        changes.append(f"interpolated from grid {density.shape} to {inputs.grid}")
        spin = density.magnetization
        if spin is not None:
            spin = replace(spin, grid=regrid(spin.grid, inputs.grid))
        total = regrid(density.total, inputs.grid)
        density = replace(density, total=total, magnetization=spin)
    # The printed digits hold the integral to about 1e-5 electrons; NELECT is exact.
    return density.scaled_to(inputs.n_electrons), tuple(changes)


def augmentation_defect(augmentation: Sequence[np.ndarray] | None, inputs: RunInputs) -> str | None:
    """What is wrong with the augmentation occupancies of a file.

    Parameters
    ----------
    augmentation
        Occupancies of each ion of the run, in electrons, or None.
    inputs
        Inputs of the run.

    Returns
    -------
    str or None
        None if there are occupancies, of the number that the PAW data sets of the run need.
    """
    if augmentation is None:
        return "has no augmentation occupancies, VASP would drop it; choose atomic ones instead"
    if wrong := miscounted_occupancies(augmentation, inputs.channels):
        ion, n, expected = wrong
        return (
            f"ion {ion} has {n} occupancies, its PAW data set needs {expected}; "
            "other PAW data sets, or a file that was cut?"
        )
    return None


def _formula(species: tuple[tuple[str, int], ...]) -> str:
    return " ".join(f"{symbol}{count}" for symbol, count in species)
