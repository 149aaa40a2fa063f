"""Choose the cheapest test materials of each class, antiferromagnetic orders among them.

python choose.py POOL.json.gz --nonmagnetic 64 --magnetic 30 --hubbard 8 --f-elements 12

Writes nonmagnetic.json.gz (no V, Cr, Mn, Fe, Co, Ni, no lanthanides), and magnetic.json.gz, some of
them with DFT+U. A cell with two ions of V to Ni is written twice: with the moments of the Materials
Project, and, as NAME-afm, with antiparallel ones.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monty.serialization import dumpfn
from pymatgen.io.vasp.sets import MPRelaxSet

from mlcharge_flows.structures import read_structures

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymatgen.core import Structure

    from mlcharge_flows.structures import Material

METALS = ("V", "Cr", "Mn", "Fe", "Co", "Ni")
MOMENTS = MPRelaxSet.CONFIG["INCAR"]["MAGMOM"]


def has_f(structure: Structure) -> bool:
    """Whether a crystal has a lanthanide."""
    return any(element.is_lanthanoid for element in structure.elements)


def has_3d(structure: Structure) -> bool:
    """Whether a crystal has an element of V to Ni."""
    return not set(METALS).isdisjoint(structure.symbol_set)


def has_u(structure: Structure) -> bool:
    """Whether the Materials Project gives one of these a Hubbard U: in oxides and fluorides."""
    return has_3d(structure) and not {"O", "F"}.isdisjoint(structure.symbol_set)


def cost(structure: Structure) -> float:
    """Ions times volume, to which the time of a run is roughly proportional."""
    return structure.volume * len(structure)


def orders(material: Material) -> Iterator[dict[str, Any]]:
    """Entries of a file of structures: a material, and its antiferromagnetic order."""
    structure = material.structure
    yield {"material_id": material.id, "split": "test", "structure": structure.as_dict()}
    ions = [i for i, site in enumerate(structure) if site.specie.symbol in METALS]
    if len(ions) == 2:
        moments = [0.0] * len(structure)
        for ion, sign in zip(ions, (1, -1), strict=True):
            moments[ion] = sign * MOMENTS[structure[ion].specie.symbol]
        opposed = structure.copy(site_properties={"magmom": moments})
        name = f"{material.id}-afm"
        yield {"material_id": name, "split": "test", "structure": opposed.as_dict()}


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("pools", nargs="+", type=Path, help="files of test structures")
    parser.add_argument("--nonmagnetic", type=int, default=64)
    parser.add_argument("--magnetic", type=int, default=30, help="with V to Ni")
    parser.add_argument("--hubbard", type=int, default=8, help="oxides and fluorides of these")
    parser.add_argument("--f-elements", type=int, default=12, help="with lanthanides only")
    asked = parser.parse_args()
    pool = sorted(read_structures(asked.pools)[0], key=lambda m: (cost(m.structure), m.id))
    with_f = [m for m in pool if has_f(m.structure) and not has_3d(m.structure)]
    with_u = [m for m in pool if has_u(m.structure)]
    with_3d = [m for m in pool if has_3d(m.structure) and not has_u(m.structure)]
    neither = [m for m in pool if not has_f(m.structure) and not has_3d(m.structure)]
    magnetic = [
        *with_3d[: asked.magnetic],
        *with_u[: asked.hubbard],
        *with_f[: asked.f_elements],
    ]
    for name, chosen in (
        ("nonmagnetic", neither[: asked.nonmagnetic]),
        ("magnetic", sorted(magnetic, key=lambda m: cost(m.structure))),
    ):
        written = [entry for material in chosen for entry in orders(material)]
        dumpfn({"structures": written}, f"{name}.json.gz")
        print(f"{len(written)} entries in {name}.json.gz")


if __name__ == "__main__":
    main()
