"""Which elements a POTCAR library has no PAW data set for, found out before anything runs."""

from __future__ import annotations

import warnings
from copy import deepcopy
from typing import TYPE_CHECKING

from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp import PotcarSingle

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pymatgen.io.vasp.sets import VaspInputSet


def elements_without_data(elements: Iterable[str], generator: VaspInputSet) -> set[str]:
    """Elements that the input set names no data set for, or that the library lacks.

    Parameters
    ----------
    elements
        Symbols.
    generator
        Input set generator, which chooses the data sets; it is not changed.
    """
    return {element for element in set(elements) if not _has_data(element, deepcopy(generator))}


def _has_data(element: str, generator: VaspInputSet) -> bool:
    atom = Structure(Lattice.cubic(5.0), [element], [[0, 0, 0]])
    try:
        with warnings.catch_warnings():
            # pymatgen knows the checksums of VASP's own data sets only.
            warnings.simplefilter("ignore")
            return _find(atom, generator)
    except (KeyError, OSError, ValueError):
        return False


def _find(atom: Structure, generator: VaspInputSet) -> bool:
    (symbol,) = generator.get_input_set(atom, potcar_spec=True)["POTCAR.spec"].split()
    PotcarSingle.from_symbol_and_functional(symbol, generator.user_potcar_functional)
    return True
