"""Weights of single elements, taken from a network of other elements or PAW data sets.

The learned vector of an element goes with the element; one that the earlier network does not know
begins with that of the nearest element of its group. Densities of free atoms and corrections of
form factors belong to a PAW data set: they are never those of another one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pymatgen.core.periodic_table import Element

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from torch import Tensor

LEARNED = "embedding.learned.weight"
PROFILES = "embedding.profiles"
FORM_FACTORS = "form_factors.values"


def nearest_element(symbol: str, known: Collection[str]) -> str:
    """Nearest element of the same group of the periodic table.

    Parameters
    ----------
    symbol
        Element.
    known
        Elements to choose from, at least one.

    Returns
    -------
    str
        Of equally near ones the lighter; without any of the group, the one of the nearest Mendeleev
        number.

    Examples
    --------
    >>> nearest_element("K", ["Na", "Rb", "Ca"]), nearest_element("B", ["Al", "C"])
    ('Na', 'Al')
    >>> nearest_element("Fe", ["Cu", "Cs"])
    'Cu'
    """
    element = Element(symbol)
    group = [other for other in known if Element(other).group == element.group]
    if group:
        return min(group, key=lambda s: (abs(Element(s).row - element.row), Element(s).Z))
    number = element.mendeleev_no or 0.0
    return min(known, key=lambda s: (abs((Element(s).mendeleev_no or 0.0) - number), Element(s).Z))


def rows_by_element(
    weights: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    known: Sequence[str],
    elements: Sequence[str],
    same: Collection[str],
) -> tuple[dict[str, Tensor], list[str]]:
    """Assign the rows of an earlier network to the elements of another one.

    Parameters
    ----------
    weights
        Weights of the earlier network.
    own
        Initial weights of the other network.
    known
        Elements of the earlier network, in the order of its rows.
    elements
        Elements of the other network.
    same
        Elements whose PAW data set and cutoff are those of the earlier training.

    Returns
    -------
    weights : dict of str to torch.Tensor
        The earlier weights with rows for the other elements; without densities of free atoms.
    notes : list of str
        A line for each element that the earlier network does not know, and one for those whose form
        factors begin at zero.
    """
    taken = {name: weight for name, weight in weights.items() if name != PROFILES}
    notes = []
    source = {s: s if s in known else nearest_element(s, known) for s in elements}
    if LEARNED in taken and LEARNED in own:
        earlier = taken[LEARNED]
        ions = [earlier[list(known).index(source[symbol])] for symbol in elements]
        virtual = earlier[len(known) :]
        taken[LEARNED] = own[LEARNED].new_empty(0)  # replaced, where the options fit
        if ions and virtual.shape[0] == own[LEARNED].shape[0] - len(elements):
            import torch

            taken[LEARNED] = torch.cat([torch.stack(ions), virtual])
        notes += [
            f"{symbol} begins with the embedding of {other}"
            for symbol, other in source.items()
            if symbol != other
        ]
    if FORM_FACTORS in taken and FORM_FACTORS in own:
        earlier, rows = taken[FORM_FACTORS], own[FORM_FACTORS].clone()
        kept = [s for s in elements if s in same and s in known]
        if rows.shape[1:] == earlier.shape[1:]:
            for symbol in kept:
                rows[list(elements).index(symbol)] = earlier[list(known).index(symbol)]
            taken[FORM_FACTORS] = rows
        if others := [symbol for symbol in elements if symbol not in kept]:
            notes.append(
                f"form factors of {', '.join(others)} begin at zero: another PAW data set or cutoff"
            )
    return taken, notes
