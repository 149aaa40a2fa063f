"""Input files of a run folder, read and checked against each other."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from itertools import groupby
from math import prod, tau
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.grid import SYMPREC, CrystalSymmetry
from mlcharge_flows.density.paw_dataset import n_electrons
from mlcharge_flows.errors import MlchargeError, one_line
from mlcharge_flows.gpaw_vasp.errors import UnsupportedInputError
from mlcharge_flows.gpaw_vasp.export_identity import check_export
from mlcharge_flows.gpaw_vasp.hubbard import effective_hubbard
from mlcharge_flows.gpaw_vasp.ionic_settings import IonicSettings
from mlcharge_flows.gpaw_vasp.magnetism import initial_moments
from mlcharge_flows.gpaw_vasp.settings import IncarSettings
from mlcharge_flows.gpaw_vasp.stored_orbitals import wavecar_header
from mlcharge_flows.gpaw_vasp.symmetry import gpaw_symmetry, keeps_mesh, laue_order
from mlcharge_flows.gpaw_vasp.tags import check_tags, tags_without_meaning
from mlcharge_flows.vasp.incar import FFTGrids, fft_grids, read_incar
from mlcharge_flows.vasp.input_text import read_text, split_lines
from mlcharge_flows.vasp.kpoints import (
    KPointsError,
    KPointSet,
    from_file,
    from_spacing,
    read_kpoints,
)
from mlcharge_flows.vasp.plane_waves import HBAR2_OVER_2M
from mlcharge_flows.vasp.poscar import PoscarFile, read_poscar
from mlcharge_flows.vasp.potcar import TwoDatasetsError, datasets_by_element, read_potcar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.gpaw_vasp.paw_family import PawXml
    from mlcharge_flows.vasp.wavecar import WavecarHeader

Content = TypeVar("Content")

#: Ions nearer than this are taken for a mistake in the POSCAR, in angstrom.
MIN_DISTANCE = 0.5

NO_DELAY = "random wavefunctions but no delay for mixing, default for NELMDL"
"""VASP's words for NELMDL = 0 without a WAVECAR."""

OTHER_LATTICE = (
    "Reciprocal lattice and k-lattice belong to different class of lattices. "
    "The mesh lacks {lost} of {all} rotations of the crystal, they are not used"
)
"""Begins with VASP's words for a k-point mesh that breaks the symmetry of the crystal."""

OFF_GRID = (
    "The listed k-points are taken for irreducible, but {lost} rotations of the crystal are not "
    "used, since no grid keeps them: move the crystal to the origin of its space group"
)
"""Warning that the density may lack symmetry."""


@dataclass(frozen=True, eq=False)
class Inputs:
    """Content of the input files of a run folder.

    Parameters
    ----------
    crystal
        Ions of the POSCAR.
    comment
        First line of the POSCAR.
    incar
        Tags as given.
    settings
        Settings with defaults filled in.
    kpoints
        Points of KPOINTS or KSPACING.
    datasets
        PAW data sets, one per species of the crystal.
    grids
        VASP's coarse and fine FFT grids.
    warnings
        Lines for stdout.
    wavecar
        Header of the WAVECAR that the run begins from; None without one.
    notices
        Lines for stdout that are no warnings.
    ionic
        How the ions move.
    selective_dynamics
        Whether each ion may move along each lattice vector, shape (ions, 3); None: all may.
    velocities
        Velocities that the POSCAR gives, shape (ions, 3), in angstrom/fs; None without any.
    moments
        Initial moment of each ion, shape (ions,), in Bohr magnetons; None with ISPIN = 1.
    hubbard
        l and effective U (eV) of each ion with DFT+U; empty without.
    paw_files
        Files of the data sets of other families than GPAW's, by element.
    """

    crystal: Crystal
    comment: str
    incar: Mapping[str, Any]
    settings: IncarSettings
    kpoints: KPointSet
    datasets: tuple[PawDataset, ...]
    grids: FFTGrids
    warnings: list[str]
    wavecar: WavecarHeader | None = None
    notices: tuple[str, ...] = ()
    ionic: IonicSettings = field(default_factory=lambda: IonicSettings.from_incar({}))
    selective_dynamics: np.ndarray | None = None
    velocities: np.ndarray | None = None
    moments: np.ndarray | None = None
    hubbard: tuple[tuple[int, float], ...] = ()
    paw_files: Mapping[str, PawXml] = field(default_factory=dict)

    @property
    def n_electrons(self) -> float:
        """NELECT of the neutral cell."""
        return n_electrons(self.dataset_of_ion)

    @property
    def kinds(self) -> np.ndarray | None:
        """What tells ions of one element apart: moment, l and U; None where nothing does."""
        return distinct_ions(self.moments, self.hubbard)

    @property
    def dataset_of_ion(self) -> list[PawDataset]:
        """PAW data set of each ion."""
        return _of_ions(self.datasets, self.crystal)


