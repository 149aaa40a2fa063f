"""Crystals of files and folders, and one line for each that cannot be used."""

from __future__ import annotations

import json
import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pymatgen.core.structure import Structure

from mlcharge_flows.errors import one_line
from mlcharge_flows.file_kinds import FOREIGN_ARCHIVES, not_a_file
from mlcharge_flows.io import (
    COMPRESSIONS,
    MAX_BYTES,
    UnreadableFileError,
    decode_text,
    read_bytes,
)
from mlcharge_flows.structures.cif import StructureError, cif_blocks, structure_of_cif
from mlcharge_flows.vasp.poscar import LEFT_HANDED, PoscarError, element_symbol, parse_poscar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


MIN_DISTANCE = 0.5
"""Atoms nearer than this are on top of each other, in angstrom (H2 measures 0.74)."""

MAX_CONTRADICTION = 0.01
"""Largest difference of the same length or place, given twice, angstrom."""
MAX_CELLS_AWAY = 1000.0
"""Largest fractional coordinate: with larger ones, a search for neighbors never ends."""
MAX_IONS = 5000
"""Most ions of a structure; VASP runs of more are out of this package's reach."""

MAX_LENGTH = 1000.0
"""Longest lattice vector, in angstrom; more is a typing error."""

_MAX_NAME = 100
_SUFFIXES = (".cif", ".json", ".vasp", ".poscar")
_ARCHIVES = "|".join(end.lstrip(".") for end in (*COMPRESSIONS[1:], *FOREIGN_ARCHIVES))
_COMPRESSED = re.compile(rf"\.({_ARCHIVES})$", re.IGNORECASE)
_STEMS = ("POSCAR", "CONTCAR")


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
    replaced
        Elements that stand for species which are none, such as H for the pseudo-hydrogen H1.25.
    """

    id: str
    structure: Structure
    source: Path
    split: str = ""
    replaced: Mapping[str, str] = field(default_factory=dict)

    @property
    def charge(self) -> float:
        """Charge of the cell, in elementary charges; by its oxidation states if it gives none."""
        own = getattr(self.structure, "_charge", None) or 0
        states = (getattr(site.specie, "oxi_state", None) or 0 for site in self.structure)
        return own or round(float(sum(states)), 6)


def read_structures(paths: Iterable[str | Path]) -> tuple[list[Material], list[str]]:
    """Read every structure in the given files and folders.

    Understood are CIF (one or more data blocks), POSCAR, and JSON with one structure, a list of
    structures, or ``{"structures": [{"material_id": .., "cif" or "structure": ..}, ..]}``, in
    which ``split`` may say what a structure is for; all of them also with ``.gz``, ``.bz2`` and
    ``.xz``, up to 256 MiB unpacked. A folder gives all such files in it.

    Parameters
    ----------
    paths
        Files and folders.

    Returns
    -------
    materials : list of Material
        In the order of the arguments, files of a folder by name.
    problems : list of str
        One line per file or structure that is unusable: where, what is wrong, what to do.

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
            problems.append(one_line(f"{path}: {error}"))
            continue
        for file in files:
            try:
                entries = list(_entries(file))
            except StructureError as error:
                problems.append(one_line(f"{file}: {error}"))
                continue
            for name, content, split in entries:
                try:
                    structure, replaced = _structure(content)
                    check_structure(structure)
                except StructureError as error:
                    label = f"{file}" if len(entries) == 1 else f"{file}: {one_line(name, 60)}"
                    problems.append(one_line(f"{label}: {error}"))
                    continue
                materials.append(Material(_unique(name, taken), structure, file, split, replaced))
    return materials, problems


def _files(path: Path) -> list[Path]:
    try:
        if path.is_file():
            return [path]
        found = list(path.iterdir()) if path.is_dir() else None
    except (OSError, ValueError) as error:  # such as a name that is too long, or a null byte
        raise StructureError(f"cannot be read ({getattr(error, 'strerror', error)})") from None
    if found is None:
        reason = not_a_file(path) or "there is no such file"
        raise StructureError(reason.replace("no such file", "no such file or folder"))
    files = sorted(file for file in found if _is_readable(file) and not file.is_dir())
    if not files:
        raise StructureError("no CIF, POSCAR or JSON file in this folder")
    return files


def _is_readable(file: Path) -> bool:
    name = _COMPRESSED.sub("", file.name)
    return name.lower().endswith(_SUFFIXES) or name.startswith(_STEMS)


