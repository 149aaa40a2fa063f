"""Choose small training crystals for a calibration at the cutoff of the Materials Project.

python archive.py ../materials_project/*.h5

Writes archive.json.gz (no V, Cr, Mn, Fe, Co, Ni, no lanthanides) and archive_magnetic.json.gz: two
crystals of each element, the cheapest first.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from choose import cost, has_3d, has_f
from monty.serialization import dumpfn
from pymatgen.core import Structure

from mlcharge_flows.training.dataset import DensityDataset


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("datasets", nargs="+", type=Path)
    parser.add_argument("--number", type=int, default=2, help="crystals of each element")
    parser.add_argument("--without", nargs="*", default=[], help="elements that need no more")
    asked = parser.parse_args()
    pool: dict[str, Structure] = {}
    for path in asked.datasets:
        dataset = DensityDataset(path)
        for name in dataset.ids:
            sample = dataset[name]
            crystal, packed = sample.crystal, sample.packed_magnetization
            magmom = None if packed is None else {"magmom": packed.magmom.tolist()}
            structure = Structure(
                crystal.lattice, crystal.symbols, crystal.positions, site_properties=magmom
            )
            pool.setdefault(name, structure)
    by_cost = sorted(pool.items(), key=lambda item: (cost(item[1]), item[0]))
    for file, is_magnetic in (("archive", False), ("archive_magnetic", True)):
        count: Counter[str] = Counter()
        chosen = []
        for name, structure in by_cost:
            if (has_3d(structure) or has_f(structure)) != is_magnetic:
                continue
            needed = set(structure.symbol_set).difference(asked.without)
            if any(count[symbol] < asked.number for symbol in needed):
                count.update(structure.symbol_set)
                entry = {"material_id": name, "split": "train", "structure": structure.as_dict()}
                chosen.append(entry)
        dumpfn({"structures": chosen}, f"{file}.json.gz")
        print(f"{len(chosen)} crystals with {len(count)} elements in {file}.json.gz")


if __name__ == "__main__":
    main()
