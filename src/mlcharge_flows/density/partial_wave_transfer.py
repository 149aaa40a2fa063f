r"""Augmentation occupancies of one PAW data set expressed in the partial waves of another one.

Inside the augmentation sphere the all-electron wave does not depend on the data set:
:math:`\psi = \sum_i \phi^A_i P^A_i = \sum_j \phi^B_j P^B_j`. With the expansion
:math:`\phi^A_i = \sum_j \phi^B_j T_{ji}` of partial waves of equal l it follows that

.. math:: P^B = T P^A, \qquad D^B = T D^A T^t .

Partial waves of bound states of equal valence agree; a second wave lies in the other span but for
some percent, and semicore states that one of the data sets has in its core do not.

References
----------
P. E. Bloechl, Phys. Rev. B 50, 17953 (1994), for the partial waves.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
from scipy.interpolate import CubicSpline

from mlcharge_flows.density.augmentation import from_matrix, to_matrix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlcharge_flows.density.paw_dataset import PartialWaves, PawDataset

MAX_RESIDUAL = 0.15
"""Norm of what an expansion leaves of a partial wave, relative, from which on it is none: second
waves lie in the other span to 0.3 to 8 %, semicore states that are missing there to 34 % and more.
"""
_MESH_POINTS = 400
_EQUAL = 1e-4
"""Difference of all-electron and pseudo waves, relative to the largest, beyond the sphere."""
_MIN_SINGULAR_VALUE = 1e-3
"""Relative; nearly dependent partial waves get no large coefficients of opposite sign."""


def transfer_matrix(source: PawDataset, target: PawDataset) -> np.ndarray:
    """Expand the partial waves of one PAW data set in those of another one.

    By least squares of the all-electron waves r phi(r) within the smaller of both spheres.

    Parameters
    ----------
    source
        Data set A, with partial waves.
    target
        Data set B of the same element, with partial waves.

    Returns
    -------
    numpy.ndarray
        T, shape (channels of B, channels of A); zero between channels of different l, and for
        waves of A that B does not have, such as semicore states.

    Raises
    ------
    ValueError
        The partial waves of a data set are not known.
    """
    for dataset in (source, target):
        if dataset.partial_waves is None:
            raise ValueError(f"{dataset.titel}: its partial waves are not known")
    own, other = source.partial_waves, target.partial_waves
    assert own is not None
    assert other is not None
    edge = min(_sphere(own), _sphere(other))
    mesh = np.linspace(max(own.r[0], other.r[0]), edge, _MESH_POINTS)
    waves, basis = (CubicSpline(w.r, w.all_electron, axis=1)(mesh) for w in (own, other))
    matrix = np.zeros((len(target.channels), len(source.channels)))
    for degree in set(source.channels):
        mine = [a for a, l in enumerate(source.channels) if l == degree]
        its = [b for b, l in enumerate(target.channels) if l == degree]
        if its:
            found = np.linalg.lstsq(basis[its].T, waves[mine].T, rcond=_MIN_SINGULAR_VALUE)[0]
            apart = np.linalg.norm(waves[mine].T - basis[its].T @ found, axis=0)
            foreign = apart > MAX_RESIDUAL * np.linalg.norm(waves[mine], axis=1)
            matrix[np.ix_(its, mine)] = np.where(foreign, 0.0, found)
    return matrix


def carry_occupancies(
    occupancies: np.ndarray,
    channels: Sequence[int],
    target_channels: Sequence[int],
    transfer: np.ndarray,
) -> np.ndarray:
    """Express augmentation occupancies, or changes of them, in another data set.

    Parameters
    ----------
    occupancies
        Of data set A, shape (n_occupancies(channels),), in electrons.
    channels
        l of each channel of A.
    target_channels
        l of each channel of B.
    transfer
        T of :func:`transfer_matrix`, shape (channels of B, channels of A).

    Returns
    -------
    numpy.ndarray
        Of data set B, shape (n_occupancies(target_channels),), in electrons. Channels of B whose l
        A does not have are zero.

    Raises
    ------
    ValueError
        The number of occupancies is not that of the channels, or T has another shape.

    Examples
    --------
    >>> carry_occupancies(np.array([2.0]), (0,), (0, 0), np.array([[0.5], [0.0]])).tolist()
    [0.5, 0.0, 0.0]
    """
    if np.shape(transfer) != (len(target_channels), len(channels)):
        raise ValueError(
            f"the transfer has shape {np.shape(transfer)}, channels need "
            f"({len(target_channels)}, {len(channels)})"
        )
    rows, columns = _starts(target_channels), _starts(channels)
    whole = np.zeros((rows[-1], columns[-1]))
    for b, degree in enumerate(target_channels):
        for a, own in enumerate(channels):
            if own == degree:
                for m in range(2 * degree + 1):
                    whole[rows[b] + m, columns[a] + m] = transfer[b][a]
    carried = whole @ to_matrix(occupancies, channels) @ whole.T
    return from_matrix(carried, target_channels)


def _sphere(waves: PartialWaves) -> float:
    """Radius beyond which all-electron and pseudo waves are equal, angstrom."""
    apart = np.abs(waves.all_electron - waves.pseudo)
    size = np.abs(waves.all_electron).max(axis=1, keepdims=True)
    differ = np.flatnonzero((apart > _EQUAL * size).any(axis=0))
    return float(waves.r[differ[-1]]) if len(differ) else float(waves.r[-1])


def _starts(channels: Sequence[int]) -> list[int]:
    """First row of each channel in the density matrix, and the number of rows."""
    return list(accumulate((2 * degree + 1 for degree in channels), initial=0))
