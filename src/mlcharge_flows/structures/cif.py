"""Crystals of a CIF: its data blocks, read by pymatgen once they say what they mean.

pymatgen mends what is out of specification and warns of it. Here everything that could change the
crystal is decided first (elements of labels, settings of space groups, coordinates that are not
known) or refused; a warning that is not known to be harmless is a refusal, too.

References
----------
Hall, Allen, Brown, Acta Cryst. A 47, 655 (1991), the CIF syntax.
"""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from pymatgen.core.operations import SymmOp
from pymatgen.core.periodic_table import Element
from pymatgen.io.cif import CifBlock, CifFile, CifParser, str2float

from mlcharge_flows.errors import MlchargeError, one_line
from mlcharge_flows.structures.formula import formula_mismatch, formula_of, size_mismatch
from mlcharge_flows.structures.space_group import (
    are_isometries,
    group_of,
    named_groups,
    settings_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pymatgen.core.structure import Structure

# Names of items, in lower case and with underscores alone.
_CELL = (
    "_cell_length_a _cell_length_b _cell_length_c _cell_angle_alpha _cell_angle_beta "
    "_cell_angle_gamma _symmetry_cell_setting _space_group_crystal_system"
).split()
_OPERATIONS = ("_symmetry_equiv_pos_as_xyz", "_space_group_symop_operation_xyz")
_SYMBOLS = (
    *("_symmetry_space_group_name_h-m", "_symmetry_space_group_name_h_m"),
    *("_symmetry_space_group_name_h-m_alt", "_space_group_name_h-m"),
    *("_space_group_name_h_m", "_space_group_name_h-m_alt"),
)
_HALL = ("_symmetry_space_group_name_hall", "_space_group_name_hall")
_NUMBERS = ("_symmetry_int_tables_number", "_space_group_it_number")
_POSITIONS = ["_atom_site_fract_x", "_atom_site_fract_y", "_atom_site_fract_z"]
_SITE = ["_atom_site_label", "_atom_site_type_symbol", *_POSITIONS, "_atom_site_occupancy"]
_CHARGES = ["_atom_type_symbol", "_atom_type_oxidation_number"]
_MAGNETIC_GROUP = ("_space_group_magn", "_space_group_symop_magn")
_MAGNETIC = ("_atom_site_moment", *_MAGNETIC_GROUP)
_UNKNOWN = (".", "?", "")
_HARMLESS = re.compile(
    r"fractional coordinates rounded to ideal values|No Pauling electronegativity"
    r"|Keys changed to match new magCIF|Pauling file corrections applied"
    r"|1-line symmetry op P1|Spacegroup from \S+ used|Skipping relative stoichiometry check"
)
_HAS_CRYSTAL = re.compile(r"^\s*_(cell[_.]length_a|atom_site[_.])", re.MULTILINE | re.IGNORECASE)


class StructureError(MlchargeError, ValueError):
    """A structure or its file cannot be used; the message is one line with what to do."""


def cif_blocks(text: str) -> list[str]:
    r"""Split a CIF into its data blocks that hold a crystal.

    Parameters
    ----------
    text
        Content of the file.

    Returns
    -------
    list of str
        Text of each such block; blocks of publication data are left out. A line that begins with
        ``data_`` within a text field begins no block.

    Raises
    ------
    StructureError
        There is no data block, or no crystal in any.

    Examples
    --------
    >>> cif_blocks("data_global\n_journal_year 2021\ndata_I\n_cell_length_a 4\n")
    ['data_I\n_cell_length_a 4']
    """
    blocks: list[list[str]] = []
    values: dict[str, str] = {}
    in_text = False
    for line in text.splitlines():
        if line.startswith(";"):
            in_text = not in_text
        if re.match(r"\s*data_", line, re.IGNORECASE):
            if in_text:
                line = line.replace("_", " ", 1)
            else:
                blocks.append([])
                values = {}
                line = "data_" + line.strip()[5:]
        elif not in_text:  # key words are of either case, but not for pymatgen
            line = re.sub(r"^\s*loop_", "loop_", line, flags=re.IGNORECASE)
            if item := re.match(r"\s*(_\S+)\s+([^_\s].*)", line):
                name, value = item[1].lower(), item[2].strip()
                if values.setdefault(name, value) != value:
                    raise StructureError(f"gives {one_line(name, 60)} twice")
        if blocks:
            blocks[-1].append(line)
    if not blocks:
        raise StructureError("there is no data block in it; is it a CIF?")
    texts = ["\n".join(block) for block in blocks]
    crystals = [text for text in texts if _HAS_CRYSTAL.search(text)]
    if not crystals:
        raise StructureError("not a complete CIF; the file may be cut")
    return crystals


def structure_of_cif(text: str) -> Structure:
    """Crystal of one data block.

    Parameters
    ----------
    text
        The block.

    Returns
    -------
    Structure
        Its cell as the file gives it; ordered or not.

    Raises
    ------
    StructureError
        The block does not say unambiguously which atoms there are and where, or its crystal does
        not agree with its own formula and number of formula units.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            (block,) = CifFile.from_str(text).data.values()
            _refuse(caught)
            data = {name.lower().replace(".", "_").rstrip("_"): block[name] for name in block.data}
            if any(name.startswith(_MAGNETIC) for name in data):
                if not any(name.startswith(_MAGNETIC_GROUP) for name in data):
                    raise StructureError(
                        "gives magnetic moments without magnetic symmetry operations; add "
                        "_space_group_symop_magn_operation_xyz, or remove the moments"
                    )
                return _parsed(text)
            return _structure(data)
        except StructureError:
            raise
        except Exception as error:  # the parser raises whatever the broken text leads it to
            if "Occupancy" in str(error):
                raise StructureError("two atoms on one site; remove one of them") from None
            raise StructureError("not a complete CIF; the file may be cut") from None


def _structure(data: Mapping[str, Any]) -> Structure:
    parts = {name: data[name] for name in _CELL if name in data}
    for name in (*_CELL[:6], "_cell_volume"):
        _check_number(name, data.get(name))
    sites = _sites(data)
    loops = [list(sites)]
    if all(isinstance(data.get(name), list) for name in _CHARGES):
        parts |= {name: data[name] for name in _CHARGES}
        loops.append(_CHARGES)

    def build(operations: list[str]) -> Structure:
        loop = [_OPERATIONS[0]]
        content = {**parts, _OPERATIONS[0]: operations, **sites}
        return _parsed(str(CifFile({"x": CifBlock(content, [loop, *loops], "x")})))

    if operations := _operations(data):
        structure = build(operations)
        _check_operations([SymmOp.from_xyz_str(text) for text in operations], data, structure)
        if (mismatch := formula_mismatch(data, structure)) and structure.is_ordered:
            raise StructureError(mismatch)
    else:
        structure = _in_a_setting(data, build)
    if mismatch := size_mismatch(data, structure):
        raise StructureError(mismatch)
    return structure


def _check_number(name: str, value: object) -> None:
    """Refuse text in the place of a number, such as a comma in it or a fraction."""
    if isinstance(value, str) and value.strip() not in _UNKNOWN:
        try:
            str2float(value)
        except ValueError:
            raise StructureError(f"{name}: {one_line(value, 20)!r} is no number") from None


def _parsed(text: str) -> Structure:
    """Crystal that pymatgen makes of a block, unless it warns of something that matters."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        parser = CifParser.from_str(text, check_cif=False)
        (structure,) = parser.parse_structures(primitive=False, on_error="raise")
    _refuse(caught, vars(parser)["warnings"])
    return structure


def _refuse(caught: Iterable[warnings.WarningMessage], more: Iterable[str] = ()) -> None:
    """Raise the first warning of pymatgen's that may have changed the crystal."""
    messages = [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
    for message in [*messages, *more]:
        if not _HARMLESS.search(message):
            stray = re.match(r"Possible issue in CIF file at line: (.*)", message)
            reason = f"text that belongs to no item: {stray[1]!r}" if stray else message
            raise StructureError(one_line(reason, 200))


def _operations(data: Mapping[str, Any]) -> list[str]:
    """Symmetry operations that a block lists; empty if it lists none."""
    given: Any = next((data[name] for name in _OPERATIONS if data.get(name)), [])
    operations = [given] if isinstance(given, str) else list(given)
    for operation in operations:
        try:
            determinant = np.linalg.det(SymmOp.from_xyz_str(operation).rotation_matrix)
        except ValueError:
            determinant = 0.0
        if operation.count(",") != 2 or abs(abs(determinant) - 1) > 1e-6:
            raise StructureError(
                f"symmetry operation {one_line(operation, 40)!r} cannot be read; put operations "
                "with blanks in quotes"
            )
    return operations


def _check_operations(
    operations: list[SymmOp], data: Mapping[str, Any], structure: Structure
) -> None:
    """Refuse operations that are not of the cell, of no group, or of another than is named."""
    rotations = np.array([operation.rotation_matrix for operation in operations])
    lattice = structure.lattice.matrix
    if not are_isometries(rotations, lattice):
        raise StructureError("the symmetry operations are not those of the cell")
    shifts = np.array([operation.translation_vector for operation in operations])
    if (listed := group_of(rotations, shifts, lattice)) is None:
        raise StructureError("the symmetry operations are no group: some are missing or wrong")
    named = named_groups(*_names_of_group(data))
    if not named or any(listed in numbers for numbers in named.values()):
        return
    # All atoms may be listed, with the identity alone.
    own = structure.get_space_group_info(symprec=0.01)[1] if structure.is_ordered else None
    if structure.is_ordered and not any(own in numbers for numbers in named.values()):
        raise StructureError(
            f"names space group {next(iter(named))}, but lists operations of number {listed}; "
            "complete them, or correct the name"
        )


def _names_of_group(data: Mapping[str, Any]) -> tuple[str | None, str | None, int | None]:
    """Hermann-Mauguin symbol, Hall symbol and number of a block's space group."""
    number = _first(data, _NUMBERS)
    return _first(data, _SYMBOLS), _first(data, _HALL), int(str2float(number)) if number else None


def _in_a_setting(data: Mapping[str, Any], build: Callable[[list[str]], Structure]) -> Structure:
    """Crystal of a block without operations, in the setting of its space group that fits."""
    symbol, hall, number = _names_of_group(data)
    named = named_groups(symbol, hall, number)
    if named and not set.intersection(*named.values()):
        raise StructureError(
            f"names different space groups, {' and '.join(named)}; correct one, or add "
            f"{_OPERATIONS[0]}"
        )
    if symbol is None and hall is None and number is None:
        structure = build(["x,y,z"])
        if (mismatch := formula_mismatch(data, structure)) and structure.is_ordered:
            raise StructureError(f"names no space group, and {mismatch}")
        return structure
    lattice = build(["x,y,z"]).lattice.matrix
    try:
        settings = settings_of(lattice, symbol, hall, number)
    except ValueError as error:
        raise StructureError(f"{one_line(error, 80)}; add {_OPERATIONS[0]}") from None
    if not settings:
        raise StructureError(f"the cell is not one of space group {symbol or hall or number}")
    built = {setting.name: build(setting.operations) for setting in settings}
    if any(not structure.is_ordered for structure in built.values()):
        return next(iter(built.values()))  # refused for that
    mismatches = {name: formula_mismatch(data, structure) for name, structure in built.items()}
    fitting = {name: built[name] for name, mismatch in mismatches.items() if mismatch is None}
    if not fitting:
        raise StructureError(next(text for text in mismatches.values() if text))
    first, *others = fitting.values()
    if not all(first.matches(other, primitive_cell=False, scale=False) for other in others):
        sizes = ", ".join(f"{name} {len(structure)}" for name, structure in fitting.items())
        raise StructureError(
            f"the space group has several settings, which give other crystals (atoms: {sizes}); "
            f"add {_OPERATIONS[0]}"
        )
    return first


def _first(data: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    """Value of the first of these items that has one."""
    for name in names:
        value = data.get(name)
        if isinstance(value, str) and value.strip() not in _UNKNOWN:
            return value.strip()
    return None


def _sites(data: Mapping[str, Any]) -> dict[str, list[str]]:
    """Columns of the loop of atoms, with an element and a position for each."""
    if "_atom_site_cartn_x" in data and _POSITIONS[0] not in data:
        raise StructureError("has Cartesian coordinates; give fractional ones")
    columns = {name: data[name] for name in _SITE if name in data}
    columns = {
        name: [value] if isinstance(value, str) else value for name, value in columns.items()
    }
    symbols = columns.get("_atom_site_type_symbol")
    labels = columns.get("_atom_site_label", symbols)
    if labels is None:
        raise StructureError("not a complete CIF; the file may be cut")
    for name in _POSITIONS:
        for label, value in zip(labels, columns[name], strict=True):
            if value.strip() in _UNKNOWN:
                raise StructureError(
                    f"atom {one_line(label, 20)} has no coordinates; give them, or remove it"
                )
            _check_number(f"atom {one_line(label, 20)}", value)
    flags = data.get("_atom_site_calc_flag", [])
    for label, flag in zip(labels, [flags] if isinstance(flags, str) else flags, strict=False):
        if flag.strip() == "dum":
            raise StructureError(
                f"atom {one_line(label, 20)} is a dummy (_atom_site_calc_flag dum); remove it"
            )
    if symbols is None:
        elements = set(formula_of(data) or ())
        symbols = [_element_of_label(label, elements) for label in labels]
    else:
        symbols = [_regular(symbol) for symbol in symbols]
    plain = re.compile(r"[\w+-]+", re.ASCII)
    labels = [
        label if plain.fullmatch(label) else f"{symbol}{number}"
        for number, (label, symbol) in enumerate(zip(labels, symbols, strict=True), start=1)
    ]
    sites = {"_atom_site_label": labels, "_atom_site_type_symbol": symbols}
    sites |= {name: columns[name] for name in _POSITIONS}
    occupancies = columns.get("_atom_site_occupancy")
    if occupancies is not None:  # the default of an occupancy is 1
        sites["_atom_site_occupancy"] = ["1" if o.strip() in _UNKNOWN else o for o in occupancies]
    return sites


def _regular(symbol: str) -> str:
    """Type symbol as pymatgen expects it: ``CL1-`` becomes ``Cl1-``."""
    match = re.fullmatch(r"([A-Za-z]{1,2})(\d*\.?\d*[+-]?\d*)", symbol.strip())
    if match is None or not Element.is_valid_symbol(match[1].capitalize()):
        raise StructureError(f"atom type {one_line(symbol, 20)!r} is no element")
    return match[1].capitalize() + match[2]


def _element_of_label(label: str, elements: set[str]) -> str:
    """Element of an atom that has no type symbol.

    Parameters
    ----------
    label
        Its label: ``Cs1``, ``CS1`` as in the Cambridge database, ``OW1`` for an oxygen of water.
    elements
        Elements of the block's formula; empty if it is unknown.

    Returns
    -------
    str

    Raises
    ------
    StructureError
        If the label names no element, or may name two.
    """
    letters = (re.match(r"[A-Za-z]*", label) or [""])[0]
    if letters.lower() in ("wat", "oh", "no"):  # a molecule, whose other atoms may be missing
        raise StructureError(f"label {one_line(label, 20)} names no element; add {_SITE[1]}")
    candidates = [
        symbol
        for symbol in (letters[:2].capitalize(), letters[:1].upper())
        if Element.is_valid_symbol(symbol) and (not elements or symbol in elements)
    ]
    candidates = list(dict.fromkeys(candidates))
    if not candidates:
        raise StructureError(f"label {one_line(label, 20)} names no element; add {_SITE[1]}")
    if len(candidates) > 1 and letters[1:2].isupper():
        raise StructureError(
            f"label {one_line(label, 20)} may be {' or '.join(candidates)}; add {_SITE[1]}"
        )
    return candidates[0]
