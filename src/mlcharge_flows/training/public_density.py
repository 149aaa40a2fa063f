"""Samples of public charge densities: a CHGCAR with the document of its task instead of OUTCAR."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlcharge_flows.density.paw_dataset import n_electrons
from mlcharge_flows.errors import MlchargeError, one_line
from mlcharge_flows.io import UNREADABLE
from mlcharge_flows.training.library_datasets import find_datasets
from mlcharge_flows.training.origin import RunSettings
from mlcharge_flows.training.sample import DensitySample
from mlcharge_flows.vasp.chgcar import read_chgcar
from mlcharge_flows.vasp.density_messages import INTEGRAL_TOLERANCE
from mlcharge_flows.vasp.incar import cutoff

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.training.origin import Origin
    from mlcharge_flows.vasp.potcar import PotcarSearch

CHGCAR = "CHGCAR.gz"
TASK = "task.json"
"""Document of the task of a public density."""
_LMAXMIX = 2
"""VASP's default."""


class PublicDensityError(MlchargeError, ValueError):
    """A public density cannot be packed; one line that names its folder and the reason."""


def read_public_density(
    folder: str | Path, origin: Origin, library: PotcarSearch | None = None
) -> DensitySample:
    """Pack the density of a task, with its PAW data sets from a library.

    Parameters
    ----------
    folder
        With CHGCAR.gz and task.json.
    origin
        Identity of the sample.
    library
        POTCARs; the document names TITEL, and a hash or statistics of each.

    Returns
    -------
    DensitySample
        The packed density.

    Raises
    ------
    PublicDensityError
        A file is missing or broken, the library lacks a data set, the cell is charged, or the task
        did not end successfully.
    """
    folder = Path(folder)
    try:
        task = json.loads((folder / TASK).read_text())
        if library is None:
            raise PublicDensityError(
                "a public density needs the POTCARs that its document names (--potcars)"
            )
        if task.get("state") not in (None, "successful"):
            raise PublicDensityError(f"the task is {one_line(task['state'], 40)}")
        inputs = task.get("input") or {}
        density = read_chgcar(folder / CHGCAR)
        specs = inputs.get("potcar_spec") or []
        found = {dataset.symbol: dataset for dataset in find_datasets(specs, library)}
        if missing := sorted(set(density.crystal.symbols) - found.keys()):
            raise PublicDensityError(f"no PAW data set for {', '.join(missing)}")
        neutral = n_electrons(found[symbol] for symbol in density.crystal.symbols)
        if abs(density.n_electrons - neutral) > INTEGRAL_TOLERANCE:
            raise PublicDensityError(
                f"{density.n_electrons:.4f} electrons on the grid, the data sets have {neutral:g}: "
                "a charged cell, or other data sets"
            )
        tags = {**(inputs.get("parameters") or {}), **(inputs.get("incar") or {})}
        energy = task.get("energy")
        sample = DensitySample.pack(
            density,
            found,
            origin,
            energy=float("nan") if energy is None else float(energy),
            encut=cutoff({tag: value for tag, value in tags.items() if value}),
            n_electrons=neutral,
        )
        settings = _settings(tags, inputs.get("hubbards") or {}, found, density.crystal.symbols)
        return replace(sample, settings=settings)
    except MlchargeError as error:
        raise PublicDensityError(_named(folder, error)) from None
    except (*UNREADABLE, TypeError, AttributeError, KeyError) as error:
        raise PublicDensityError(_named(folder, one_line(error))) from None


def _settings(
    tags: Mapping[str, Any],
    hubbards: Mapping[str, float],
    datasets: Mapping[str, PawDataset],
    symbols: tuple[str, ...],
) -> RunSettings:
    """Settings that the density depends on, from the INCAR of a task."""
    lmaxmix = int(tags.get("LMAXMIX") or _LMAXMIX)
    elements = list(dict.fromkeys(symbols))
    hubbard = dict.fromkeys(elements, (-1, 0.0, 0.0))
    if tags.get("LDAU"):
        columns = [tags.get(name) or [0] * len(elements) for name in ("LDAUL", "LDAUU", "LDAUJ")]
        for symbol, l, u, j in zip(elements, *columns, strict=False):
            if int(l) >= 0 and (float(u) or hubbards.get(symbol)):
                hubbard[symbol] = (int(l), float(u), float(j))
    lexch = next(iter(datasets.values())).lexch
    gga = str(tags.get("GGA") or "--").upper()
    return RunSettings(
        functional=lexch if gga in ("--", "NONE") else gga,
        metagga=str(tags.get("METAGGA") or "").upper().replace("--", "").replace("NONE", ""),
        hybrid=bool(tags.get("LHFCALC", False)),
        ispin=int(tags.get("ISPIN") or 1),
        lmaxmix=lmaxmix,
        charged=False,
        hubbard=hubbard,
        occupancy_lmax={
            symbol: min(lmaxmix, 2 * max(dataset.channels)) for symbol, dataset in datasets.items()
        },
    )


def _named(folder: Path, error: object) -> str:
    text = str(error)
    return text if str(folder) in text else f"{folder}: {text}"
