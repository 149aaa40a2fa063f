"""PAW data sets of a run whose folder has no POTCAR, found in a library of POTCARs.

OUTCAR names the TITEL of each. A POTCAR.spec, which is written in place of a licensed POTCAR,
may add a hash of the file, or statistics of its arrays, which tell releases of one TITEL apart.
"""

from __future__ import annotations

import json
from hashlib import md5, sha256
from typing import TYPE_CHECKING, Any

from pymatgen.io.vasp.inputs import PotcarSingle

from mlcharge_flows.errors import MlchargeError
from mlcharge_flows.io import UNREADABLE, open_bytes, open_text, plain_or_compressed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.vasp.potcar import PotcarSearch


class LibraryError(MlchargeError, ValueError):
    """A library does not have the data sets of a run; one line."""


def datasets_of_library(
    folder: Path, suffix: str, titels: Sequence[str], library: PotcarSearch
) -> tuple[PawDataset, ...]:
    """Find the PAW data sets that an OUTCAR names.

    Parameters
    ----------
    folder
        Run folder, in which POTCAR.spec is looked for.
    suffix
        Of the names of its files, such as ``.relax1``.
    titels
        TITEL of each data set, in the order of OUTCAR.
    library
        POTCARs.

    Returns
    -------
    tuple of PawDataset
        In the same order.

    Raises
    ------
    LibraryError
        The library does not have a data set, or several of its TITEL, of which POTCAR.spec does not
        name one.
    """
    specs = _specs(folder, suffix)
    return tuple(_one(titel, specs.get(_words(titel), {}), library) for titel in titels)


def find_datasets(specs: Sequence[dict[str, Any]], library: PotcarSearch) -> list[PawDataset]:
    """Find the PAW data sets of specifications, as pymatgen and Materials Project write them.

    Parameters
    ----------
    specs
        ``titel``, and ``hash`` or ``summary_stats`` where they are known.
    library
        POTCARs.

    Returns
    -------
    list of PawDataset
        In the same order.

    Raises
    ------
    LibraryError
        The library does not have a data set, or several of its TITEL, of which the specification
        does not name one.
    """
    return [_one(str(spec.get("titel")), spec, library) for spec in specs]


def _one(titel: str, spec: dict[str, Any], library: PotcarSearch) -> PawDataset:
    candidates = library.of_titel(titel)
    if not candidates:
        raise LibraryError(f"there is no POTCAR, and none of {titel} in the library (--potcars)")
    named = {path: dataset for path, dataset in candidates.items() if _has_hash(path, spec)}
    fitting = named or {path: d for path, d in candidates.items() if _has_statistics(path, spec)}
    if not fitting:
        raise LibraryError(f"{titel} of the library is not the one that POTCAR.spec names")
    atoms = {dataset.fingerprint: dataset for dataset in fitting.values()}
    if len(atoms) > 1:
        raise LibraryError(
            f"the library has {len(atoms)} different data sets {titel}, and POTCAR.spec does not "
            "tell which: give --potcars the folder of one release"
        )
    return next(iter(atoms.values()))


def _specs(folder: Path, suffix: str) -> dict[str, dict[str, Any]]:
    """What POTCAR.spec says of each TITEL; nothing without one, or where it lists names alone."""
    for name in (f"POTCAR.spec{suffix}", "POTCAR.spec", "POTCAR.orig.spec"):
        path = plain_or_compressed(folder / name)
        if not path.is_file():
            continue
        try:
            with open_text(path) as file:
                listed = json.load(file)
        except (json.JSONDecodeError, *UNREADABLE):
            return {}
        entries = listed if isinstance(listed, list) else [listed]
        return {
            _words(entry["titel"]): entry
            for entry in entries
            if isinstance(entry, dict) and isinstance(entry.get("titel"), str)
        }
    return {}


def _has_hash(path: Path, spec: dict[str, Any]) -> bool:
    """Whether a hash of a POTCAR, MD5 or SHA-256 of its text, is that of a specification."""
    given = spec.get("hash")
    if not given:
        return False
    with open_bytes(path) as file:
        content = file.read()
    return any(given == make(content, usedforsecurity=False).hexdigest() for make in (md5, sha256))


def _has_statistics(path: Path, spec: dict[str, Any]) -> bool:
    """Whether keywords and statistics of a POTCAR agree with a specification that has any."""
    if not (given := spec.get("summary_stats")):
        return True
    found = PotcarSingle.from_file(str(path)).spec()["summary_stats"]
    return bool(PotcarSingle.compare_potcar_stats(found, given))


def _words(titel: str) -> str:
    return " ".join(titel.split())