def read_inputs(folder: Path) -> Inputs:
    """Read INCAR, POSCAR, KPOINTS (or KSPACING) and POTCAR.

    Parameters
    ----------
    folder
        Run folder.

    Returns
    -------
    Inputs
        What it asks for.

    Raises
    ------
    UnsupportedInputError
        If a file is missing or malformed, VASP would not read it as text, the POTCAR is not to the
        letter what ``gpaw-vasp potcar`` writes, files contradict each other, or the INCAR asks for
        something that is not supported.
    """
    incar = _read(folder, "INCAR", lambda path: read_incar(path, plain=True))
    messages = check_tags(incar)
    poscar = _read(folder, "POSCAR", lambda path: read_poscar(path, plain=True))
    crystal = _crystal(poscar)
    exports, paw_files = _read(folder, "POTCAR", _read_exports)
    datasets = _datasets(exports, poscar)
    wavecar, notices = wavecar_header(folder, incar)
    ionic = IonicSettings.from_incar(incar)
    for tag, values in (("POMASS", ionic.pomass), ("LANGEVIN_GAMMA", ionic.langevin_gamma)):
        if values and len(values) != len(poscar.species):
            raise UnsupportedInputError(
                f"INCAR: {tag} has {len(values)} values for {len(poscar.species)} species"
            )
    if ionic.dynamics and (folder / "ICONST").exists():
        raise UnsupportedInputError("ICONST: constraints are not supported, remove the file")
    moments = initial_moments(incar, len(crystal))
    settings = IncarSettings.from_incar(
        {"ISIF": 0, "ISYM": 0} | dict(incar) if ionic.dynamics else incar,
        max((dataset.enmax for dataset in datasets if dataset.enmax is not None), default=0.0),
        n_electrons(_of_ions(datasets, crystal)),
        len(crystal),
        orbitals_read=wavecar is not None,
        total_moment=float(moments.sum()),
    )
    polarized = moments if settings.ispin == 2 else None
    hubbard = effective_hubbard(incar, [count for _, count in poscar.species])
    if incar.get("NELMDL") == 0 and wavecar is None:
        messages.append(NO_DELAY)
    if (folder / "KPOINTS").exists():
        kpoints = _read(
            folder,
            "KPOINTS",
            lambda path: from_file(read_kpoints(path, plain=True), crystal.lattice),
        )
    else:
        kpoints = _mesh_of_spacing(crystal, settings)
    if settings.ismear == -5 and not kpoints.is_mesh:
        raise UnsupportedInputError(
            "INCAR: ISMEAR = -5 needs a k-point mesh, set ISMEAR = 0 for a list or lines"
        )
    if settings.isym > 0:
        kinds = distinct_ions(polarized, hubbard)
        group = CrystalSymmetry.of(crystal, max(settings.symprec, SYMPREC), kinds)
        kept = keeps_mesh(group.rotations.transpose(0, 2, 1), kpoints)
        if not kept.all():
            messages.append(OTHER_LATTICE.format(lost=np.count_nonzero(~kept), all=len(kept)))
        if not kpoints.is_mesh:
            used = gpaw_symmetry(crystal, settings.isym, settings.symprec, kpoints, kinds)
            if lost := laue_order(group.rotations) - laue_order(used.rotations):
                messages.append(OFF_GRID.format(lost=lost))
    grids = _grids(crystal, incar, settings)
    return Inputs(
        crystal,
        poscar.comment,
        incar,
        settings,
        kpoints,
        datasets,
        grids,
        messages,
        wavecar,
        (*tags_without_meaning(incar), *notices),
        ionic,
        selective_dynamics=_of_sites(poscar, "selective_dynamics"),
        velocities=_of_sites(poscar, "velocities"),
        moments=polarized,
        hubbard=hubbard,
        paw_files=paw_files,
    )


def distinct_ions(
    moments: np.ndarray | None, hubbard: Sequence[tuple[int, float]]
) -> np.ndarray | None:
    """Collect what tells ions of one element apart.

    Parameters
    ----------
    moments
        Initial moment of each ion, shape (ions,), in Bohr magnetons, or None.
    hubbard
        l and effective U (eV) of each ion, or nothing.

    Returns
    -------
    numpy.ndarray or None
        Numbers of each ion, shape (ions, n), which operations of the symmetry keep; None where
        nothing tells ions apart.
    """
    columns = [] if moments is None else [moments]
    columns += list(np.array(hubbard).T) if hubbard else []
    return np.column_stack(columns) if columns else None


