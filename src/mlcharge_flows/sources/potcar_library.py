"""The POTCAR library of the executable: what it holds for an input set, and its data sets."""

from __future__ import annotations

import tempfile
import warnings
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp import PotcarSingle

from mlcharge_flows.io import UNREADABLE, open_text
from mlcharge_flows.settings import Settings
from mlcharge_flows.vasp.potcar import read_potcar

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pymatgen.io.vasp.sets import VaspInputSet

    from mlcharge_flows.density.paw_dataset import PawDataset


def elements_without_potcar(elements: Iterable[str], generator: VaspInputSet) -> set[str]:
    """Find the elements for which an input set names no data set, or the library has none.

    Parameters
    ----------
    elements
        Symbols.
    generator
        Input set generator, which chooses the data sets; it is not changed.

    Returns
    -------
    set of str
        Symbols of the elements that cannot be run.
    """
    return {element for element in set(elements) if not _has_potcar(element, deepcopy(generator))}


def _has_potcar(element: str, generator: VaspInputSet) -> bool:
    atom = Structure(Lattice.cubic(5.0), [element], [[0, 0, 0]])
    try:
        with warnings.catch_warnings():
            # pymatgen knows the checksums of VASP's own data sets only.
            warnings.simplefilter("ignore")
            (name,) = generator.get_input_set(atom, potcar_spec=True)["POTCAR.spec"].split()
            PotcarSingle.from_symbol_and_functional(name, generator.user_potcar_functional)
    except (KeyError, *UNREADABLE):
        return False
    return True


class _Located(PotcarSingle):
    """A data set that pymatgen finds as it does for the run, without comparing it with VASP's.

    The comparison loads a table of all data sets of VASP, which takes a second.
    """

    @classmethod
    def from_file(cls, filename: Any) -> Any:
        """Give the path of the data set.

        Parameters
        ----------
        filename
            Where pymatgen has found it.

        Returns
        -------
        Path
            The same.
        """
        return Path(filename)


def datasets_of_library(names: Iterable[str], functional: Any) -> list[PawDataset]:
    """Read PAW data sets of the POTCAR library, each once per process.

    Parameters
    ----------
    names
        Names of the data sets, such as Ti_pv.
    functional
        POTCAR functional of pymatgen.

    Returns
    -------
    list of PawDataset
        In the order of the names.
    """
    with Settings().activated():
        paths: list[Any] = [_Located.from_symbol_and_functional(name, functional) for name in names]
    return [_of_file(path, path.stat().st_mtime_ns, path.stat().st_size) for path in paths]


def library_texts(elements: Iterable[str], generator: VaspInputSet) -> dict[str, str]:
    """Read the data sets of the POTCAR library that an input set chooses, as text.

    Parameters
    ----------
    elements
        Symbols.
    generator
        Input set generator; it is not changed.

    Returns
    -------
    dict of str to str
        By element; those that the library does not have are left out.
    """
    texts = {}
    for element in sorted(set(elements)):
        atom, own = Structure(Lattice.cubic(5.0), [element], [[0, 0, 0]]), deepcopy(generator)
        try:
            (name,) = own.get_input_set(atom, potcar_spec=True)["POTCAR.spec"].split()
            path: Any = _Located.from_symbol_and_functional(name, own.user_potcar_functional)
            with open_text(path) as file:
                texts[element] = file.read()
        except (KeyError, *UNREADABLE):
            continue
    return texts


@lru_cache(maxsize=256)
def _of_file(path: Path, mtime: int, size: int) -> PawDataset:
    (dataset,) = read_potcar(path)
    return dataset


@lru_cache(maxsize=64)
def datasets_of_text(text: str) -> tuple[PawDataset, ...]:
    """Read the PAW data sets of a POTCAR that is in memory.

    Parameters
    ----------
    text
        The POTCAR.

    Returns
    -------
    tuple of PawDataset
        In the order of the text.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "POTCAR"
        path.write_text(text)
        return read_potcar(path)
