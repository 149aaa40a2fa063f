"""POTCAR: identity, valence electrons, channels, free atom and partial waves of PAW data sets.

Reads VASP's own PAW data sets and the exports of ``gpaw-vasp potcar``. Sections are found by their
titles; everything else in the file is ignored. POTCARs are licensed: nothing read here is stored.

References
----------
VASP wiki, POTCAR, https://www.vasp.at/wiki/index.php/POTCAR. Names of the sections: pymatgen's
``PotcarSingle`` and the exports that ``gpaw-vasp potcar`` writes.
"""

from __future__ import annotations

import re
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from pymatgen.core.periodic_table import Element

from mlcharge_flows.density.augmentation import atomic_occupancies
from mlcharge_flows.density.paw_dataset import PawDataset
from mlcharge_flows.errors import MlchargeError
from mlcharge_flows.io import UNREADABLE, UnreadableFileError, open_text
from mlcharge_flows.vasp.fortran import FortranNumberError, parse_real
from mlcharge_flows.vasp.input_text import read_content
from mlcharge_flows.vasp.potcar_data import Q_POINTS, ionic_potential, partial_waves, section

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

_KEY = r"^\s*(?:.*;\s*)?{key}\s*=\s*([^;\n]*)"


class PotcarError(MlchargeError, ValueError):
    """A POTCAR that is incomplete or malformed; one line that names the file and the defect."""


class TwoDatasetsError(PotcarError):
    """A POTCAR with two data sets of one element: ions are told apart by their place in POSCAR."""


def read_potcar(path: str | os.PathLike[str], *, plain: bool = False) -> tuple[PawDataset, ...]:
    """Read all data sets of a POTCAR, plain or compressed.

    Parameters
    ----------
    path
        The file; one or more concatenated data sets.
    plain
        Whether files that VASP does not read as text are refused, such as compressed ones.

    Returns
    -------
    tuple of PawDataset
        In file order.

    Raises
    ------
    PotcarError
        The file is not a whole POTCAR of PAW data sets.
    NotPlainTextError
        With `plain`, if VASP does not read the file as text.
    OSError
        The file cannot be opened.
    """
    path = Path(path)
    try:
        content = read_content(path, plain=plain)
    except UnreadableFileError as error:
        raise PotcarError(f"{path}: {error}") from None
    parts = content.decode("latin-1").split("End of Dataset")
    if len(parts) == 1 or parts[-1].strip():
        raise PotcarError(f"{path}: no whole data set, 'End of Dataset' is missing")
    datasets = []
    for number, text in enumerate(parts[:-1], start=1):
        try:
            datasets.append(_parse(text))
        except ValueError as error:
            raise PotcarError(f"{path}: data set {number}: {error}") from None
    return tuple(datasets)


def datasets_by_element(datasets: Iterable[PawDataset]) -> dict[str, PawDataset]:
    """Assign data sets to elements.

    Parameters
    ----------
    datasets
        Of a POTCAR.

    Returns
    -------
    dict of str to PawDataset
        In the order of the POTCAR.

    Raises
    ------
    TwoDatasetsError
        Two different data sets are of one element, such as pseudo-hydrogens: which ion has which
        would depend on positions in POSCAR and POTCAR.
    """
    found: dict[str, PawDataset] = {}
    for dataset in datasets:
        known = found.setdefault(dataset.symbol, dataset)
        if known.titel != dataset.titel:
            raise TwoDatasetsError(
                f"the POTCAR has two PAW data sets of {dataset.symbol} ({known.titel} and "
                f"{dataset.titel}), initial densities are for one of each element: use one for all "
                "its ions"
            )
    return found


