"""Choose crystals at random, of the elements that a model knows, from pools of structures.

python choose.py POOL.json.gz [POOL.json.gz ..] --number 150 --out structures.json.gz
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from monty.serialization import dumpfn

from mlcharge_flows.sources import known_models
from mlcharge_flows.structures import read_structures


def main() -> None:
    """Write the chosen structures with their identifiers."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("pools", nargs="+", type=Path, help="files of structures")
    parser.add_argument("--number", type=int, default=150)
    parser.add_argument("--max-atoms", type=int, default=8)
    parser.add_argument("--model", default="orbital", help="whose elements are chosen")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("structures.json.gz"))
    asked = parser.parse_args()
    known = frozenset(known_models().card(asked.model).paw)
    materials, _ = read_structures(path.absolute() for path in asked.pools)
    usable = [
        m
        for m in materials
        if len(m.structure) <= asked.max_atoms and known.issuperset(m.structure.symbol_set)
    ]
    if len(usable) < asked.number:
        parser.error(f"the pools have {len(usable)} such crystals, {asked.number} are wanted")
    chosen = random.Random(asked.seed).sample(usable, asked.number)
    entries = [{"material_id": m.id, "structure": m.structure.as_dict()} for m in chosen]
    dumpfn({"structures": entries}, asked.out)


if __name__ == "__main__":
    main()
