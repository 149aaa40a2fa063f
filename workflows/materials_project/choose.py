"""Choose materials for a data set of more elements: cheap ones first, tests left out.

python choose.py POOL.json.gz --exclude TESTS.json.gz --number 600 --out new_elements.json.gz
python choose.py POOL.json.gz --exclude TESTS.json.gz --number 300 --magnetic --out spin.json.gz

Without --magnetic: with an element that a model does not know, and none of V, Cr, Mn, Fe, Co, Ni
and the lanthanides. With --magnetic: with one of these. A cell with two ions of V to Ni is written
twice: with the moments of its elements parallel, and, as NAME-afm, antiparallel.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monty.serialization import dumpfn

from mlcharge_flows.sources import known_models
from mlcharge_flows.structures import read_structures

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymatgen.core import Structure

    from mlcharge_flows.structures import Material

MOMENTS = {"V": 3.0, "Cr": 4.0, "Mn": 5.0, "Fe": 4.0, "Co": 2.5, "Ni": 2.0}
"""MAGMOM of antiferromagnetic orders, Bohr magnetons."""


def is_magnetic(structure: Structure) -> bool:
    """Whether a crystal has an element that often has a moment."""
    elements = structure.elements
    return any(element.symbol in MOMENTS or element.is_lanthanoid for element in elements)


def cost(structure: Structure) -> float:
    """Electrons times volume, to which the time of a run is roughly proportional."""
    return structure.volume * sum(site.specie.Z for site in structure)


def entries(material: Material) -> Iterator[dict[str, Any]]:
    """Entries of a file of structures: a material, and its antiferromagnetic order."""
    structure = material.structure
    entry = {"material_id": material.id, "split": material.split}
    yield entry | {"structure": structure.as_dict()}
    ions = [i for i, site in enumerate(structure) if site.specie.symbol in MOMENTS]
    if len(ions) == 2:
        moments = [0.0] * len(structure)
        for ion, sign in zip(ions, (1, -1), strict=True):
            moments[ion] = sign * MOMENTS[structure[ion].specie.symbol]
        structure.add_site_property("magmom", moments)
        yield entry | {"material_id": f"{material.id}-afm", "structure": structure.as_dict()}


def main() -> None:
    """Write the chosen structures with their identifiers and splits."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("pools", nargs="+", type=Path, help="files of structures")
    parser.add_argument("--exclude", nargs="*", type=Path, default=[], help="test structures")
    parser.add_argument("--number", type=int, default=600)
    parser.add_argument("--max-atoms", type=int, default=8)
    parser.add_argument("--magnetic", action="store_true")
    parser.add_argument("--model", default="orbital", help="whose elements are known")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    known = frozenset(known_models().card(asked.model).paw)
    tests = {material.id for material in read_structures(asked.exclude)[0]} if asked.exclude else ()
    chosen = [
        material
        for material in read_structures(asked.pools)[0]
        if material.id not in tests
        and material.split != "test"
        and len(material.structure) <= asked.max_atoms
        and is_magnetic(material.structure) == asked.magnetic
        and (asked.magnetic or not known.issuperset(material.structure.symbol_set))
    ]
    chosen.sort(key=lambda material: cost(material.structure))
    written = [entry for material in chosen[: asked.number] for entry in entries(material)]
    dumpfn({"structures": written}, asked.out)
    print(f"{len(written)} entries in {asked.out}")


if __name__ == "__main__":
    main()
