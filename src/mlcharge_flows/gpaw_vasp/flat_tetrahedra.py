"""Occupations by the tetrahedron method where the number of electrons jumps at the Fermi level.

On a coarse mesh all corners of a tetrahedron can be equivalent k-points. Its energies in a band are
then one number, and all its states fill at once; GPAW's search for the Fermi level ends with an
AssertionError if the level is there. Here such states are filled in part, as in the limit of a
small broadening. What VASP does in this case was not tried.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from gpaw.tetrahedron import TetrahedronMethod

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gpaw.new.smearing import OccupationNumberCalculator

    Occupations = tuple[np.ndarray, list[float], float]

_BISECTIONS = 100
"""Halvings of the range of the band energies, after which its ends are neighboring numbers."""


def fill_flat_tetrahedra(calculator: OccupationNumberCalculator) -> None:
    """Let a calculator of occupations fill degenerate states at the Fermi level in part.

    Parameters
    ----------
    calculator
        GPAW's; it is changed if it has the tetrahedron method.
    """
    if isinstance(calculator.occ, TetrahedronMethod):
        calculator.calculate = partial(_occupations, calculator.calculate)  # type: ignore[method-assign]


def _occupations(
    calculate: Callable[..., Occupations],
    nelectrons: float,
    eigenvalues: Sequence[np.ndarray],
    weights: Sequence[float],
    spins: Sequence[int],
    fermi_levels_guess: Sequence[float] | None = None,
    fix_fermi_level: bool = False,
) -> Occupations:
    """Occupations, Fermi level (eV) and entropy term; energies in eV, states of one spin."""
    try:
        return calculate(
            nelectrons, eigenvalues, weights, spins, fermi_levels_guess, fix_fermi_level
        )
    except AssertionError:
        if fix_fermi_level:
            raise

    def at(level: float) -> tuple[np.ndarray, float]:
        filled: Any = calculate(nelectrons, eigenvalues, weights, spins, [level], True)[0]
        return filled, float(np.asarray(weights) @ np.sum(filled, axis=1))

    energies = np.concatenate([np.asarray(values) for values in eigenvalues])
    low, high = float(energies.min()) - 1.0, float(energies.max()) + 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if at(middle)[1] > nelectrons else (middle, high)
    (below, fewer), (above, more) = at(low), at(high)
    fraction = (nelectrons - fewer) / (more - fewer)
    return (1 - fraction) * below + fraction * above, [high], 0.0
