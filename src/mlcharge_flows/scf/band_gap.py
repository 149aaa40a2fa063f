"""Fundamental gap of a finished run, from its EIGENVAL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pymatgen.io.vasp.outputs import Eigenval

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]


def read_band_gap(path: str | Path) -> float | None:
    """Read the gap of a run, with or without spin.

    Parameters
    ----------
    path
        EIGENVAL, plain or compressed; that of VASP 5.3 or later, which has occupations.

    Returns
    -------
    float or None
        As :func:`band_gap` gives it; None if no band is empty or the file has no occupations.

    Raises
    ------
    ValueError
        The file is no EIGENVAL, or cut.
    OSError
        The file cannot be read.
    """
    try:
        run = Eigenval(path)
    except (IndexError, KeyError, TypeError) as error:  # whatever a cut file leads to
        raise ValueError(f"{path}: is no EIGENVAL ({error})") from None
    values = np.array(list(run.eigenvalues.values()))
    gap = band_gap(values[..., 0], values[..., 1], run.nelect)
    return None if gap is None else round(gap, 6)  # the digits of the file


def band_gap(energies: FloatArray, occupations: FloatArray, n_electrons: float) -> float | None:
    """Fundamental gap over the k-points of a run.

    A level is filled if its occupation is above one half. A crystal is an insulator if each spin
    has the same number of filled levels at each k-point, and these hold all electrons. So smearing
    does not close a gap, and the spacing of levels of a coarse mesh does not open one in a metal
    whose bands cross the Fermi level between k-points of the mesh; on one or two points a metal can
    look like an insulator.

    Parameters
    ----------
    energies
        Levels, eV, shape (spins, k-points, bands).
    occupations
        Between 0 and 1, as VASP prints them; of the same shape.
    n_electrons
        NELECT.

    Returns
    -------
    float or None
        Lowest empty less highest filled level of both spins, eV; 0 for a metal. None if all bands
        are filled, or none is.

    Examples
    --------
    >>> levels = np.array([[[-1.0, 0.5], [-2.0, 1.5]]])
    >>> band_gap(levels, np.array([[[0.9, 0.1], [1.0, 0.0]]]), 2.0)
    1.5
    >>> band_gap(levels, np.array([[[1.0, 1.0], [1.0, 0.0]]]), 3.0)
    0.0
    """
    filled = occupations > 0.5
    if filled.all() or not filled.any():
        return None
    counts = filled.sum(axis=2)
    # Without spin a level holds two electrons; with two spins, or as a spinor, one.
    held = {n * counts[:, 0].sum() for n in ((1, 2) if len(counts) == 1 else (1,))}
    if (counts != counts[:, :1]).any() or round(n_electrons) not in held:
        return 0.0
    return max(float(energies[~filled].min() - energies[filled].max()), 0.0)