def _entries(file: Path) -> Iterator[tuple[str, Any, str]]:
    """Names, unparsed contents and splits of the structures in a file."""
    try:
        text = decode_text(read_bytes(file, MAX_BYTES))
    except OSError as error:
        is_other = isinstance(error, UnreadableFileError) and str(error).startswith("is a ")
        reason = str(error) if is_other else f"cannot be read ({error.strerror or error})"
        raise StructureError(reason) from None
    if not text.strip():
        raise StructureError("the file is empty")
    plain = _COMPRESSED.sub("", file.name)
    name = re.sub(r"\.(cif|json|vasp|poscar)$", "", plain, flags=re.IGNORECASE)
    if name in _STEMS and file.resolve().parent.name:
        name = file.resolve().parent.name  # run folders all call it POSCAR
    if plain.lower().endswith(".json"):
        yield from _json_entries(name, _json(text))
    elif plain.lower().endswith(".cif"):
        blocks = cif_blocks(text)
        for number, block in enumerate(blocks, start=1):
            yield (name if len(blocks) == 1 else f"{name}-{number}"), block, ""
    else:
        yield name, text, ""


def _json(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise StructureError(f"holds {constant}, which is no number")

    try:
        return json.loads(text, parse_constant=refuse, object_pairs_hook=_mapping)
    except StructureError:
        raise
    except RecursionError:
        raise StructureError("is nested too deeply for a structure") from None
    except json.JSONDecodeError as error:
        raise StructureError(f"{one_line(error, 150)}; is the file complete?") from None
    except ValueError:
        raise StructureError("holds a number of thousands of digits") from None


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, of which the last of two equal keys would count."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise StructureError(f"gives {one_line(twice, 60)!r} twice")
    return found


def _json_entries(name: str, data: Any) -> Iterator[tuple[str, Any, str]]:
    if isinstance(data, dict) and isinstance(data.get("structures"), list):
        data = data["structures"]
    if isinstance(data, dict) and ("lattice" in data or "structure" in data or "cif" in data):
        data = [data]
    if not isinstance(data, list) or not data:
        raise StructureError("neither a structure nor a list of structures; is the file complete?")
    for number, entry in enumerate(data, start=1):
        if not isinstance(entry, dict):
            raise StructureError(f"entry {number} is not a structure; is the file complete?")
        own = entry.get("material_id") or entry.get("id")
        content = entry.get("cif") or entry.get("structure") or entry
        split = entry.get("split") or ""
        yield str(own or (name if len(data) == 1 else f"{name}-{number}")), content, str(split)


def _structure(content: Any) -> tuple[Structure, dict[str, str]]:
    """Crystal of a data block, of a POSCAR or of pymatgen's dictionary; see `Material.replaced`."""
    if isinstance(content, str):
        if re.search(r"^\s*data_", content, re.MULTILINE | re.IGNORECASE):
            block, *others = cif_blocks(content)
            if others:
                raise StructureError(f"{1 + len(others)} crystals in one entry; give each its own")
            return structure_of_cif(block), {}
        try:
            poscar = parse_poscar(content)
        except PoscarError as error:
            cut = "not a complete POSCAR; the file may be cut" if "ends" in str(error) else ""
            raise StructureError(f"{cut}: {error}" if cut else str(error)) from None
        fractional = (name for name, _ in poscar.species if re.search(r"\d", name.split("/")[0]))
        return poscar.structure, {name: element_symbol(name) for name in fractional}
    if not isinstance(content, dict):
        raise StructureError("not a complete structure; the file may be cut")
    _check_modules(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of elements without a Pauling electronegativity
            structure = Structure.from_dict(content)
            contradiction = _contradiction(content, structure)
    except Exception:  # whatever a broken dictionary leads it to
        raise StructureError("not a complete structure; the file may be cut") from None
    if contradiction:
        raise StructureError(contradiction)
    return structure, {}


def _contradiction(content: dict[str, Any], structure: Structure) -> str | None:
    """In what a dictionary that says things twice contradicts itself; None if it does not."""
    lattice = structure.lattice
    for key, length in zip("abc", lattice.abc, strict=True):
        if abs(float(content["lattice"].get(key, length)) - length) > MAX_CONTRADICTION:
            return f"gives {key} = {content['lattice'][key]} and a lattice vector of {length:g}"
    for number, site in enumerate(content["sites"], start=1):
        if "abc" in site and "xyz" in site:
            apart = lattice.get_fractional_coords(site["xyz"]) - np.asarray(site["abc"])
            apart = lattice.get_cartesian_coords(apart - np.rint(apart))
            if np.abs(apart).max() > MAX_CONTRADICTION:
                return f"xyz and abc of atom {number} are different places"
    return None


def _check_modules(value: Any) -> None:
    """Refuse objects of other modules than pymatgen's: to decode them would import the module."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            module = str(value.get("@module", "numpy"))
            if "@callable" in value or not (module == "numpy" or module.startswith("pymatgen.")):
                raise StructureError(
                    f"holds an object of {one_line(module, 60)!r}, not of pymatgen"
                )
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _unique(name: str, taken: set[str]) -> str:
    """Make a name usable as a folder, and different from those already given."""
    base = re.sub(r"[^\w.+-]+", "_", name)[:_MAX_NAME].strip("._") or "material"
    candidate, number = base, 1
    while candidate in taken:
        number += 1
        candidate = f"{base}-{number}"
    taken.add(candidate)
    return candidate


def check_structure(structure: Structure) -> None:
    """Refuse what no plane-wave calculation can start from.

    Parameters
    ----------
    structure
        Any structure.

    Raises
    ------
    StructureError
        There are no atoms or too many, numbers are not finite, the cell is degenerate or
        left-handed, sites are partly occupied, atoms are on top of each other, or magnetic moments
        are not one number for each atom.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> check_structure(Structure(Lattice.cubic(1e-6), ["He"], [[0, 0, 0]]))
    Traceback (most recent call last):
    mlcharge_flows.structures.cif.StructureError: a lattice vector measures 1e-06 angstrom; \
correct the cell
    """
    if len(structure) == 0:
        raise StructureError("there are no atoms in it; is the file complete?")
    if len(structure) > MAX_IONS:
        raise StructureError(f"has {len(structure)} atoms; the limit is {MAX_IONS}")
    if not structure.is_ordered:
        raise StructureError("sites are partly occupied; give an ordered structure")
    if not (
        np.isfinite(structure.lattice.matrix).all() and np.isfinite(structure.frac_coords).all()
    ):
        raise StructureError("a coordinate or a lattice vector is not a finite number")
    if (farthest := np.abs(structure.frac_coords).max(axis=1)).max() > MAX_CELLS_AWAY:
        raise StructureError(
            f"atom {int(farthest.argmax()) + 1} ({structure[int(farthest.argmax())].specie}) is "
            f"{farthest.max():.3g} cells away from the cell; correct its coordinates"
        )
    _check_moments(structure)
    _check_cell(structure)
    first_ions, second_ions, _, distances = structure.get_neighbor_list(
        MIN_DISTANCE, exclude_self=True
    )
    if len(distances):
        nearest = distances.argmin()
        first, second = sorted((int(first_ions[nearest]), int(second_ions[nearest])))
        raise StructureError(
            f"atoms {first + 1} ({structure[first].specie}) and {second + 1} "
            f"({structure[second].specie}) are {distances[nearest]:.2f} angstrom apart; "
            "remove one of them or correct the cell"
        )


def _check_moments(structure: Structure) -> None:
    """Refuse magnetic moments from which no MAGMOM of a collinear run can be made."""
    moments = structure.site_properties.get("magmom", [])
    if all(moment is None for moment in moments):
        return
    for number, (site, moment) in enumerate(zip(structure, moments, strict=True), start=1):
        where = f"atom {number} ({site.specie})"
        if moment is None:
            raise StructureError(f"{where} has no magmom, others have: give 0 where there is none")
        try:
            is_number = not isinstance(moment, str) and np.isfinite(float(moment))
        except (TypeError, ValueError):
            is_number = False
        if not is_number:
            raise StructureError(
                f"magmom of {where} is {one_line(repr(moment), 40)}: give one number for each "
                "atom (Bohr magnetons); noncollinear moments are not supported"
            )


def _check_cell(structure: Structure) -> None:
    """Refuse a cell in which a search for neighbors would never end."""
    with np.errstate(all="ignore"):
        lengths = np.linalg.norm(structure.lattice.matrix, axis=1)
        volume = abs(np.linalg.det(structure.lattice.matrix))
    for length in (lengths.min(), lengths.max()):
        if not MIN_DISTANCE <= length <= MAX_LENGTH:
            raise StructureError(f"a lattice vector measures {length:g} angstrom; correct the cell")
    if np.linalg.det(structure.lattice.matrix) < 0:
        raise StructureError(LEFT_HANDED)
    # Nothing has less than half a cubic angstrom per atom, not even compressed helium.
    if volume < 0.5 * len(structure):
        raise StructureError(f"the cell has {volume:.3g} cubic angstrom; correct the cell")
    shortest = min(structure.lattice.get_lll_reduced_lattice().abc)
    if shortest < MIN_DISTANCE:
        raise StructureError(
            f"periodic images of an atom are {shortest:.2g} angstrom apart; correct the cell"
        )
