"""One color per arm, the same in every figure, told apart by color-blind readers too."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# Okabe and Ito's palette (https://jfly.uni-koeln.de/color/), gray for what all is compared with.
# Each is readable on white and on near-black.
_KNOWN = {
    "default": "#8a919e",
    "superposition": "#56b4e9",
    "learned": "#d55e00",
    "converged": "#009e73",
}
_OTHERS = ("#cc79a7", "#e69f00", "#0072b2", "#b5a900")


def colors(arms: Iterable[str]) -> dict[str, str]:
    """Color of each arm.

    Parameters
    ----------
    arms
        Names, in the order of the report.

    Examples
    --------
    >>> colors(["default", "cheap"])
    {'default': '#8a919e', 'cheap': '#cc79a7'}
    """
    others = cycle(_OTHERS)
    return {arm: _KNOWN[arm] if arm in _KNOWN else next(others) for arm in arms}
