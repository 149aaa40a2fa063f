"""Folder of a finished VASP run, packed as a sample of a data set.

CHGCAR holds the density of the last ionic step, so energies, electronic steps and convergence are
those of the last ionic step of OUTCAR. Both files must be of one run: they agree on grid, lattice,
ions and number of electrons. Of custodian's double relaxation (``.relax1``, ``.relax2``), the last
run is packed.
"""

from __future__ import annotations

from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlcharge_flows.density.paw_dataset import PawDataset
from mlcharge_flows.errors import MlchargeError, one_line
from mlcharge_flows.io import UNREADABLE
from mlcharge_flows.scf.consistency import mismatch
from mlcharge_flows.scf.run_files import RunFiles, RunFilesError
from mlcharge_flows.training.library_datasets import datasets_of_library
from mlcharge_flows.training.origin import RunSettings
from mlcharge_flows.training.sample import DensitySample
from mlcharge_flows.vasp.chgcar import read_chgcar
from mlcharge_flows.vasp.chgcar_writer import is_prediction
from mlcharge_flows.vasp.density_messages import INTEGRAL_TOLERANCE
from mlcharge_flows.vasp.incar import read_incar
from mlcharge_flows.vasp.outcar import read_outcar
from mlcharge_flows.vasp.potcar import read_potcar
from mlcharge_flows.vasp.vasprun import read_vasprun_start

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mlcharge_flows.density.density import Density
    from mlcharge_flows.training.origin import Origin
    from mlcharge_flows.vasp.outcar import Outcar
    from mlcharge_flows.vasp.potcar import PotcarSearch

GEOMETRY_TOLERANCE = 1e-4
"""Largest difference of lattice vectors and positions, angstrom: CHGCAR prints 6 decimals of
fractional coordinates, OUTCAR 5 of angstrom."""
_ZVAL_PRECISION = 0.006
"""OUTCAR prints ZVAL with three decimals, and two in later versions."""
FIRST_NON_SCF_ICHARG = 10
"""Values of ICHARG from which on the density is not updated."""


class RunError(MlchargeError, ValueError):
    """A run that cannot be packed; one line that names its folder and the reason."""


def read_finished_run(
    folder: str | Path,
    origin: Origin,
    library: PotcarSearch | None = None,
) -> DensitySample:
    """Pack the CHGCAR of a run with its POTCAR and OUTCAR, plain or compressed.

    With a POTCAR, the sample is a difference from the superposition of its free atoms. Without one,
    its data sets are those of a library or, without that, the channels come from OUTCAR, and the
    density itself is packed. Energies, steps and settings come from OUTCAR, METAGGA from INCAR or
    vasprun.xml if one is there.

    Parameters
    ----------
    folder
        Run folder.
    origin
        Identity of the sample.
    library
        POTCARs for runs that have none, found by TITEL and what POTCAR.spec says.

    Returns
    -------
    DensitySample
        The packed density, with the magnetization of a spin-polarized run.

    Raises
    ------
    RunError
        Files are missing, broken, or of different runs; the run is not self-consistent, or did not
        converge; the library lacks a data set, or has several of its TITEL.
    """
    folder = Path(folder)
    if not folder.is_dir():
        wrong = "is no folder of a run" if folder.exists() else "there is no such folder"
        raise RunError(f"{folder}: {wrong}")
    try:
        files = RunFiles.find(folder, last=True)
        chgcar, outcar, potcar = files.chgcar, files.outcar, files.potcar
        if chgcar is None:
            raise RunError(f"{folder}: there is no CHGCAR{files.suffix}")
        density = read_chgcar(chgcar)
        if is_prediction(density.comment):
            raise RunError(f"{chgcar}: is what the run began from, not its result (LCHARG = F)")
        datasets = () if potcar is None else read_potcar(potcar)
        if outcar is None:
            raise RunError(f"{folder}: there is no OUTCAR{files.suffix}, which tells convergence")
        run = read_outcar(outcar)
        if potcar is None and library is not None:
            datasets = datasets_of_library(folder, files.suffix, run.titels, library)
        if reason := _other_run(density, run, datasets):
            raise RunError(f"{folder}: {reason}")
        paw = _paw_datasets(folder, datasets, run, density.crystal.symbols)
        if reason := _reason_to_refuse(run):
            raise RunError(f"{folder}: {reason}")
        if difference := mismatch(files, run):
            raise RunError(f"{folder}: files of different runs: {difference}")
        sample = DensitySample.pack(
            density,
            paw,
            origin,
            energy=run.last.energy or 0.0,
            energies=run.last.energies,
            encut=run.encut,
            n_electrons=run.n_electrons,
        )
        symbols = [_symbol(titel) for titel in run.titels]
        settings = RunSettings.of(run, symbols, _metagga(files), _valence(run))
        return replace(sample, settings=settings)
    except RunError:
        raise
    except RunFilesError as error:
        raise RunError(str(error).removeprefix("unreadable: ")) from None
    except UNREADABLE as error:
        text = one_line(error)
        raise RunError(text if str(folder) in text else f"{folder}: {text}") from None


