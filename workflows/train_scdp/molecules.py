"""Molecules of ASE's G2 collection, each alone in a box, as a file for `mlcharge dataset build`.

    python molecules.py --out molecules.json
    python molecules.py H2O NH3 CH4 N2 CO HF --vacuum 5 --out few.json

Without names: all closed-shell molecules of the collection that have at most so many atoms. Every
fifth of them by a hash of the name is marked "test" (`mlcharge dataset build --test` takes them).
"""

from __future__ import annotations

import argparse
import json
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase.collections import g2
from pymatgen.io.ase import AseAtomsAdaptor

if TYPE_CHECKING:
    from ase import Atoms

TEST_SHARE = 0.2


def in_a_box(atoms: Atoms, vacuum: float) -> Atoms:
    """Put a molecule into the middle of a box with so much vacuum (angstrom) between copies."""
    boxed = atoms.copy()
    # Sides in steps of a quarter of an angstrom: few different grids.
    extent = np.ptp(boxed.positions, axis=0)
    boxed.cell = np.diag(np.ceil((extent + vacuum) * 4) / 4)
    boxed.pbc = True
    boxed.center()
    return boxed


def closed_shell(atoms: Atoms) -> bool:
    """Whether all electrons can be paired, and the collection knows no moment."""
    return sum(atoms.numbers) % 2 == 0 and not np.any(atoms.get_initial_magnetic_moments())


def split(name: str) -> str:
    """Split of a molecule, by its name alone."""
    draw = int.from_bytes(sha256(name.encode()).digest()[:8]) / 2.0**64
    return "test" if draw < TEST_SHARE else "train"


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="names of the G2 collection; all if none")
    parser.add_argument("--vacuum", type=float, default=5.0, help="between copies, angstrom")
    parser.add_argument("--max-atoms", type=int, default=9, help="of a molecule, without names")
    parser.add_argument("--split", choices=("train", "test"), help="only these")
    parser.add_argument("--out", type=Path, default=Path("molecules.json"))
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.names if name not in g2.names]:
        parser.error(f"the G2 collection has no {', '.join(unknown)}")
    names = arguments.names or [
        name for name in g2.names if 1 < len(g2[name]) <= arguments.max_atoms
    ]
    entries = []
    for name in names:
        atoms = g2[name]
        if arguments.split not in (None, split(name)):
            continue
        if not closed_shell(atoms):
            if arguments.names:
                parser.error(f"{name} has unpaired electrons, the runs are not spin-polarized")
            continue
        structure = AseAtomsAdaptor.get_structure(in_a_box(atoms, arguments.vacuum))
        entries.append(
            {"material_id": name, "split": split(name), "structure": structure.as_dict()}
        )
    arguments.out.write_text(json.dumps({"structures": entries}))
    print(f"{len(entries)} molecules in {arguments.out}")


if __name__ == "__main__":
    main()
