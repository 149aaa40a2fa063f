"""The order in which a data set is built: cheap materials first, every element and type early.

The elements take turns, in alphabetical order. Whose turn it is takes, of the materials left that
contain it, the one with the lowest price

    volume of the cell * number of atoms * (1 + n),

n being how many materials of this element and of the same anonymous formula (A, AB, AB2, ..) are
taken already; of equal prices, the first by identifier. So the order depends on nothing but the
structures themselves: machines that take every k-th material of it build parts that merge.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlcharge_flows.structures import Material


def build_order(materials: Iterable[Material]) -> list[Material]:
    """Sort materials into the order of building.

    Parameters
    ----------
    materials
        In any order; all of a file, since each place depends on those before it.

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
    left = {material.id: material for material in sorted(materials, key=lambda m: m.id)}
    cost = {m.id: m.structure.volume * len(m.structure) for m in left.values()}
    kind = {m.id: m.structure.composition.anonymized_formula for m in left.values()}
    of_element: dict[str, list[str]] = {}
    for material in left.values():
        for element in material.structure.symbol_set:
            of_element.setdefault(element, []).append(material.id)
    taken: Counter[tuple[str, str]] = Counter()
    ordered = []
    while left:
        for element in sorted(of_element):
            waiting = of_element[element] = [name for name in of_element[element] if name in left]
            if not waiting:
                del of_element[element]
                continue
            prices = ((cost[name] * (1 + taken[element, kind[name]]), name) for name in waiting)
            chosen = left.pop(min(prices)[1])
            for symbol in chosen.structure.symbol_set:
                taken[symbol, kind[chosen.id]] += 1
            ordered.append(chosen)
    return ordered
