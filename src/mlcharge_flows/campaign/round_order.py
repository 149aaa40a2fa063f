"""The order in which materials join the rounds of a campaign, and the control share of a round.

Materials that bring elements of which too few runs were planned come first; the others, and the
control share, are in an order that is random but follows from the seed and the names alone.
"""

from __future__ import annotations

import heapq
from collections import Counter
from hashlib import sha256
from typing import TYPE_CHECKING

from pymatgen.core import Composition

from mlcharge_flows.campaign.material_folder import structure_hash

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from mlcharge_flows.campaign.rounds_spec import RoundsSpec
    from mlcharge_flows.structures import Material


def elements_of(material: Material) -> frozenset[str]:
    """Elements of a material.

    Parameters
    ----------
    material
        Crystal.

    Returns
    -------
    frozenset of str
        Symbols.
    """
    return frozenset(material.structure.symbol_set)


def elements_of_formula(formula: str) -> set[str]:
    """Elements of a formula.

    Parameters
    ----------
    formula
        As results and calibrations have it.

    Returns
    -------
    set of str
        Symbols.

    Examples
    --------
    >>> sorted(elements_of_formula("Ca3SiBr2"))
    ['Br', 'Ca', 'Si']
    """
    return {element.symbol for element in Composition(formula)}


def next_rounds(
    pending: Sequence[Material],
    spec: RoundsSpec,
    begun: int = 0,
    before: Iterable[Material] = (),
) -> Iterator[list[Material]]:
    """Split materials into rounds.

    The first rounds of several materials are the same, whatever was split off before: a campaign
    may call this anew before each round.

    Parameters
    ----------
    pending
        Materials that are in no round yet.
    spec
        Number or size of the rounds.
    begun
        Rounds that have begun.
    before
        Their materials.

    Yields
    ------
    list of Material
        Of one round. Materials of the same structure are in one round, so that it may be longer.
    """
    counts = Counter(element for material in before for element in elements_of(material))
    groups = _covering(_same_structures(pending), counts, spec)
    left = len(pending)
    chunk: list[Material] = []
    for group in groups:
        chunk += group
        if len(chunk) >= spec.length(left, begun):
            yield chunk
            left, begun, chunk = left - len(chunk), begun + 1, []
    if chunk:
        yield chunk


def control_share(names: Collection[str], spec: RoundsSpec, number: int) -> set[str]:
    """Choose the materials of a round that run both from free atoms and from the best source.

    Parameters
    ----------
    names
        Materials that may be chosen.
    spec
        Fraction and seed.
    number
        Of the round.

    Returns
    -------
    set of str
        Independent of the order of the names.
    """
    ordered = sorted(names, key=lambda name: _draw(f"control {number}", name, spec.seed))
    return set(ordered[: spec.n_control(len(names))])


def _draw(purpose: str, name: str, seed: int) -> str:
    """Random number of a material, as hexadecimal digits."""
    return sha256(f"{seed}\n{purpose}\n{name}".encode()).hexdigest()


def _same_structures(materials: Iterable[Material]) -> list[list[Material]]:
    groups: dict[str, list[Material]] = {}
    for material in materials:
        groups.setdefault(structure_hash(material.structure), []).append(material)
    return list(groups.values())


def _covering(
    groups: Iterable[list[Material]], counts: Counter[str], spec: RoundsSpec
) -> Iterator[list[Material]]:
    """Groups in an order in which the next one has the most elements that are seldom so far."""

    def gain(group: list[Material]) -> int:
        return sum(counts[element] < spec.min_runs for element in elements_of(group[0]))

    # The gain of a group only falls: the first of the heap whose gain is up to date is the best.
    heap = [
        (-gain(group), _draw("order", group[0].id, spec.seed), number, group)
        for number, group in enumerate(groups)
    ]
    heapq.heapify(heap)
    while heap:
        known, draw, number, group = heapq.heappop(heap)
        if (now := -gain(group)) != known:
            heapq.heappush(heap, (now, draw, number, group))
            continue
        for material in group:
            counts.update(elements_of(material))
        yield group
