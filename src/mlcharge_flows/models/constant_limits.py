"""Limits of the constants of a calibration, beyond which a file was damaged or edited.

The change of a density moves electrons within a sphere: half the integral of its absolute value. An
ion of the calibrations in the documentation moves 3 % of its valence electrons at most; no ion can
move more than all of them. Occupancies have no such bound, since the partial waves of a channel can
be almost dependent: constants of 1.7 times the valence electrons occur, and ten times are refused.
"""

from __future__ import annotations

from math import pi, sqrt
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlcharge_flows.models.calibration import Calibration

MAX_MOVED = 1.0
"""Electrons that a change of the density moves within an ion, over its valence electrons."""
MAX_SPIN_MOVED = 20.0
"""Electrons that a spin density moves per Bohr magneton: a small moment may be the sum of large
parts of opposite sign."""
MAX_OCCUPANCY = 10.0
"""Electrons that a constant adds to a channel, over the valence electrons of the ion."""
MAX_MOMENT = 2.0
"""Bohr magnetons over valence electrons: a moment also counts what neighbors have near the ion."""


def beyond_limits(calibration: Calibration) -> str | None:
    """Tell which constant no run can have given.

    Parameters
    ----------
    calibration
        What was read, or fitted.

    Returns
    -------
    str or None
        The element, the constant and its size; None if all are possible.
    """
    return next(_beyond(calibration), None)


def _beyond(calibration: Calibration) -> Iterator[str]:
    """Constants beyond the limits; those of a magnetization are for one Bohr magneton."""
    for part in (calibration.elements, calibration.alone):
        for symbol, mine in part.items():
            sizes = *mine.occupancies, mine.largest_change or 0.0
            limits = MAX_MOVED * mine.zval, MAX_OCCUPANCY * mine.zval
            yield from _of_ion(f"of {symbol}", calibration, mine.form_factor, sizes, limits)
    known = calibration.alone | calibration.elements
    for symbol, spin in calibration.magnetization.items():
        if symbol not in known:
            continue
        zval, parts = known[symbol].zval, (spin.form_factor or (), spin.occupancies or ())
        limits = MAX_SPIN_MOVED, MAX_OCCUPANCY * zval
        yield from _of_ion(f"of the spin of {symbol}", calibration, *parts, limits)
        mean, limit = spin.all_moments.mean, MAX_MOMENT * zval
        if mean > limit:
            yield f"the moments of {symbol} are {mean:.3g} Bohr magnetons, the limit is {limit:g}"


def _of_ion(
    whose: str,
    calibration: Calibration,
    form_factor: tuple[float, ...],
    occupancies: tuple[float, ...],
    limits: tuple[float, float],
) -> Iterator[str]:
    most_moved, most = limits
    moved = calibration.basis.moved(form_factor) if form_factor else 0.0
    if moved > most_moved:
        yield f"the form factor {whose} moves {moved:.3g} electrons, the limit is {most_moved:g}"
    largest = sqrt(4 * pi) * float(np.abs(occupancies).max(initial=0.0))
    if largest > most:
        yield f"the occupancies {whose} change by {largest:.3g} electrons, the limit is {most:g}"
