"""Formula, volume and multiplicities of a CIF, and whether the crystal agrees with them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pymatgen.core.composition import Composition
from pymatgen.core.periodic_table import Element
from pymatgen.io.cif import str2float

from mlcharge_flows.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pymatgen.core.structure import Structure

_MULTIPLICITIES = ("_atom_site_symmetry_multiplicity", "_atom_site_site_symmetry_multiplicity")
_VOLUME_TOLERANCE = 0.02
_COUNT = re.compile(r"([A-Z][a-z]?)(\d+\.?\d*|\.\d+)?")


def formula_of(data: Mapping[str, Any]) -> dict[str, float] | None:
    """Count the atoms of ``_chemical_formula_sum`` by element.

    Parameters
    ----------
    data
        Items of a data block, by names in lower case.

    Returns
    -------
    dict of str to float, or None
        None if the item is missing or cannot be read.

    Examples
    --------
    >>> formula_of({"_chemical_formula_sum": "Cs Cl2"})
    {'Cs': 1.0, 'Cl': 2.0}
    """
    text = data.get("_chemical_formula_sum")
    if not isinstance(text, str):
        return None
    counts: dict[str, float] = {}
    for symbol, count in _COUNT.findall(text):
        if not Element.is_valid_symbol(symbol):
            return None
        counts[symbol] = counts.get(symbol, 0.0) + float(count or 1)
    return counts if not _COUNT.sub("", text).strip() else None


def formula_mismatch(data: Mapping[str, Any], structure: Structure) -> str | None:
    """How a crystal contradicts its own formula and number of formula units; None if it does not.

    The formula is of one unit by the dictionary, of the whole cell in files of pymatgen; the number
    of units counts units of the formula or, there, of the reduced one.

    Parameters
    ----------
    data
        Items of a data block, by names in lower case.
    structure
        What was made of it.

    Returns
    -------
    str or None
        One line.
    """
    counts = formula_of(data)
    if counts is None:
        return None
    formula = one_line(data["_chemical_formula_sum"], 60)
    own = structure.composition.element_composition
    unit = Composition(counts)
    text = own.formula
    if unit.num_atoms > own.num_atoms + 0.01:
        return f"has fewer atoms ({text}) than its formula ({formula}); is the file complete?"
    units = own.num_atoms / unit.num_atoms
    if not own.almost_equals(unit * units, rtol=0.01, atol=0.01):
        return f"has other atoms ({text}) than its formula ({formula}); is the file complete?"
    z = data.get("_cell_formula_units_z")
    try:
        expected = float(z) if z else None
    except (TypeError, ValueError):  # such as a question mark
        expected = None
    if abs(units - round(units)) > 0.01:
        return f"has {units:g} units of its formula ({formula}); is the file complete?"
    reduced = own.num_atoms / own.reduced_composition.num_atoms
    if expected and min(abs(expected - units), abs(expected - reduced)) > 0.01:
        return (
            f"has {units:g} units of its formula ({formula}), but _cell_formula_units_Z is {z}; "
            "is the file complete?"
        )
    return None


def size_mismatch(data: Mapping[str, Any], structure: Structure) -> str | None:
    """How a crystal contradicts the volume, or the multiplicities, that its file gives.

    With a formula, that one tells the number of atoms: some programs write the multiplicities of
    another setting.

    Parameters
    ----------
    data
        Items of a data block, by names in lower case.
    structure
        What was made of it.

    Returns
    -------
    str or None
        One line; None if it does not.
    """
    given, own = data.get("_cell_volume"), structure.lattice.volume
    if isinstance(given, str) and given.strip() not in (".", "?", ""):
        volume = str2float(given)
        if abs(volume - own) > _VOLUME_TOLERANCE * own:
            return f"_cell_volume is {volume:g}, that of its cell {own:.6g} cubic angstrom"
    column: Any = next((data[name] for name in _MULTIPLICITIES if name in data), [])
    counts = [column] if isinstance(column, str) else column
    if formula_of(data) or not structure.is_ordered or not counts:
        return None
    if not all(count.strip().isdecimal() for count in counts):
        return None
    expected = sum(map(int, counts))
    if expected == len(structure):
        return None
    return (
        f"the multiplicities add up to {expected} atoms, its symmetry makes {len(structure)}; "
        "correct the wrong one"
    )