class PotcarSearch:
    """PAW data sets in folders of POTCARs, found by TITEL and free atom.

    Parameters
    ----------
    folders
        Searched to any depth for files whose names begin with POTCAR; each may hold several data
        sets.
    """

    def __init__(self, folders: Iterable[str | os.PathLike[str]]) -> None:
        self._folders = [Path(folder) for folder in folders]
        self._read: dict[str, dict[Path, PawDataset]] = {}

    @cached_property
    def _files(self) -> dict[str, list[Path]]:
        """Files by the TITEL in their first lines, in which a POTCAR names its first data set."""
        found: dict[str, list[Path]] = {}
        for folder in self._folders:
            for path in sorted(folder.rglob("POTCAR*")):
                try:
                    with open_text(path, encoding="latin-1") as file:
                        titel = " ".join(file.readline().split())
                except UNREADABLE:
                    continue
                found.setdefault(titel, []).append(path)
        return found

    def of_titel(self, titel: str) -> dict[Path, PawDataset]:
        """Find all data sets of a TITEL, each file read once.

        Parameters
        ----------
        titel
            TITEL.

        Returns
        -------
        dict of Path to PawDataset
            By file; files that cannot be read are left out.
        """
        titel = " ".join(titel.split())
        if titel not in self._read:
            found = {}
            for path in self._files.get(titel, []):
                try:
                    datasets = read_potcar(path)
                except (PotcarError, OSError):
                    continue
                for dataset in datasets:
                    if " ".join(dataset.titel.split()) == titel:
                        found[path] = dataset
            self._read[titel] = found
        return self._read[titel]

    def find(self, dataset: PawDataset) -> PawDataset | None:
        """Find the whole of a data set of which some is known.

        Parameters
        ----------
        dataset
            With TITEL, and free atom or fingerprint.

        Returns
        -------
        PawDataset or None
            The one of the same TITEL, valence, channels and free atom; None if no folder has it.
        """
        for found in self.of_titel(dataset.titel).values():
            is_same = found.has_fingerprint(dataset.fingerprint)
            if is_same or (dataset.has_free_atom and found.matches(dataset)):
                return found
        return None


def _parse(text: str) -> PawDataset:
    titel = _header(text, "TITEL")
    zval = _number(text, "ZVAL")
    lines = [line.strip() for line in text.splitlines()]
    channels = _channels(lines)
    n = len(channels)
    form_factor = section(lines, "atomic pseudo charge-density", Q_POINTS)
    q_max = float(section(lines, "local part", 1)[0])
    if q_max <= 0.0 or form_factor[0] == 0.0:
        raise ValueError("the atomic density is empty or has no mesh")
    occupancies = section(lines, "uccopancies in atom", n * n).reshape(n, n)
    return PawDataset(
        symbol=_symbol(text, titel),
        titel=titel,
        zval=zval,
        channels=channels,
        q_step=q_max / Q_POINTS,
        form_factor=form_factor,
        atomic_occupancies=atomic_occupancies(channels, occupancies),
        lexch=_header(text, "LEXCH"),
        enmax=_number(text, "ENMAX"),
        mass=_number(text, "POMASS"),
        sha256=sha256(text.strip().encode("latin-1")).hexdigest(),
        partial_waves=partial_waves(lines, channels),
        ionic_potential=ionic_potential(lines, channels),
    )


def _header(text: str, key: str) -> str:
    match = re.search(_KEY.format(key=key), text, flags=re.MULTILINE)
    if match is None or not match.group(1).strip():
        raise ValueError(f"{key} is missing from the header")
    return match.group(1).strip()


def _number(text: str, key: str) -> float:
    word = _header(text, key).split()[0]
    try:
        return parse_real(word)
    except FortranNumberError as error:
        raise ValueError(f"{key} = {word!r} {error}") from None


def _symbol(text: str, titel: str) -> str:
    # VRHFIN names the element in nearly all data sets (but X in one of xenon), TITEL, with a suffix
    # such as _pv, in all.
    words = titel.split()
    candidates = [_header(text, "VRHFIN")] if "VRHFIN" in text else []
    candidates += words[1:2]
    for candidate in candidates:
        match = re.match(r"([A-Z][a-z]?)(?![A-Za-z])", candidate.replace("_", " "))
        if match and Element.is_valid_symbol(match.group(1)):
            return match.group(1)
    raise ValueError(f"no element symbol in TITEL = {titel}")


def _channels(lines: Sequence[str]) -> tuple[int, ...]:
    """Collect l of each channel: every ``Non local Part`` block holds some channels of one l."""
    channels: list[int] = []
    for index, line in enumerate(lines):
        if line == "Non local Part":
            words = lines[index + 1].split() if index + 1 < len(lines) else []
            if len(words) < 2 or not (words[0].isdigit() and words[1].isdigit()):
                raise ValueError(
                    "a 'Non local Part' does not begin with l and a number of channels"
                )
            channels += [int(words[0])] * int(words[1])
    if not channels:
        raise ValueError("no 'Non local Part': not a PAW data set")
    return tuple(channels)
