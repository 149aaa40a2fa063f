"""Crystals from the files and folders that a user names, each under a unique identifier."""

from __future__ import annotations

import gzip
import json
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pymatgen.core import Composition, Structure
from pymatgen.io.cif import CifParser
from pymatgen.io.vasp import Poscar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CLOSEST = 0.5
"""Atoms nearer than this are on top of each other, in angstrom (H2 measures 0.74)."""

_SUFFIXES = (".cif", ".json", ".vasp", ".poscar")
_STEMS = ("POSCAR", "CONTCAR")


class StructureError(ValueError):
    """One line: the file, what is wrong with it, what to do."""


@dataclass(frozen=True)
class Material:
    """A structure and the identifier that its results go by.

    Parameters
    ----------
    id
        Unique within a campaign, and usable as the name of a folder.
    structure
        Ordered crystal.
    source
        File that it came from.
    split
        What the file says it is for: ``train``, ``validation``, ``test``; empty if nothing.
    """

    id: str
    structure: Structure
    source: Path
    split: str = ""


def read_structures(paths: Iterable[str | Path]) -> tuple[list[Material], list[str]]:
    """Every structure in the given files and folders, and a line for each that is unusable.

    Understood are CIF (one or more data blocks), POSCAR, and JSON with one structure, a list of
    structures, or ``{"structures": [{"material_id": .., "cif" or "structure": ..}, ..]}``, in
    which ``split`` may say what a structure is for; all of them also with ``.gz``. A folder gives
    all such files in it.

    Parameters
    ----------
    paths
        Files and folders.

    Returns
    -------
    materials, problems
        In the order of the arguments, files of a folder by name; one problem per line.

    Examples
    --------
    >>> read_structures(["no-such-file.cif"])
    ([], ['no-such-file.cif: there is no such file or folder'])
    """
    materials: list[Material] = []
    problems: list[str] = []
    taken: set[str] = set()
    for path in map(Path, paths):
        try:
            files = _files(path)
        except StructureError as error:
            problems.append(str(error))
            continue
        for file in files:
            try:
                entries = list(_entries(file))
            except StructureError as error:
                problems.append(str(error))
                continue
            for name, content, split in entries:
                try:
                    structure = _structure(content)
                    check_structure(structure)
                except StructureError as error:
                    label = file if len(entries) == 1 else f"{file}: {name}"
                    problems.append(f"{label}: {_one_line(error)}")
                    continue
                materials.append(Material(_unique(name, taken), structure, file, split))
    return materials, problems


def check_structure(structure: Structure) -> None:
    """Refuse what no plane-wave calculation can start from.

    Raises
    ------
    StructureError
        There are no atoms, sites are partly occupied, or atoms are on top of each other.
    """
    if len(structure) == 0:
        raise StructureError("there are no atoms in it; is the file complete?")
    if not structure.is_ordered:
        raise StructureError("sites are partly occupied; give an ordered structure")
    pairs = structure.get_neighbor_list(CLOSEST, exclude_self=True)
    if len(pairs[3]):
        nearest = pairs[3].argmin()
        first, second = sorted((int(pairs[0][nearest]), int(pairs[1][nearest])))
        raise StructureError(
            f"atoms {first + 1} ({structure[first].specie}) and {second + 1} "
            f"({structure[second].specie}) are {pairs[3][nearest]:.2f} angstrom apart; "
            "remove one of them or correct the cell"
        )


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise StructureError(f"{path}: there is no such file or folder")
    files = sorted(file for file in path.iterdir() if file.is_file() and _readable(file))
    if not files:
        raise StructureError(f"{path}: no CIF, POSCAR or JSON file in this folder")
    return files


def _readable(file: Path) -> bool:
    name = file.name.removesuffix(".gz")
    return name.lower().endswith(_SUFFIXES) or name.startswith(_STEMS)