def _of_sites(poscar: PoscarFile, name: str) -> np.ndarray | None:
    """What a POSCAR gives for each ion beside its coordinates, or None."""
    values = poscar.structure.site_properties.get(name)
    return None if values is None else np.asarray(values)


def _mesh_of_spacing(crystal: Crystal, settings: IncarSettings) -> KPointSet:
    try:
        return from_spacing(crystal.lattice, settings.kspacing, settings.kgamma)
    except KPointsError as error:
        raise UnsupportedInputError(str(error)) from error


def _crystal(poscar: PoscarFile) -> Crystal:
    """Ions of a POSCAR that VASP would accept."""
    crystal = Crystal.from_structure(poscar.structure)
    if not poscar.structure.is_valid(tol=MIN_DISTANCE):
        raise UnsupportedInputError(f"POSCAR: two ions are nearer than {MIN_DISTANCE} angstrom")
    return crystal


def _read_exports(path: Path) -> tuple[tuple[PawDataset, ...], dict[str, PawXml]]:
    """PAW data sets of a POTCAR, each to the letter an export, and files that exports contain."""
    datasets = read_potcar(path, plain=True)
    texts = "\n".join(split_lines(read_text(path, plain=True))).split("End of Dataset")
    files = {}
    for text, dataset in zip(texts, datasets, strict=False):
        if (paw_xml := check_export(text, dataset.symbol)) is not None:
            files[dataset.symbol] = paw_xml
    return datasets, files


def _datasets(datasets: Sequence[PawDataset], poscar: PoscarFile) -> tuple[PawDataset, ...]:
    """PAW data set of each species of the crystal, where neighboring blocks of one element join."""
    symbols = [dataset.symbol for dataset in datasets]
    if symbols != list(poscar.symbols):
        raise UnsupportedInputError(
            f"POTCAR: data sets of {' '.join(symbols)}, "
            f"but the POSCAR lists {' '.join(poscar.symbols)}"
        )
    try:
        datasets_by_element(datasets)
    except TwoDatasetsError as error:
        raise UnsupportedInputError(f"POTCAR: {error}") from error
    return tuple(next(same) for _, same in groupby(datasets, key=lambda dataset: dataset.symbol))


_MOST_POINTS = 512**3


def _grids(crystal: Crystal, incar: Mapping[str, Any], settings: IncarSettings) -> FFTGrids:
    """VASP's FFT grids, refused where they are too coarse or too large."""
    try:
        grids = fft_grids(
            crystal.lattice, {**incar, "ENCUT": settings.encut, "PREC": settings.prec}
        )
    except ValueError as error:
        raise UnsupportedInputError(f"INCAR: {error}") from error
    smallest = 2 * np.linalg.norm(crystal.lattice, axis=1) * np.sqrt(settings.encut / HBAR2_OVER_2M)
    if any(n < 0.99 * m / tau for n, m in zip(grids.coarse, smallest, strict=True)):
        raise UnsupportedInputError(
            f"INCAR: the grid NGX, NGY, NGZ = {' '.join(map(str, grids.coarse))} does not hold "
            f"the plane waves of ENCUT = {settings.encut:g} eV; remove NGX, NGY and NGZ"
        )
    if prod(grids.fine) > _MOST_POINTS:
        raise UnsupportedInputError(
            f"INCAR: the fine grid has {' x '.join(map(str, grids.fine))} points, more than "
            f"{_MOST_POINTS:,}; lower ENCUT or PREC"
        )
    fine, coarse = (" ".join(map(str, grid)) for grid in (grids.fine, grids.coarse))
    if any(f < c for f, c in zip(grids.fine, grids.coarse, strict=True)):
        raise UnsupportedInputError(
            f"INCAR: the fine grid NGXF, NGYF, NGZF = {fine} is coarser than the grid of the "
            f"orbitals, {coarse}; remove NGXF, NGYF and NGZF"
        )
    return grids


def _of_ions(datasets: Sequence[PawDataset], crystal: Crystal) -> list[PawDataset]:
    """PAW data set of each ion, from that of each species."""
    return [
        dataset
        for dataset, (_, count) in zip(datasets, crystal.species, strict=True)
        for _ in range(count)
    ]


def _read(folder: Path, name: str, reader: Callable[[Path], Content]) -> Content:
    """Content of a file; whatever its reader raises becomes one line."""
    path = folder / name
    if not path.is_file():
        raise UnsupportedInputError(f"{name}: no such file in {folder}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return reader(path)
    except UnsupportedInputError:
        raise
    except Exception as error:
        reason = one_line(error).removeprefix(f"{path}: ")
        if isinstance(error, MlchargeError):
            raise UnsupportedInputError(f"{name}: {reason.removeprefix(f'{name}: ')}") from error
        raise UnsupportedInputError(f"{name}: cannot be read ({reason})") from error
