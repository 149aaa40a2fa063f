"""The order in which a data set is built: every pair of elements early, cheap materials first.

What a model leaves of the error depends on how often it has seen the rarest pair of elements of a
crystal (docs/decisions/0010). So the pairs take turns. The next pair is the one of which the fewest
materials are taken, of several the first by alphabet; it takes the remaining material that contains
it with the lowest price

    volume of the cell * number of atoms * (1 + n),

where n is the number of materials of this pair and of the same anonymous formula (A, AB, AB2, ..)
that are taken already; of equal prices, the first by identifier. An elemental solid counts as a
pair of its own. The order depends on the structures alone: machines that each take a shard of it
build parts that merge.
"""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from mlcharge_flows.structures import Material

    Pair = tuple[str, ...]


def build_order(materials: Iterable[Material], present: Collection[str] = ()) -> list[Material]:
    """Sort materials into the order in which they are run.

    Parameters
    ----------
    materials
        In any order; all of a file, since each place depends on those before it.
    present
        Identifiers of those that a data set has already: they count as taken, and have no place.

    Returns
    -------
    list of Material
        All others.

    Examples
    --------
    >>> from pathlib import Path
    >>> from pymatgen.core import Lattice, Structure
    >>> def cubic(element, a):
    ...     crystal = Structure(Lattice.cubic(a), [element], [[0, 0, 0]])
    ...     return Material(f"{element}{a}", crystal, Path("example"))
    >>> from mlcharge_flows.structures import Material
    >>> some = [cubic("Na", 4), cubic("Al", 3), cubic("Al", 2), cubic("Na", 5)]
    >>> [material.id for material in build_order(some)]
    ['Al2', 'Na4', 'Al3', 'Na5']
    """
    remaining = {material.id: material for material in sorted(materials, key=lambda m: m.id)}
    cost = {m.id: m.structure.volume * len(m.structure) for m in remaining.values()}
    formula = {m.id: m.structure.composition.anonymized_formula for m in remaining.values()}
    pairs = {m.id: _pairs(m) for m in remaining.values()}
    waiting: dict[Pair, list[str]] = {}
    for name in remaining:
        for pair in pairs[name]:
            waiting.setdefault(pair, []).append(name)
    taken: Counter[Pair] = Counter()
    of_pair_and_formula: Counter[tuple[Pair, str]] = Counter()

    def take(name: str) -> Material:
        for pair in pairs[name]:
            taken[pair] += 1
            of_pair_and_formula[pair, formula[name]] += 1
        return remaining.pop(name)

    for name in sorted(remaining.keys() & set(present)):
        take(name)
    ordered = []
    while waiting:
        pair = min(waiting, key=lambda pair: (taken[pair], pair))
        names = waiting[pair] = [name for name in waiting[pair] if name in remaining]
        if not names:
            del waiting[pair]
            continue
        _, chosen = min(
            (cost[name] * (1 + of_pair_and_formula[pair, formula[name]]), name) for name in names
        )
        ordered.append(take(chosen))
    return ordered


def _pairs(material: Material) -> list[Pair]:
    """Pairs of elements in a material; the element itself if it is the only one."""
    elements = sorted(material.structure.symbol_set)
    return list(combinations(elements, 2)) or [tuple(elements)]
