"""One color per arm, the same in every figure, distinct for color-blind readers too.

References
----------
M. Okabe, K. Ito, Color Universal Design (2008), https://jfly.uni-koeln.de/color/: the palette.
Gray marks what all else is compared with. Each color is readable on white and on near-black.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Iterable

_KNOWN = {
    "default": "#8a919e",
    "atoms": "#8a919e",
    "superposition": "#56b4e9",
    "learned": "#d55e00",
    "converged": "#009e73",
    "orbital": "#d55e00",
    "charge3net": "#cc79a7",
    "superres": "#e69f00",
    "scdp": "#0072b2",
}
_OTHERS = ("#cc79a7", "#e69f00", "#0072b2", "#b5a900")
_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)
_SHADES = {
    "+orbitals": (_BLACK, 0.45),
    "/": (_WHITE, 0.5),
    "+delay": (_WHITE, 0.3),
    "+calibration": (_BLACK, 0.25),
}
"""What a part of the name of an arm mixes into the color of its density, and how much."""


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
        of the default one. Orbitals, other occupancies, a delay and a calibration are darker or
        lighter shades of the color of the density. Other names have a color that follows from the
        name alone, except that a name whose color another one has takes the next free one.

    Examples
    --------
    >>> colors(["learned@superres"])
    {'learned@superres': '#e69f00'}
    >>> colors(["default", "cheap"])
    {'default': '#8a919e', 'cheap': '#e69f00'}
    >>> colors(["learned", "learned+orbitals"])
    {'learned': '#d55e00', 'learned+orbitals': '#753400'}
    """
    arms = list(arms)
    densities = {arm: re.split(r"[/+]", arm, maxsplit=1)[0] for arm in arms}
    found = {
        arm: _shade(known, arm.removeprefix(density))
        for arm, density in densities.items()
        if (known := _KNOWN.get(density.removeprefix("learned@")))
    }
    for arm in arms:
        if arm in found:
            continue
        first = crc32(arm.encode()) % len(_OTHERS)
        wanted = [_OTHERS[(first + n) % len(_OTHERS)] for n in range(len(_OTHERS))]
        free = [color for color in wanted if color not in found.values()]
        found[arm] = (free or wanted)[0]
    return {arm: found[arm] for arm in arms}


def _shade(color: str, parts: str) -> str:
    """Color of a density, darker or lighter for what else the name of an arm has."""
    channels = [int(color[place : place + 2], 16) for place in (1, 3, 5)]
    for part, (other, fraction) in _SHADES.items():
        if part in parts:
            pairs = zip(channels, other, strict=True)
            channels = [round(c + fraction * (o - c)) for c, o in pairs]
    return "#" + "".join(f"{channel:02x}" for channel in channels)
