"""Crystals of a calibration that gives a model of the density alone its occupancies.

    python crystals.py

writes the folders ``archive`` (cells of at most four ions, of six elements, lattice constants near
those of PBE) and ``test`` (of the test split of Materials Project, of the same elements).

A response is fitted for every degree of the occupancies. In cubic crystals those of degree 1 and 2
vanish by symmetry, so most cells here are layered, hexagonal or orthorhombic.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from monty.serialization import dumpfn
from pymatgen.core import Lattice, Structure

from mlcharge_flows.structures import read_structures

SPLIT = Path(__file__).parents[2] / "test_files" / "benchmark" / "test_structures.json.gz"
TEST = ("mp-12892", "mp-1039454", "mp-1227235", "mp-1976")


class Prototype(NamedTuple):
    """A structure type: space group, sites, and whether its cell is cubic or hexagonal."""

    group: str
    sites: list[list[float]]
    angle: float = 90.0


ROCK_SALT = Prototype("Fm-3m", [[0, 0, 0], [0.5, 0.5, 0.5]])
CESIUM_CHLORIDE = Prototype("Pm-3m", [[0, 0, 0], [0.5, 0.5, 0.5]])
DIAMOND = Prototype("Fd-3m", [[0, 0, 0]])
WURTZITE = Prototype("P6_3mc", [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.378]], 120)
CLOSE_PACKED = Prototype("P6_3/mmc", [[1 / 3, 2 / 3, 0.25]], 120)
CHROMIUM_BORIDE = Prototype("Cmcm", [[0, 0.36, 0.25], [0, 0.07, 0.25]])
ALUMINUM_BORIDE = Prototype("P6/mmm", [[0, 0, 0], [1 / 3, 2 / 3, 0.5]], 120)
ORDERED_BORIDE = Prototype("P-6m2", [[0, 0, 0], [1 / 3, 2 / 3, 0.5], [2 / 3, 1 / 3, 0.5]], 120)
ORDERED_BLENDE = Prototype("P-4m2", [[0, 0, 0], [0.5, 0.5, 0.5], [0, 0.5, 0.27]])
DELAFOSSITE = Prototype("R-3m", [[0, 0, 0], [0, 0, 0.5], [0, 0, 0.26]], 120)
GALLIUM = Prototype("Cmce", [[0, 0.153, 0.081]])

# Edges of the conventional cell in angstrom; the elements in the order of the sites.
ARCHIVE: dict[str, tuple[Prototype, tuple[float, float, float], list[str]]] = {
    "CaS": (ROCK_SALT, (5.72, 5.72, 5.72), ["Ca", "S"]),
    "ZnS": (WURTZITE, (3.85, 3.85, 6.30), ["Zn", "S"]),
    "CdS": (WURTZITE, (4.20, 4.20, 6.84), ["Cd", "S"]),
    "ZnCdS2": (ORDERED_BLENDE, (4.02, 4.02, 5.72), ["Zn", "Cd", "S"]),
    "CdGaS2": (DELAFOSSITE, (3.85, 3.85, 19.6), ["Cd", "Ga", "S"]),
    "CaGaS2": (DELAFOSSITE, (3.90, 3.90, 19.8), ["Ca", "Ga", "S"]),
    "CaSi": (CHROMIUM_BORIDE, (4.56, 10.73, 3.89), ["Ca", "Si"]),
    "CaGaSi": (ORDERED_BORIDE, (4.14, 4.14, 4.42), ["Ca", "Ga", "Si"]),
    "CaZnSi": (ORDERED_BORIDE, (4.19, 4.19, 4.38), ["Ca", "Zn", "Si"]),
    "Si": (DIAMOND, (5.47, 5.47, 5.47), ["Si"]),
    "CaGa2": (ALUMINUM_BORIDE, (4.38, 4.38, 4.25), ["Ca", "Ga"]),
    "Ga": (GALLIUM, (4.57, 7.75, 4.59), ["Ga"]),
    "Zn": (CLOSE_PACKED, (2.65, 2.65, 5.02), ["Zn"]),
    "CaZn": (CHROMIUM_BORIDE, (4.20, 11.61, 4.44), ["Ca", "Zn"]),
    "Cd": (CLOSE_PACKED, (3.04, 3.04, 5.77), ["Cd"]),
    "CaCd": (CESIUM_CHLORIDE, (3.83, 3.83, 3.83), ["Ca", "Cd"]),
}


def cell(prototype: Prototype, edges: tuple[float, float, float], elements: list[str]) -> Structure:
    """Primitive cell of a compound with the structure of a prototype."""
    lattice = Lattice.from_parameters(*edges, 90, 90, prototype.angle)
    made = Structure.from_spacegroup(prototype.group, lattice, elements, prototype.sites)
    return made.get_primitive_structure().get_sorted_structure()


def main() -> None:
    """Write both folders."""
    for folder in ("archive", "test"):
        Path(folder).mkdir(exist_ok=True)
    for name, (prototype, edges, elements) in ARCHIVE.items():
        dumpfn(cell(prototype, edges, elements), f"archive/{name}.json")
    known = {material.id: material.structure for material in read_structures([SPLIT])[0]}
    for name in TEST:
        dumpfn(known[name], f"test/{name}.json")


if __name__ == "__main__":
    main()
