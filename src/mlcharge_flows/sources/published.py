"""A published ChargE3Net file as a checkpoint, with the PAW data sets of the user's POTCARs."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure
from pymatgen.io.vasp.sets import MPRelaxSet

from mlcharge_flows.density.paw_dataset import PawDataset
from mlcharge_flows.file_kinds import not_a_file
from mlcharge_flows.models.model import ModelError
from mlcharge_flows.sources.run_inputs import RunInputs
from mlcharge_flows.sources.source import SourceError

if TYPE_CHECKING:
    from pathlib import Path

    from mlcharge_flows.models.checkpoint import Checkpoint
    from mlcharge_flows.settings import Settings

EXPORTED_POTCARS = (
    "these POTCARs are the exports of gpaw-vasp: the network was trained with VASP's, which have "
    "other valence electrons for some elements; its densities of those are wrong here"
)


def convert_published(
    file: Path, name: str, functional: str, settings: Settings
) -> tuple[Checkpoint, list[str]]:
    """Convert a published file to a checkpoint.

    Parameters
    ----------
    file
        The file as its authors released it.
    name
        Name of the model.
    functional
        POTCAR functional of pymatgen, such as PBE or PBE_54.
    settings
        Settings with the POTCAR library.

    Returns
    -------
    checkpoint : Checkpoint
        With the PAW data sets of the library.
    without : list of str
        Elements that it cannot predict because the library has no POTCAR for them.

    Raises
    ------
    SourceError
        There is no POTCAR at all.
    ModelError
        The file is no published ChargE3Net, or the name cannot be that of a model.
    SetupError
        The POTCAR library cannot be used.
    """
    from mlcharge_flows.models.charge3net import published_checkpoint

    if reason := not_a_file(file):  # before POTCARs are looked for
        raise ModelError(f"{file}: {reason}")
    needs = f"{file}: needs POTCARs, which tell valence electrons and channels; "
    if settings.potcar_library is None:
        raise SourceError(
            f"{needs}set PMG_VASP_PSP_DIR to your library, or MLCHARGE_VASP_CMD=gpaw-vasp for a "
            "trial with its exports"
        )
    with settings.activated():
        paw, without = materials_project_datasets(functional)
    if not paw:
        raise SourceError(
            f"{needs}there is none of {functional} in {settings.potcar_library}: set "
            "PMG_VASP_PSP_DIR to your library, or choose another of its functionals with "
            "--functional"
        )
    library = "gpaw-vasp's exports" if settings.exported_potcars else "VASP's"
    family = f"{library}, {functional}, chosen as Materials Project does"
    try:
        return published_checkpoint(file, name, paw, paw_family=family), without
    except ValidationError:
        raise ModelError(
            f"--as {name}: cannot be a model's name; use letters, digits, '.', '_', '+' and '-'"
        ) from None


def materials_project_datasets(functional: Any) -> tuple[dict[str, PawDataset], list[str]]:
    """Read the PAW data set of each element that Materials Project chooses.

    Parameters
    ----------
    functional
        POTCAR functional of pymatgen.

    Returns
    -------
    datasets : dict of str to PawDataset
        By element, without the free atoms, which may not be redistributed.
    without : list of str
        Elements that the library has no data set for.
    """
    datasets, without = {}, []
    for symbol in sorted(MPRelaxSet.CONFIG["POTCAR"]):
        atom = Structure(Lattice.cubic(5.0), [symbol], [[0, 0, 0]])
        try:
            with warnings.catch_warnings():
                # pymatgen warns of other functionals than its own, and of data sets that are not
                # VASP's.
                warnings.simplefilter("ignore")
                generator = MPRelaxSet(user_potcar_functional=functional)
                found = RunInputs.from_generator(atom, generator).datasets[symbol]
        except (OSError, KeyError):  # no such file, or no such functional
            without.append(symbol)
            continue
        datasets[symbol] = PawDataset(
            symbol=found.symbol, titel=found.titel, zval=found.zval, channels=found.channels
        )
    return datasets, without
