"""Starts from a CHGCAR that exists: of an earlier run, or any file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from atomate2.utils.path import strip_hostname
from monty.os.path import zpath

from mlcharge_flows.density.augmentation import n_occupancies
from mlcharge_flows.density.grid import regrid
from mlcharge_flows.scf.count import count_run
from mlcharge_flows.sources.start import StartError, StartMaker
from mlcharge_flows.sources.superposition import superposed
from mlcharge_flows.vasp.chgcar import ChgcarError, OccupancyError, read_chgcar

if TYPE_CHECKING:
    from mlcharge_flows.density.density import Density
    from mlcharge_flows.sources.inputs import VaspInputs

SAME_PLACE = 0.01
"""Ions (and lattice vectors) further apart than this are another structure, in angstrom."""

SAME_CHARGE = 0.01
"""Electrons by which the integral of a CHGCAR may differ from NELECT."""


@dataclass
class FileStartMaker(StartMaker):
    """Start from any CHGCAR, once it is shown to belong to the run.

    Another grid is interpolated in Fourier space, which keeps the electron count; another
    structure, electron count or set of projector channels is refused.

    Parameters
    ----------
    path
        The CHGCAR, plain or gzipped.
    occupancies
        ``"own"`` of the file, or ``"atomic"`` ones of the PAW data sets, for a file without.
    """

    name: str = "file start"
    path: str = "CHGCAR"
    occupancies: Literal["own", "atomic"] = "own"
    kind: ClassVar[str] = "file"

    @property
    def policy(self) -> str:  # type: ignore[override]
        """Where the occupancies come from."""
        return "atomic" if self.occupancies == "atomic" else "from file"

    def density(
        self, inputs: VaspInputs, prev_dir: str | Path | None, messages: list[str]
    ) -> Density:
        """Density of the file, on the run's grid."""
        density = fitted(Path(self.path), inputs, messages, self.occupancies == "own")
        if self.occupancies == "atomic":
            density = replace(density, augmentation=superposed(inputs).augmentation)
        return density


@dataclass
class ConvergedStartMaker(StartMaker):
    """The ceiling: start from what an earlier run of the same inputs converged to.

    Its two halves can be exchanged for those of the free atoms, which shows what each is worth.

    Parameters
    ----------
    grid
        Density on the grid: ``"converged"`` or ``"atomic"``.
    occupancies
        On-site occupancies: ``"converged"`` or ``"atomic"``.
    """

    name: str = "converged start"
    grid: Literal["converged", "atomic"] = "converged"
    occupancies: Literal["converged", "atomic"] = "converged"
    needs_run: ClassVar[bool] = True

    @property
    def kind(self) -> str:  # type: ignore[override]
        """Converged, or mixed where a half is atomic."""
        return "mixed" if "atomic" in (self.grid, self.occupancies) else "converged"

    @property
    def policy(self) -> str:  # type: ignore[override]
        """Where the occupancies come from."""
        return self.occupancies

    def density(
        self, inputs: VaspInputs, prev_dir: str | Path | None, messages: list[str]
    ) -> Density:
        """Density of the earlier run's CHGCAR."""
        if prev_dir is None:
            raise StartError("no earlier run to take the converged density from")
        folder = Path(strip_hostname(prev_dir)).absolute()
        if not folder.is_dir():
            raise StartError(f"{folder}: the earlier run is gone, and its density with it")
        run = count_run(folder)
        if run.failure or not run.converged:
            raise StartError(f"{folder}: {run.failure or 'not converged'}")
        converged = fitted(Path(zpath(folder / "CHGCAR")), inputs, messages)
        if "atomic" not in (self.grid, self.occupancies):
            return converged
        atomic = superposed(inputs)
        return replace(
            converged,
            total=(atomic if self.grid == "atomic" else converged).total,
            augmentation=(atomic if self.occupancies == "atomic" else converged).augmentation,
        )


def fitted(
    path: Path, inputs: VaspInputs, messages: list[str], need_occupancies: bool = True
) -> Density:
    """Density of a CHGCAR for the inputs of a run: checked, and on the run's grid.

    Parameters
    ----------
    path
        The CHGCAR.
    inputs
        What VASP will see.
    messages
        To be extended by what was adapted.
    need_occupancies
        Whether a file without (fitting) occupancies is refused.

    Raises
    ------
    StartError
        The file cannot be read, or it is of another structure, electron count or PAW data set.
    """
    density: Density
    try:
        density = read_chgcar(path)
    except OccupancyError as error:
        if need_occupancies:
            raise StartError(str(error)) from None
        density = error.density
    except OSError as error:
        raise StartError(f"{path}: cannot be read ({error.strerror or error})") from None
    except ChgcarError as error:
        raise StartError(str(error)) from None
    if difference := _difference(density, inputs):
        raise StartError(f"{path}: {difference}")
    if need_occupancies and (defect := _occupancy_defect(density, inputs)):
        raise StartError(f"{path}: {defect}")
    # VASP compares the header with its POSCAR and moves atomic densities by the difference.
    density = replace(density, crystal=inputs.crystal)
    if density.magnetization is not None and inputs.incar.get("ISPIN", 1) != 2:
        messages.append(f"{path}: the magnetization is left out, the run has ISPIN = 1")
        density = replace(density, magnetization=None)
    if density.shape != inputs.grid:
        messages.append(f"{path}: interpolated from grid {density.shape} to {inputs.grid}")
        spin = density.magnetization
        if spin is not None:
            spin = replace(spin, grid=regrid(spin.grid, inputs.grid))
        total = regrid(density.total, inputs.grid)
        density = replace(density, total=total, magnetization=spin)
    # The printed digits hold the integral to about 1e-5 electrons; NELECT is exact.
    return density.scaled_to(inputs.n_electrons)


def _difference(density: Density, inputs: VaspInputs) -> str | None:
    """In what respect the density belongs to another run; None if it does not."""
    own, run = density.crystal, inputs.crystal
    if own.symbols != run.symbols:
        return (
            f"is of another structure, {_formula(own.species)} instead of {_formula(run.species)}"
        )
    if np.abs(own.lattice - run.lattice).max() > SAME_PLACE:
        return "is of another structure: the lattice vectors differ from the run's"
    apart = own.positions - run.positions
    apart -= np.rint(apart)
    distance = np.linalg.norm(apart @ run.lattice, axis=1)
    if distance.max() > SAME_PLACE:
        ion = int(distance.argmax())
        return (
            f"is of another structure: ion {ion + 1} ({run.symbols[ion]}) is "
            f"{distance[ion]:.3f} angstrom from where the run has it"
        )
    if abs(density.n_electrons - inputs.n_electrons) > SAME_CHARGE:
        return (
            f"holds {density.n_electrons:.4f} electrons, the run has {inputs.n_electrons:.4f}; "
            "another charge or other PAW data sets?"
        )
    return None


def _occupancy_defect(density: Density, inputs: VaspInputs) -> str | None:
    if density.augmentation is None:
        return "has no augmentation occupancies, VASP would drop it; choose atomic ones instead"
    for ion, (record, channels) in enumerate(
        zip(density.augmentation, inputs.channels, strict=True), start=1
    ):
        if len(record) != n_occupancies(channels):
            return (
                f"ion {ion} has {len(record)} occupancies, its PAW data set needs "
                f"{n_occupancies(channels)}; other PAW data sets, or a short record?"
            )
    return None


def _formula(species: tuple[tuple[str, int], ...]) -> str:
    return " ".join(f"{symbol}{count}" for symbol, count in species)