def _other_run(density: Density, run: Outcar, datasets: Sequence[PawDataset]) -> str | None:
    """Why CHGCAR or POTCAR are not of the run of an OUTCAR; None if they are."""
    if not run.titels and run.n_ions is None:
        return "OUTCAR is empty or damaged: it names no data set and no ions"
    if datasets and tuple(dataset.titel for dataset in datasets) != run.titels:
        return (
            f"POTCAR holds {_listed(dataset.titel for dataset in datasets)}, OUTCAR "
            f"{_listed(run.titels)}: they are of different runs"
        )
    for dataset, channels, zval in zip(datasets, run.channels, run.zvals, strict=False):
        if dataset.channels != channels or abs((dataset.zval or zval) - zval) > _ZVAL_PRECISION:
            return f"POTCAR and OUTCAR are of different runs: channels or ZVAL of {dataset.titel}"
    difference = _difference(density, run)
    return f"CHGCAR and OUTCAR are of different runs: {difference}" if difference else None


def _reason_to_refuse(run: Outcar) -> str | None:
    """Why a run has no converged density; None if it has."""
    if run.icharg is not None and run.icharg >= FIRST_NON_SCF_ICHARG:
        return f"ICHARG = {run.icharg}: a non-self-consistent run, which computes no density"
    if run.elapsed is None:
        return "the run did not finish: OUTCAR has no elapsed time"
    if run.last.energy is None or not isfinite(run.last.energy):
        return f"OUTCAR has no energy of ionic step {run.last.number}"
    if not run.last_converged:
        return f"the run did not converge (ionic step {run.last.number})"
    return None


def _difference(density: Density, run: Outcar) -> str | None:
    """First property of the cell in which CHGCAR and the last ionic step of OUTCAR differ."""
    crystal, last = density.crystal, run.last
    if run.grid is not None and run.grid != density.shape:
        return f"grids {_grid(density.shape)} and {_grid(run.grid)}"
    if run.n_ions is not None and run.n_ions != len(crystal):
        return f"{len(crystal)} and {run.n_ions} ions"
    if len(run.ions_per_type) == len(run.titels):
        pairs = zip(run.titels, run.ions_per_type, strict=True)
        symbols = tuple(symbol for titel, n in pairs for symbol in [_symbol(titel)] * n)
        if symbols != crystal.symbols:
            return f"ions {_listed(crystal.symbols)} and {_listed(symbols)}"
    if last.lattice is not None and not _close(crystal.lattice, last.lattice):
        return "lattice vectors"
    if last.positions is not None and last.positions.shape == crystal.positions.shape:
        apart = crystal.positions - last.positions @ np.linalg.inv(crystal.lattice)
        if not _close((apart - np.rint(apart)) @ crystal.lattice, np.zeros(3)):
            return f"positions of the ions in ionic step {last.number}"
    n_electrons = run.n_electrons
    if n_electrons is not None and abs(density.n_electrons - n_electrons) > INTEGRAL_TOLERANCE:
        return f"{density.n_electrons:.4f} electrons on the grid, NELECT = {n_electrons:g}"
    return None


def _close(values: np.ndarray, others: np.ndarray) -> bool:
    return bool(np.all(np.abs(values - others) <= GEOMETRY_TOLERANCE))


def _paw_datasets(
    folder: Path, datasets: Sequence[PawDataset], run: Outcar, symbols: Sequence[str]
) -> dict[str, PawDataset]:
    """PAW data set of each element, from POTCAR or, without free atoms, from OUTCAR."""
    if not datasets:
        datasets = [
            PawDataset(_symbol(titel), titel, None, channels)
            for titel, channels in zip(run.titels, run.channels, strict=True)
        ]
    found: dict[str, PawDataset] = {}
    for dataset in datasets:
        if (other := found.setdefault(dataset.symbol, dataset)).titel != dataset.titel:
            raise RunError(
                f"{folder}: two PAW data sets of {dataset.symbol}, {other.titel} and "
                f"{dataset.titel}; a data set holds one for each element"
            )
    if missing := sorted(set(symbols) - set(found)):
        raise RunError(f"{folder}: no PAW data set for {', '.join(missing)}")
    return found


def _valence(run: Outcar) -> float | None:
    """Valence electrons of the neutral cell."""
    if not run.zvals or not len(run.zvals) == len(run.titels) == len(run.ions_per_type):
        return None
    return sum(zval * n for zval, n in zip(run.zvals, run.ions_per_type, strict=True))


def _metagga(files: RunFiles) -> str | None:
    """METAGGA of INCAR or, without one, of vasprun.xml; empty if they do not set it."""
    if files.incar:
        return str(read_incar(files.incar).get("METAGGA", ""))
    if files.vasprun:
        try:
            start = read_vasprun_start(files.vasprun)
            if not start.has_incar:
                raise ValueError("it has no INCAR")
            return start.incar.get("METAGGA", "")
        except (*UNREADABLE, TypeError, IndexError) as error:
            raise RunError(f"{files.vasprun}: is damaged ({one_line(error)})") from None
    return None


def _symbol(titel: str) -> str:
    """Element of a TITEL such as ``PAW_PBE Ti_pv 07Sep2000``."""
    words = titel.split()
    return words[1].split("_")[0].split(".")[0] if len(words) > 1 else titel


def _listed(words: Iterable[str]) -> str:
    return ", ".join(words)


def _grid(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
