"""One color per arm, the same in every figure, distinct for color-blind readers too.

References
----------
M. Okabe, K. Ito, Color Universal Design (2008), https://jfly.uni-koeln.de/color/: the palette.
Gray marks what all else is compared with. Each color is readable on white and on near-black.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Iterable

_KNOWN = {
    "default": "#8a919e",
    "superposition": "#56b4e9",
    "learned": "#d55e00",
    "converged": "#009e73",
    "orbital": "#d55e00",
    "charge3net": "#cc79a7",
    "superres": "#e69f00",
    "scdp": "#0072b2",
}
_OTHERS = ("#cc79a7", "#e69f00", "#0072b2", "#b5a900")


def colors(arms: Iterable[str]) -> dict[str, str]:
    """Color of each arm.

    Parameters
    ----------
    arms
        Names of arms or models.

    Returns
    -------
    dict
        Hexadecimal RGB by name. ``learned@MODEL`` has the color of the model, and ``learned`` that
        of the default one. Other names have a color that follows from the name alone, except that
        names which share a color take the next free one in the order given.

    Examples
    --------
    >>> colors(["learned@superres"])
    {'learned@superres': '#e69f00'}
    >>> colors(["default", "cheap"])
    {'default': '#8a919e', 'cheap': '#e69f00'}
    """
    found: dict[str, str] = {}
    for arm in arms:
        first = crc32(arm.encode()) % len(_OTHERS)
        wanted = [_OTHERS[(first + n) % len(_OTHERS)] for n in range(len(_OTHERS))]
        free = [color for color in wanted if color not in found.values()]
        found[arm] = _KNOWN.get(arm.removeprefix("learned@")) or (free or wanted)[0]
    return found
