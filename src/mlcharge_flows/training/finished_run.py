"""Folder of a finished VASP run, packed as a sample of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mlcharge_flows.density.paw_dataset import PawDataset
from mlcharge_flows.errors import MlchargeError, one_line
from mlcharge_flows.training.sample import DensitySample
from mlcharge_flows.vasp.chgcar import read_chgcar
from mlcharge_flows.vasp.outcar import Outcar, read_outcar
from mlcharge_flows.vasp.potcar import read_potcar

if TYPE_CHECKING:
    from mlcharge_flows.training.sample import Origin


class RunError(MlchargeError, ValueError):
    """A run that cannot be packed; one line that names its folder and the reason."""


def read_finished_run(folder: str | Path, origin: Origin) -> DensitySample:
    """Pack the CHGCAR of a run with its POTCAR and OUTCAR, plain or gzipped.

    With a POTCAR, the sample is a difference from the superposition of its free atoms. Without one,
    the channels come from OUTCAR, and the density itself is packed. Energies, steps and ENCUT come
    from OUTCAR. Convergence is checked if there is an OUTCAR.

    Parameters
    ----------
    folder
        Run folder.
    origin
        Identity of the sample.

    Returns
    -------
    DensitySample
        The packed density.

    Raises
    ------
    RunError
        Files are missing, broken, or do not fit each other, or the run did not converge.
    """
    folder = Path(folder)
    chgcar, outcar, potcar = (_existing(folder, name) for name in ("CHGCAR", "OUTCAR", "POTCAR"))
    if chgcar is None:
        raise RunError(f"{folder}: there is no CHGCAR")
    try:
        density = read_chgcar(chgcar)
        run = read_outcar(outcar) if outcar else Outcar()
        if outcar and run.energies and not run.converged:
            raise RunError(f"{folder}: the run did not converge")
        paw = _paw_datasets(folder, potcar, run, density.crystal.symbols)
        return DensitySample.pack(
            density,
            paw,
            origin,
            energy=float("nan") if run.energy is None else run.energy,
            energies=run.energies,
            encut=run.encut,
            n_electrons=run.n_electrons,
        )
    except RunError:
        raise
    except (ValueError, OSError, EOFError) as error:
        text = one_line(error)
        raise RunError(text if str(folder) in text else f"{folder}: {text}") from None


def _existing(folder: Path, name: str) -> Path | None:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    return None


def _paw_datasets(
    folder: Path, potcar: Path | None, outcar: Outcar, symbols: tuple[str, ...]
) -> dict[str, PawDataset]:
    if potcar is not None:
        found = {dataset.symbol: dataset for dataset in read_potcar(potcar)}
    elif outcar.titels:
        found = {
            _symbol(titel): PawDataset(_symbol(titel), titel, None, channels)
            for titel, channels in zip(outcar.titels, outcar.channels, strict=True)
        }
    else:
        raise RunError(f"{folder}: neither POTCAR nor OUTCAR tells the PAW data sets")
    if missing := sorted(set(symbols) - set(found)):
        raise RunError(f"{folder}: no PAW data set for {', '.join(missing)}")
    return found


def _symbol(titel: str) -> str:
    """Element of a TITEL such as ``PAW_PBE Ti_pv 07Sep2000``."""
    words = titel.split()
    return words[1].split("_")[0].split(".")[0] if len(words) > 1 else titel
