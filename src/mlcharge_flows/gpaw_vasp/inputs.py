"""The input files of a run folder, read and checked against each other."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.paw_dataset import n_electrons
from mlcharge_flows.gpaw_vasp.errors import UnsupportedInputError
from mlcharge_flows.gpaw_vasp.kpoints import KPointSet, from_file, from_spacing, read_kpoints
from mlcharge_flows.gpaw_vasp.settings import Settings
from mlcharge_flows.gpaw_vasp.tags import check_tags
from mlcharge_flows.io import decode_text
from mlcharge_flows.vasp.fine_grid import FFTGrids, fft_grids
from mlcharge_flows.vasp.incar import IncarError, parse_incar
from mlcharge_flows.vasp.poscar import PoscarError, read_poscar
from mlcharge_flows.vasp.potcar import read_potcar

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mlcharge_flows.density.paw_dataset import PawDataset

#: Ions nearer than this are taken for a mistake in the POSCAR, angstrom.
SMALLEST_DISTANCE = 0.5

#: k-points that the tetrahedron method needs at least.
TETRAHEDRON_CORNERS = 4


@dataclass(frozen=True, eq=False)
class Inputs:
    """Everything that a run folder asks for.

    Parameters
    ----------
    crystal
        Ions of the POSCAR.
    comment
        First line of the POSCAR.
    incar
        Tags as given.
    settings
        Tags with defaults.
    kpoints
        k-points.
    datasets
        PAW data sets, one per species of the POSCAR.
    grids
        VASP's coarse and fine FFT grids.
    warnings
        Lines for stdout.
    """

    crystal: Crystal
    comment: str
    incar: dict[str, Any]
    settings: Settings
    kpoints: KPointSet
    datasets: tuple[PawDataset, ...]
    grids: FFTGrids
    warnings: list[str]

    @property
    def n_electrons(self) -> float:
        """NELECT of the neutral cell."""
        return n_electrons(self.dataset_of_ion)

    @property
    def dataset_of_ion(self) -> list[PawDataset]:
        """The data set of each ion."""
        return _of_ions(self.datasets, self.crystal)


def read_inputs(folder: Path) -> Inputs:
    """Read INCAR, POSCAR, KPOINTS (or KSPACING) and POTCAR.

    Raises
    ------
    UnsupportedInputError
        If a file is missing or malformed, files contradict each other, or the INCAR asks for
        something that is not supported.
    """
    incar = _read(folder, "INCAR", lambda path: parse_incar(decode_text(path.read_bytes())))
    poscar = _read(folder, "POSCAR", read_poscar)
    structure = poscar.structure
    crystal = Crystal.from_structure(structure)
    if not structure.is_valid(tol=SMALLEST_DISTANCE):
        raise UnsupportedInputError(
            f"POSCAR: two ions are nearer than {SMALLEST_DISTANCE} angstrom"
        )
    potcars = _read(folder, "POTCAR", read_potcar)
    symbols = [symbol for symbol, _ in crystal.species]
    if [potcar.symbol for potcar in potcars] != symbols:
        raise UnsupportedInputError(
            f"POTCAR: data sets of {' '.join(p.symbol for p in potcars)}, "
            f"but the POSCAR lists {' '.join(symbols)}"
        )
    notes = check_tags(incar)
    settings = Settings.from_incar(
        incar,
        max(potcar.enmax for potcar in potcars if potcar.enmax is not None),
        n_electrons(_of_ions(potcars, crystal)),
        len(crystal),
    )
    if (folder / "KPOINTS").exists():
        kpoints = from_file(_read(folder, "KPOINTS", read_kpoints), crystal.lattice)
    else:
        kpoints = from_spacing(crystal.lattice, settings.kspacing, settings.kgamma)
    if settings.ismear == -5:
        if not kpoints.is_mesh:
            raise UnsupportedInputError(
                "INCAR: ISMEAR = -5 needs a k-point mesh, set ISMEAR = 0 for a list or lines"
            )
        if np.prod(kpoints.divisions or (1,)) < TETRAHEDRON_CORNERS:
            raise UnsupportedInputError(
                "INCAR: ISMEAR = -5 needs at least four k-points, set ISMEAR = 0"
            )
    try:
        grids = fft_grids(
            crystal.lattice, {**incar, "ENCUT": settings.encut, "PREC": settings.prec}
        )
    except ValueError as error:
        raise UnsupportedInputError(f"INCAR: {error}") from error
    return Inputs(crystal, poscar.comment, incar, settings, kpoints, tuple(potcars), grids, notes)


def _of_ions(datasets: Sequence[PawDataset], crystal: Crystal) -> list[PawDataset]:
    """PAW data set of each ion, from that of each species."""
    return [
        dataset
        for dataset, (_, count) in zip(datasets, crystal.species, strict=True)
        for _ in range(count)
    ]


def _read(folder: Path, name: str, reader: Any) -> Any:
    path = folder / name
    if not path.is_file():
        raise UnsupportedInputError(f"{name}: no such file in {folder}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return reader(path)
    except UnsupportedInputError:
        raise
    except IncarError as error:
        raise UnsupportedInputError(str(error)) from None
    except PoscarError as error:
        raise UnsupportedInputError(f"{name}: {error}") from None
    except Exception as error:  # whatever a parser throws, the user gets one line
        reason = str(error).strip().splitlines()
        raise UnsupportedInputError(
            f"{name}: cannot be read ({reason[0] if reason else error!r})"
        ) from error
