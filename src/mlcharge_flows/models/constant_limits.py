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
MAX_OCCUPANCY = 10.0
"""Electrons that a constant adds to a channel, over the valence electrons of the ion."""


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
            yield from _of_ion(symbol, mine.zval, calibration, mine.form_factor, sizes)
    known = calibration.alone | calibration.elements
    for symbol, spin in calibration.magnetization.items():
        if symbol not in known:
            continue
        zval = known[symbol].zval
        yield from _of_ion(
            symbol, zval, calibration, spin.form_factor or (), spin.occupancies or (), "spin "
        )
        if spin.all_moments.mean > zval:
            yield (
                f"the moments of {symbol} are {spin.all_moments.mean:.3g} Bohr magnetons, its "
                f"valence electrons {zval:g}"
            )


def _of_ion(
    symbol: str,
    zval: float,
    calibration: Calibration,
    form_factor: tuple[float, ...],
    occupancies: tuple[float, ...],
    kind: str = "",
) -> Iterator[str]:
    moved = calibration.basis.moved(form_factor) if form_factor else 0.0
    if moved > MAX_MOVED * zval:
        yield (
            f"the {kind}form factor of {symbol} moves {moved:.3g} electrons, its valence electrons "
            f"are {zval:g}"
        )
    largest = sqrt(4 * pi) * float(np.abs(occupancies).max(initial=0.0))
    if largest > MAX_OCCUPANCY * zval:
        yield (
            f"the {kind}occupancies of {symbol} change by {largest:.3g} electrons, its valence "
            f"electrons are {zval:g}"
        )
