r"""Numbers of a PAW data set: sections, partial waves, compensation charges, ionic potential.

The compensation charge of a VASP data set is

.. math::
    g_L(r) = A_1 j_L(q_1 r) + A_2 j_L(q_2 r), \qquad r < r_c,

where :math:`q_i r_c` are the first two zeros of :math:`j_L`, and its slope vanishes at
:math:`r_c`, the first mesh point beyond the radius that the data set gives. A data set with charges
of another form lists them in a section of its own.

References
----------
G. Kresse and D. Joubert, Phys. Rev. B 59, 1758 (1999), for the compensation charges. P. E. Bloechl,
Phys. Rev. B 50, 17953 (1994), for partial waves.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import brentq
from scipy.special import spherical_jn

from mlcharge_flows.density.paw_dataset import IonicPotential, PartialWaves
from mlcharge_flows.vasp.fortran import parse_floats

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Title of the section that lists compensation charges; VASP's own data sets have none.
COMPENSATION = "compensation charge"

#: Title of a projector on its radial mesh.
PROJECTOR = "Real Space Part"

#: Points of every radial function in reciprocal space, q_i = i * PSGMAX / 1000.
Q_POINTS = 1000

_PROJECTOR_POINTS = 100  # of a projector, r_i = i * reach / 100

#: By how much less than the radius given the first mesh point beyond it may be, in angstrom.
RADIUS_MARGIN = 1e-5

_MAX_POINTS = 100_000  # of a radial mesh: more are a sign of another file


def section(lines: Sequence[str], title: str, count: int, occurrence: int = 0) -> np.ndarray:
    """Read the first numbers below a title.

    Parameters
    ----------
    lines
        Stripped lines of a data set.
    title
        Line above the numbers.
    count
        How many numbers are read.
    occurrence
        Which of several such sections, from 0.

    Returns
    -------
    numpy.ndarray
        Shape (count,).

    Raises
    ------
    ValueError
        There is no such section, or it holds fewer numbers or other words.
    """
    starts = [number for number, line in enumerate(lines) if line == title]
    if len(starts) <= occurrence:
        raise ValueError(f"no section {title!r}: not a PAW data set")
    words: list[str] = []
    for line in lines[starts[occurrence] + 1 :]:
        if len(words) >= count:
            break
        words += line.split()
    try:
        values = parse_floats(" ".join(words[:count]).encode())
    except ValueError as error:
        raise ValueError(f"section {title!r}: {error}") from None
    if len(values) != count:
        raise ValueError(f"section {title!r}: {len(values)} of {count} numbers")
    return values


def partial_waves(lines: Sequence[str], channels: Sequence[int]) -> PartialWaves | None:
    """Read the partial waves of a data set, and read or make its compensation charges.

    Parameters
    ----------
    lines
        Stripped lines of a data set.
    channels
        l of each channel.

    Returns
    -------
    PartialWaves or None
        None if the data set holds no partial waves.

    Raises
    ------
    ValueError
        Their number is not that of the channels, a section is short, or the mesh does not grow.
    """
    n_waves = [lines.count(f"{kind} wavefunction") for kind in ("pseudo", "ae")]
    if not any(n_waves):
        return None
    if n_waves != [len(channels)] * 2:
        raise ValueError(
            f"{n_waves[0]} pseudo and {n_waves[1]} all-electron waves of {len(channels)} channels"
        )
    n_points, radius = section(lines, "PAW radial sets", 2)
    if not (4 <= n_points <= _MAX_POINTS and n_points == int(n_points)):
        raise ValueError(f"a radial mesh of {n_points:g} points")
    n = int(n_points)
    r = section(lines, "grid", n)
    if not (r[0] > 0 and np.all(np.diff(r) > 0)):
        raise ValueError("the radial mesh does not grow")
    pseudo, all_electron = (
        np.array([section(lines, f"{kind} wavefunction", n, a) for a in range(len(channels))])
        for kind in ("pseudo", "ae")
    )
    if COMPENSATION in lines:
        n_degrees = int(section(lines, COMPENSATION, 1)[0])
        charges = section(lines, COMPENSATION, 1 + n_degrees * n)[1:].reshape(n_degrees, n)
    else:
        beyond = np.flatnonzero(r > radius - RADIUS_MARGIN)
        edge = r[beyond[0]] if len(beyond) else r[-1]
        degrees = range(2 * max(channels) + 1)
        charges = np.array([bessel_charge(degree, edge, r) for degree in degrees])
    return PartialWaves(r, all_electron, pseudo, charges)


def ionic_potential(lines: Sequence[str], channels: Sequence[int]) -> IonicPotential | None:
    """Read local potential, pseudo core, projectors and reference energies of a data set.

    Parameters
    ----------
    lines
        Stripped lines of a data set.
    channels
        l of each channel.

    Returns
    -------
    IonicPotential or None
        None where the header does not list an energy for each channel, as in old data sets.

    Raises
    ------
    ValueError
        A section is short.
    """
    energies = _energies(lines, channels)
    if energies is None or lines.count(PROJECTOR) != len(channels):
        return None
    reach: list[float] = []
    for number, line in enumerate(lines):
        if line == "Non local Part":
            _, count, radius = lines[number + 1].split()[:3]
            reach += int(count) * [float(radius)]
    core = "core charge-density (partial)"
    return IonicPotential(
        local=section(lines, "local part", 1 + Q_POINTS)[1:],
        core=section(lines, core, Q_POINTS) if core in lines else np.zeros(Q_POINTS),
        projector_reach=np.array(reach),
        projectors=np.array(
            [section(lines, PROJECTOR, _PROJECTOR_POINTS, a) for a in range(len(channels))]
        ),
        energies=energies,
    )


def _energies(lines: Sequence[str], channels: Sequence[int]) -> np.ndarray | None:
    """Reference energies under 'Description', those of one l in the order of its channels."""
    if "Description" not in lines:
        return None
    found: dict[int, list[float]] = {}
    for line in lines[lines.index("Description") + 2 :]:
        words = line.split()
        if len(words) < 4 or not words[0].isdigit():
            break
        found.setdefault(int(words[0]), []).append(parse_floats(words[1].encode())[0])
    try:
        return np.array([found[degree].pop(0) for degree in channels])
    except (KeyError, IndexError):
        return None


def bessel_charge(degree: int, radius: float, r: np.ndarray) -> np.ndarray:
    """Compute the compensation charge of VASP's data sets with a unit multipole.

    Parameters
    ----------
    degree
        L.
    radius
        Radius r_c beyond which it is zero, in angstrom.
    r
        Distances in angstrom, any shape.

    Returns
    -------
    numpy.ndarray
        In angstrom^(-3-L), shape of `r`; the integral of g_L r^(L+2) is 1.

    Examples
    --------
    >>> r = np.linspace(0.0, 1.2, 2001)
    >>> charge = bessel_charge(2, 1.2, r)
    >>> float(np.trapezoid(charge * r**4, r).round(6))
    1.0
    """
    first, second = _zeros(degree)
    # With a_i = A_i j_{L+1}(x_i), the slope is -(a_1 q_1 + a_2 q_2), and the multipole
    # r_c^{L+2} (a_1 / q_1 + a_2 / q_2).
    q1, q2 = first / radius, second / radius
    a1 = radius ** -(degree + 2) / (1 / q1 - q1 / q2**2)
    a2 = -a1 * q1 / q2
    inside = np.minimum(r, radius)
    charge = a1 / spherical_jn(degree + 1, first) * spherical_jn(degree, q1 * inside)
    charge += a2 / spherical_jn(degree + 1, second) * spherical_jn(degree, q2 * inside)
    return np.where(r < radius, charge, 0.0)


@cache
def _zeros(degree: int) -> tuple[float, float]:
    """First two positive zeros of a spherical Bessel function."""
    mesh = np.linspace(degree + 0.5, degree + 12.0, 200)
    signs = np.sign(spherical_jn(degree, mesh))
    changes = np.flatnonzero(signs[1:] != signs[:-1])[:2]
    first, second = (
        float(brentq(lambda x: spherical_jn(degree, x), mesh[i], mesh[i + 1])) for i in changes
    )
    return first, second