def _entries(file: Path) -> Iterator[tuple[str, Any, str]]:
    """Names, unparsed contents and splits of the structures in a file."""
    try:
        raw = file.read_bytes()
        text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise StructureError(f"{file}: cannot be read ({_one_line(error)})") from None
    if not text.strip():
        raise StructureError(f"{file}: the file is empty")
    name = re.sub(r"(\.(cif|json|vasp|poscar))?(\.gz)?$", "", file.name, flags=re.IGNORECASE)
    if name in _STEMS and file.resolve().parent.name:
        name = file.resolve().parent.name  # run folders all call it POSCAR
    if ".json" in file.suffixes:
        try:
            yield from _json_entries(name, json.loads(text))
        except (json.JSONDecodeError, StructureError) as error:
            raise StructureError(f"{file}: {_one_line(error)}; is the file complete?") from None
    elif ".cif" in file.suffixes:
        blocks = re.split(r"^(?=data_)", text, flags=re.MULTILINE)
        blocks = [block for block in blocks if block.startswith("data_")]
        if not blocks:
            raise StructureError(f"{file}: there is no data block in it; is it a CIF?")
        for number, block in enumerate(blocks, start=1):
            yield (name if len(blocks) == 1 else f"{name}-{number}"), block, ""
    else:
        yield name, text, ""


def _json_entries(name: str, data: Any) -> Iterator[tuple[str, Any, str]]:
    if isinstance(data, dict) and isinstance(data.get("structures"), list):
        data = data["structures"]
    if isinstance(data, dict) and ("lattice" in data or "structure" in data or "cif" in data):
        data = [data]
    if not isinstance(data, list) or not data:
        raise StructureError("neither a structure nor a list of structures")
    for number, entry in enumerate(data, start=1):
        if not isinstance(entry, dict):
            raise StructureError(f"entry {number} is not a structure")
        own = entry.get("material_id") or entry.get("id")
        content = entry.get("cif") or entry.get("structure") or entry
        split = entry.get("split") or ""
        yield str(own or (name if len(data) == 1 else f"{name}-{number}")), content, str(split)


def _structure(content: Any) -> Structure:
    kind = "structure" if isinstance(content, dict) else "CIF" if "data_" in content else "POSCAR"
    with warnings.catch_warnings():
        # What pymatgen merely warns of (rounded coordinates, no Z) does not change the crystal.
        warnings.simplefilter("ignore")
        try:
            if kind == "structure":
                return Structure.from_dict(content)
            return _from_cif(content) if kind == "CIF" else Poscar.from_str(content).structure
        except StructureError:
            raise
        except Exception as error:  # the parsers raise whatever the broken text leads them to
            if "Occupancy" in str(error):
                raise StructureError("two atoms on one site; remove one of them") from None
            raise StructureError(f"not a complete {kind}; the file may be cut") from None


def _from_cif(text: str) -> Structure:
    """Crystal of one data block; a block that lacks atoms of its own formula is incomplete."""
    parser = CifParser.from_str(text)
    structures = parser.parse_structures(primitive=False, on_error="raise")
    formula = next(iter(parser.as_dict().values())).get("_chemical_formula_sum")
    if not structures[0].is_ordered:
        return structures[0]  # refused for that, not for its formula
    if formula and Composition(formula).num_atoms > structures[0].composition.num_atoms + 0.01:
        raise StructureError(
            f"has fewer atoms ({structures[0].composition.formula}) than its formula ({formula}); "
            "is the file complete?"
        )
    if mismatch := parser.check(structures[0]):
        raise StructureError(mismatch)
    return structures[0]


def _unique(name: str, taken: set[str]) -> str:
    """Make a name usable as a folder, and different from those already given."""
    base = re.sub(r"[^\w.+-]+", "_", name).strip("._") or "material"
    candidate, number = base, 1
    while candidate in taken:
        number += 1
        candidate = f"{base}-{number}"
    taken.add(candidate)
    return candidate


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."
