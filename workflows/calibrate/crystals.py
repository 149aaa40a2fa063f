"""Crystals of a calibration at another cutoff: simple prototypes, and crystals to try it on.

    python crystals.py

writes the folders ``archive`` (primitive cells at lattice constants near those of PBE) and ``test``
(of the test split of Materials Project, at most six atoms, elements of the archive).
"""

from __future__ import annotations

from pathlib import Path

from monty.serialization import dumpfn
from pymatgen.core import Lattice, Structure

from mlcharge_flows.structures import read_structures

SPLIT = Path(__file__).parents[2] / "test_files" / "benchmark" / "test_structures.json.gz"
PROTOTYPES = {
    "rock salt": ("Fm-3m", [[0, 0, 0], [0.5, 0.5, 0.5]]),
    "zinc blende": ("F-43m", [[0, 0, 0], [0.25, 0.25, 0.25]]),
    "fluorite": ("Fm-3m", [[0, 0, 0], [0.25, 0.25, 0.25]]),
    "diamond": ("Fd-3m", [[0, 0, 0]]),
    "cesium chloride": ("Pm-3m", [[0, 0, 0], [0.5, 0.5, 0.5]]),
    "face-centered": ("Fm-3m", [[0, 0, 0]]),
    "body-centered": ("Im-3m", [[0, 0, 0]]),
}
# At most three of each element; the element at the origin first, edges of the cubic cell in A.
ARCHIVE = {
    "rock salt": {
        "LiF": 4.06,
        "KF": 5.42,
        "MgO": 4.25,
        "NaCl": 5.69,
        "KCl": 6.38,
        "CaS": 5.72,
        "TiN": 4.25,
        "ZrN": 4.59,
        "AgBr": 5.84,
        "NaBr": 6.05,
        "ZrAs": 5.46,
    },
    "zinc blende": {
        "AlN": 4.40,
        "ZnS": 5.44,
        "GaAs": 5.75,
        "InP": 5.96,
        "CdS": 5.94,
        "AlP": 5.50,
        "InAs": 6.18,
        "ZnO": 4.62,
        "CuCl": 5.42,
        "GaP": 5.51,
        "SiGe": 5.59,
    },
    "fluorite": {"CaF": 5.50, "OLi": 4.63, "SiMg": 6.36, "GeMg": 6.42},
    "diamond": {"Si": 5.47, "Ge": 5.76},
    "cesium chloride": {
        "LiZn": 3.05,
        "ScAl": 3.38,
        "ScCu": 3.26,
        "ScCd": 3.52,
        "CaCd": 3.84,
        "TiGa": 3.05,
        "AgIn": 3.40,
    },
    "face-centered": {"Cu": 3.64, "Ag": 4.16},
    "body-centered": {"Na": 4.20, "K": 5.28, "Ti": 3.25, "Zr": 3.57},
}
TEST = (
    "mp-8039 mp-4950 mp-1437 mp-1018031 mp-1016883 mp-12892 mp-2210 mp-1246506 mp-1227235 "
    "mp-560030 mp-1222610 mp-570687 mp-1100432 mp-1185424 mp-1029258 mp-1976 mp-1039454 "
    "mp-1186017 mp-972069 mp-998987"
).split()


def prototype(name: str, elements: str, edge: float) -> Structure:
    """Primitive cell of a compound with the structure of a prototype."""
    group, sites = PROTOTYPES[name]
    cubic = Structure.from_spacegroup(group, Lattice.cubic(edge), _split(elements), sites)
    return cubic.get_primitive_structure().get_sorted_structure()


def _split(elements: str) -> list[str]:
    """Symbols in a word such as ``ZnS``."""
    starts = [place for place, letter in enumerate(elements) if letter.isupper()]
    return [elements[i:j] for i, j in zip(starts, [*starts[1:], len(elements)], strict=True)]


def main() -> None:
    """Write both folders."""
    for folder in ("archive", "test"):
        Path(folder).mkdir(exist_ok=True)
    for name, compounds in ARCHIVE.items():
        for elements, edge in compounds.items():
            made = prototype(name, elements, edge)
            dumpfn(made, f"archive/{made.composition.reduced_formula}.json")
    known = {material.id: material.structure for material in read_structures([SPLIT])[0]}
    for name in TEST:
        dumpfn(known[name], f"test/{name}.json")


if __name__ == "__main__":
    main()
