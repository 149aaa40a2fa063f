"""Response of the occupancies of up minus down to the magnetization, where runs show that it helps.

For each element and degree L, a ridge regression on the overlaps of the magnetization with
Gaussians on the ion, as for the density. One damping is taken for all, the one with the smallest
error in runs whose formula is left out. A degree of an element has the response only if its error
in left-out formulas is smaller than that of the closed form; a response that is fitted to too few
kinds of surroundings gives occupancies of another orbital state, in which a run may stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np
import torch

from mlcharge_flows.density.augmentation import blocks
from mlcharge_flows.models.orbital.augmentation_response import damped_solutions
from mlcharge_flows.training.response_run import ResponseSums

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mlcharge_flows.models.orbital.spin import SpinPart

RIDGES = tuple(10.0 ** np.arange(-4.0, 0.1, 0.5))
"""Dampings to choose from, relative to the mean square of the overlaps."""
MAX_FOLDS = 20
"""Groups of formulas that are left out together."""


@dataclass(frozen=True, eq=False)
class SpinIon:
    """Magnetization around one ion of a run.

    Parameters
    ----------
    index
        Of its element.
    formula
        Of the run.
    projections
        Overlaps with the Gaussians, shape ((lmax + 1)^2, exponents).
    occupancies
        Of up minus down.
    total
        Of the total density.
    in_sphere
        Moment in its sphere, Bohr magnetons.
    """

    index: int
    formula: str
    projections: torch.Tensor
    occupancies: torch.Tensor
    total: torch.Tensor
    in_sphere: float


@torch.no_grad()
def fit_spin_response(
    spin: SpinPart, channels: Mapping[str, Sequence[int]], ions: Sequence[SpinIon]
) -> None:
    """Fit the response of every element, and choose where it is used.

    Parameters
    ----------
    spin
        With the closed form; the responses are changed.
    channels
        l of each projector channel, per element.
    ions
        Of all spin-polarized runs.
    """
    lmax = spin.augmentation.probes.lmax
    sums: dict[tuple[int, int], dict[int, ResponseSums]] = {}
    closed: dict[tuple[int, int], float] = {}
    for ion in ions:
        places = _places(channels[spin.config.elements[ion.index]], lmax)
        moment = spin.factor[ion.index] * ion.in_sphere
        rest = ion.occupancies - spin.closed_occupancies(ion.index, moment, ion.total)
        fold = int.from_bytes(sha256(ion.formula.encode()).digest()[:4]) % MAX_FOLDS
        for degree, (_, rows) in places.items():
            key = ion.index, degree
            inputs = ion.projections[degree**2 : (degree + 1) ** 2].double().cpu().numpy()
            values = ion.occupancies.double().cpu().numpy()
            one = ResponseSums.of(inputs, np.stack([values[row] for row in rows], axis=1))
            group = sums.setdefault(key, {})
            group[fold] = group[fold] + one if fold in group else one
            error = sum(float((rest[row] ** 2).sum()) for row in rows)
            closed[key] = closed.get(key, 0.0) + error
    left = {key: _left_out(list(group.values())) for key, group in sums.items() if len(group) > 1}
    best = int(np.argmin(np.sum([*left.values()], axis=0))) if left else None
    for index in {ion.index for ion in ions}:
        spin.augmentation.get_buffer(f"largest_{index}").fill_(
            max(float(ion.occupancies.abs().max()) for ion in ions if ion.index == index)
        )
    for (index, degree), group in sums.items():
        if (
            best is None
            or left.get((index, degree), [np.inf] * len(RIDGES))[best] > closed[index, degree]
        ):
            continue
        numbers, rows = _places(channels[spin.config.elements[index]], lmax)[degree]
        total = _total(group.values())
        (solved,) = damped_solutions(total.gram, total.rhs, [RIDGES[best]])
        response = spin.augmentation.get_buffer(f"response_{index}")
        response[numbers] = torch.from_numpy(solved.T).to(response)
        for row in rows:
            spin.get_buffer(f"responds_{index}")[row] = True


def _places(channels: Sequence[int], lmax: int) -> dict[int, tuple[list[int], list[slice]]]:
    """Numbers and places of the blocks of each degree that the Gaussians have."""
    found: dict[int, tuple[list[int], list[slice]]] = {}
    for number, one in enumerate(blocks(channels)):
        if lmax >= one.L:
            numbers, rows = found.setdefault(one.L, ([], []))
            numbers.append(number)
            rows.append(slice(one.offset, one.offset + 2 * one.L + 1))
    return found


def _left_out(groups: Sequence[ResponseSums]) -> np.ndarray:
    """Squared error of left-out groups for each damping."""
    errors = np.zeros(len(RIDGES))
    for number, group in enumerate(groups):
        others = _total(one for place, one in enumerate(groups) if place != number)
        errors += group.left(damped_solutions(others.gram, others.rhs, RIDGES))
    return errors


def _total(parts: Iterable[ResponseSums]) -> ResponseSums:
    first, *others = parts
    for one in others:
        first = first + one
    return first
