r"""VASP's two FFT grids: the coarse one of the orbitals and the fine one of the density.

With :math:`x_i = |a_i| \sqrt{E_{cut}} / 2 \pi` in Rydberg atomic units, NGX is the next even
integer without prime factors above 7 from int(w x + 1/2) on, w = 4 (PREC = Accurate, Single) or 3
(Normal, SingleN). The fine grid has twice as many points (Accurate, Normal) or as many (Single,
SingleN).

References
----------
VASP wiki, https://www.vasp.at/wiki/index.php/NGX, https://www.vasp.at/wiki/index.php/NGXF and
https://www.vasp.at/wiki/index.php/PREC.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt, tau
from typing import TYPE_CHECKING, Any

import numpy as np

from mlcharge_flows.errors import MlchargeError

if TYPE_CHECKING:
    from collections.abc import Mapping

# Those of VASP's source (constant.inc): others would give another grid at a rounding edge.
_RYDBERG = 13.605826  # eV
_BOHR = 0.529177249  # angstrom

# Width of the coarse grid in units of the cutoff sphere's radius, and fine points per coarse one.
_PRECISIONS = {"accurate": (4, 2), "normal": (3, 2), "single": (4, 1), "singlen": (3, 1)}


class FineGridError(MlchargeError, ValueError):
    """Tags of an INCAR from which no grid follows; the message names the tag."""


@dataclass(frozen=True)
class FFTGrids:
    """Points along each lattice vector.

    Parameters
    ----------
    coarse
        NGX, NGY, NGZ.
    fine
        NGXF, NGYF, NGZF: the grid of the CHGCAR.
    """

    coarse: tuple[int, int, int]
    fine: tuple[int, int, int]


def fft_grids(lattice: np.ndarray, incar: Mapping[str, Any]) -> FFTGrids:
    """FFT grids of VASP for a lattice and an INCAR.

    Parameters
    ----------
    lattice
        Lattice vectors as rows, shape (3, 3), angstrom.
    incar
        ENCUT (eV), PREC (default Normal), and NGX, .., NGZF where they are set: these win.

    Returns
    -------
    FFTGrids
        Coarse and fine grid.

    Raises
    ------
    FineGridError
        ENCUT is needed and missing, PREC is unknown, or PREC is Low, Medium or High, whose fine
        grids depend on the data sets (ENAUG) and must be given as NGXF, NGYF, NGZF.

    Examples
    --------
    >>> silicon = 5.43 / 2 * (1 - np.eye(3))
    >>> fft_grids(silicon, {"ENCUT": 520, "PREC": "Accurate"})
    FFTGrids(coarse=(30, 30, 30), fine=(60, 60, 60))
    """
    coarse = [_explicit(incar, tag) for tag in ("NGX", "NGY", "NGZ")]
    fine = [_explicit(incar, tag) for tag in ("NGXF", "NGYF", "NGZF")]
    if None in coarse or None in fine:
        width, ratio = _precision(str(incar.get("PREC", "Normal")))
        lengths = np.linalg.norm(np.asarray(lattice, dtype=float), axis=1)
        for axis in range(3):
            if coarse[axis] is None:
                coarse[axis] = _coarse_points(float(lengths[axis]), _encut(incar), width)
            if fine[axis] is None:
                fine[axis] = ratio * (coarse[axis] or 0)
    return FFTGrids(_triple(coarse), _triple(fine))


def smooth_even(at_least: int) -> int:
    """Next even integer without prime factors above 7.

    Parameters
    ----------
    at_least
        Lower bound.

    Returns
    -------
    int
        The smallest one that is not less.

    Examples
    --------
    >>> [smooth_even(n) for n in (1, 29, 30, 61, 76)]
    [2, 30, 30, 64, 80]
    """
    candidate = max(2, at_least + at_least % 2)
    while not _is_smooth(candidate):
        candidate += 2
    return candidate


def _is_smooth(number: int) -> bool:
    for prime in (2, 3, 5, 7):
        while number % prime == 0:
            number //= prime
    return number == 1


def _coarse_points(length: float, encut: float, width: int) -> int:
    radius = length * sqrt(encut / _RYDBERG) / _BOHR / tau
    return smooth_even(int(width * radius + 0.5))


def _precision(prec: str) -> tuple[int, int]:
    name = prec.strip().lower()
    # VASP looks at the first letter only, but for SingleN.
    for known, rule in _PRECISIONS.items():
        if name == known or (name != "singlen" and name[:1] == known[0]):
            return rule
    if name[:1] in {"l", "m", "h"}:
        raise FineGridError(
            f"PREC = {prec} takes its fine grid from the data sets: set NGXF, NGYF, NGZF explicitly"
        )
    raise FineGridError(f"PREC = {prec} is unknown: use Accurate, Normal, Single or SingleN")


def _encut(incar: Mapping[str, Any]) -> float:
    try:
        encut = float(incar["ENCUT"])
    except KeyError:
        raise FineGridError("ENCUT is missing: the FFT grids depend on it") from None
    except (TypeError, ValueError):
        raise FineGridError(f"ENCUT = {incar['ENCUT']!r} is not a number") from None
    if not encut > 0.0:
        raise FineGridError(f"ENCUT = {encut:g} is not positive")
    return encut


def _explicit(incar: Mapping[str, Any], tag: str) -> int | None:
    if incar.get(tag) is None:
        return None
    try:
        points = int(incar[tag])
    except (TypeError, ValueError):
        points = 0
    if points < 1:
        raise FineGridError(f"{tag} = {incar[tag]!r} is not a positive integer")
    return points


def _triple(points: list[int | None]) -> tuple[int, int, int]:
    nx, ny, nz = (int(n or 0) for n in points)
    return nx, ny, nz
