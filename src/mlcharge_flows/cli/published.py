"""A published ChargE3Net file made a checkpoint, with the PAW data sets of the user's POTCARs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.models.checkpoint import Checkpoint
    from mlcharge_flows.settings import Settings

EXPORTED = (
    "these POTCARs are the exports of gpaw-vasp: the network was trained with VASP's, which have "
    "other valence electrons for some elements; its densities of those are wrong here"
)


class PotcarsMissingError(ValueError):
    """There is no POTCAR to take valence electrons and channels from; one line."""


def converted(
    file: Path, name: str, functional: str, settings: Settings
) -> tuple[Checkpoint, list[str]]:
    """Make a checkpoint of a published file.

    Parameters
    ----------
    file
        As its authors released it.
    name
        What the model shall be called by.
    functional
        POTCAR functional of pymatgen, such as PBE or PBE_54.
    settings
        They know the POTCAR library.

    Returns
    -------
    tuple
        The checkpoint, and the elements that it does not know for want of a POTCAR.

    Raises
    ------
    PotcarsMissingError
        There is no POTCAR at all.
    ModelError
        The file is no published ChargE3Net, or the name cannot be one.
    SetupError
        The POTCAR library cannot be used.
    """
    from pydantic import ValidationError

    from mlcharge_flows.models.charge3net import published_checkpoint
    from mlcharge_flows.models.model import ModelError

    if not file.is_file():  # before POTCARs are looked for
        raise ModelError(f"{file}: there is no such file")
    with settings.activated():
        paw, without = paw_datasets(functional)
    if not paw:
        raise PotcarsMissingError(
            f"{file}: needs POTCARs, which tell valence electrons and channels; there is none of "
            f"{functional} in {settings.potcar_library}: set PMG_VASP_PSP_DIR to your library, or "
            "choose another of its functionals with --functional"
        )
    library = "VASP's" if not settings.embedded else "gpaw-vasp's exports"
    family = f"{library}, {functional}, chosen as Materials Project does"
    try:
        return published_checkpoint(file, name, paw, paw_family=family), without
    except ValidationError:
        raise ModelError(
            f"--as {name}: cannot be a model's name; use letters, digits, '.', '_', '+' and '-'"
        ) from None


def paw_datasets(functional: str) -> tuple[dict[str, PawDataset], list[str]]:
    """PAW data set of every element that the library has Materials Project's choice for.

    Parameters
    ----------
    functional
        POTCAR functional of pymatgen.

    Returns
    -------
    tuple
        By element, without the free atoms, which may not be passed on; and the elements that are
        left out.
    """
    import warnings

    from pymatgen.core import Lattice, Structure

    from mlcharge_flows.atomate2.sets.comparison import ComparisonSetGenerator
    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.sources import RunInputs

    # As the protocol's own choice: pymatgen warns of another functional than the protocol's.
    choice = ComparisonSetGenerator().config_dict | {"POTCAR_FUNCTIONAL": functional}
    generator = ComparisonSetGenerator(config_dict=choice)
    cards, without = {}, []
    for symbol in sorted(choice["POTCAR"]):
        atom = Structure(Lattice.cubic(5.0), [symbol], [[0, 0, 0]])
        try:
            with warnings.catch_warnings():
                # pymatgen knows the checksums of VASP's own data sets only.
                warnings.simplefilter("ignore")
                potcar = RunInputs.from_generator(atom, generator).datasets[symbol]
        except (OSError, KeyError):  # no such file, or no such functional
            without.append(symbol)
            continue
        cards[symbol] = PawDataset(symbol, potcar.titel, potcar.zval, potcar.channels)
    return cards, without
