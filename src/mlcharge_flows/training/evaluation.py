"""How good a model's predictions are, material by material and class by class."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
from pymatgen.core import Element

from mlcharge_flows.density.metrics import error_removed, nmae

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from mlcharge_flows.models.model import DensityModel
    from mlcharge_flows.training.record import Record

RARE = 0.25
"""Share of the elements, those with the fewest training materials, that counts as rare."""


@dataclass(frozen=True)
class MaterialErrors:
    """Errors of a prediction for one material.

    Parameters
    ----------
    id, symbols
        Identifier and elements of the ions.
    start_nmae, nmae
        Of the superposition and of the prediction, percent.
    density_removed, occupancies_removed
        Shares of the superposition's error; the second is NaN for a model without occupancies.
    seconds
        Wall time of the prediction on its grid, nothing written.
    """

    id: str
    symbols: tuple[str, ...]
    start_nmae: float
    nmae: float
    density_removed: float
    occupancies_removed: float
    seconds: float


def evaluate(model: DensityModel, record: Record) -> MaterialErrors:
    """Predict a material of a data set and compare with what its run converged to.

    Raises
    ------
    ValueError
        The atoms of the record are not known: there is no superposition to compare with.
    """
    start, reference = record.start(), record.density()
    if start is None:
        raise ValueError(f"{record.id}: its free atoms are not known")
    began = perf_counter()
    predicted = model.predict(record.crystal, record.shape)
    seconds = perf_counter() - began
    density, occupancies = error_removed(predicted, start, reference)
    return MaterialErrors(
        record.id,
        record.crystal.symbols,
        nmae(start.total, reference.total),
        nmae(predicted.total, reference.total),
        density,
        occupancies,
        seconds,
    )


class OfElements(Protocol):
    """Something about a material whose elements are known."""

    @property
    def symbols(self) -> Sequence[str]:
        """Elements, each once or once per ion."""


Row = TypeVar("Row", bound=OfElements)


def classes(rows: Iterable[Row], examples: Mapping[str, int] | None = None) -> dict[str, list[Row]]:
    """Sort materials into the classes that a user wants to hear of; one is in several.

    Parameters
    ----------
    rows
        One per material, such as :class:`MaterialErrors`.
    examples
        Training materials with each element, if known.
    """
    rules: dict[str, Callable[[set[str]], bool]] = {
        "all": lambda _: True,
        "with non-metals": lambda elements: not all(Element(e).is_metal for e in elements),
        "metals only": lambda elements: all(Element(e).is_metal for e in elements),
        "1 element": lambda elements: len(elements) == 1,
        "2 elements": lambda elements: len(elements) == 2,
        "3 elements": lambda elements: len(elements) == 3,
        "4 or more elements": lambda elements: len(elements) > 3,
    }
    if examples:
        few = int(np.quantile(list(examples.values()), RARE))
        name = f"an element with at most {few} examples"
        rules[name] = lambda elements: min(examples.get(e, 0) for e in elements) <= few
    rows = list(rows)
    sorted_ = {
        name: [row for row in rows if rule(set(row.symbols))] for name, rule in rules.items()
    }
    return {name: members for name, members in sorted_.items() if members}


def summary(rows: list[MaterialErrors]) -> dict[str, float]:
    """Medians, and means where one is usual, of the errors of a class."""
    removed = [row.density_removed for row in rows]
    occupancies = [row.occupancies_removed for row in rows]
    return {
        "materials": len(rows),
        "start_nmae_median": float(np.median([row.start_nmae for row in rows])),
        "nmae_median": float(np.median([row.nmae for row in rows])),
        "nmae_mean": float(np.mean([row.nmae for row in rows])),
        "density_removed": float(np.median(removed)),
        "occupancies_removed": float(np.median(occupancies)),
        "seconds_median": float(np.median([row.seconds for row in rows])),
    }
