r"""On-site PAW occupancies of one ion as VASP's CHGCAR stores them: a flat, rotatable record.

For projector channels :math:`a = (i_a, l_a)` in POTCAR order, the record holds for every pair
:math:`a \le b` and every :math:`L = |l_a-l_b|, |l_a-l_b|+2, \ldots, l_a+l_b` the components
M = -L..L of

.. math::
    \rho^{ab}_{LM} = (2 - \delta_{ab}) \sum_{mm'} D_{am,bm'}
        \int Y_{l_a m} Y_{l_b m'} Y_{LM} \, d\Omega ,

with D the atomic density matrix in real harmonics. The on-site density is then
:math:`\sum_{a \le b} \phi_a(r) \phi_b(r) \sum_{LM} \rho^{ab}_{LM} Y_{LM}`; parts with odd
:math:`l_a + l_b + L` cannot contribute to it and are not stored. Length, order and normalization
were measured on real files (see ``docs``): the L = 0 value is
:math:`(2-\delta_{ab}) \sum_m D_{am,bm} / \sqrt{4\pi}`.

Everywhere below, ``channels`` lists l of each channel, such as ``(0, 0, 1, 1)``.
"""

from __future__ import annotations

from functools import cache
from itertools import accumulate, pairwise
from math import pi, sqrt
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mlcharge_flows.density.harmonics import gaunt, rotation_matrix

if TYPE_CHECKING:
    from collections.abc import Sequence


class Block(NamedTuple):
    """Where the 2L+1 components of one channel pair and one L lie in a record.

    Parameters
    ----------
    a, b
        Channels, a <= b.
    L
        Degree of the density component.
    start
        Index of the component M = -L; the block is ``record[start : start + 2 * L + 1]``.
    """

    a: int
    b: int
    L: int
    start: int


def blocks(channels: Sequence[int]) -> tuple[Block, ...]:
    """Blocks of a record, in order.

    Parameters
    ----------
    channels
        l of each channel.

    Returns
    -------
    tuple of Block
        One per channel pair and L.

    Raises
    ------
    ValueError
        If a channel is negative.
    """
    return _blocks(tuple(channels))


@cache
def _blocks(channels: tuple[int, ...]) -> tuple[Block, ...]:
    if min(channels, default=0) < 0:
        raise ValueError(f"channels {channels} contain a negative l")
    found = []
    start = 0
    for a, la in enumerate(channels):
        for b in range(a, len(channels)):
            lb = channels[b]
            for L in range(abs(la - lb), la + lb + 1, 2):
                found.append(Block(a, b, L, start))
                start += 2 * L + 1
    return tuple(found)


def n_occupancies(channels: Sequence[int]) -> int:
    """Count the values in a record.

    Parameters
    ----------
    channels
        l of each channel.

    Returns
    -------
    int
        15 for (s,s,p), 33 for (s,s,p,p), 78 for (s,s,p,p,d), 138 for (s,s,p,p,d,d).

    Examples
    --------
    >>> from mlcharge_flows.density.augmentation import n_occupancies
    >>> [n_occupancies(c) for c in [(0, 0, 1), (0, 0, 1, 1), (0, 0, 1, 1, 2), (0, 0, 1, 1, 2, 2)]]
    [15, 33, 78, 138]
    """
    return sum(2 * block.L + 1 for block in blocks(channels))


def labels(channels: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """Name every value of a record.

    Parameters
    ----------
    channels
        l of each channel.

    Returns
    -------
    list of tuple
        (a, b, L, M) in record order.

    Examples
    --------
    >>> from mlcharge_flows.density.augmentation import labels
    >>> labels((0, 1))[:4]
    [(0, 0, 0, 0), (0, 1, 1, -1), (0, 1, 1, 0), (0, 1, 1, 1)]
    """
    return [(a, b, L, M) for a, b, L, _ in blocks(channels) for M in range(-L, L + 1)]


def irreps(channels: Sequence[int]) -> str:
    """Write a record as a direct sum of irreps of O(3), in e3nn's notation.

    Parameters
    ----------
    channels
        l of each channel.

    Returns
    -------
    str
        Irreps in record order. The components are e3nn's when its coordinates are (y, z, x).

    Examples
    --------
    >>> from mlcharge_flows.density.augmentation import irreps
    >>> irreps((0, 1))
    '1x0e+1x1o+1x0e+1x2e'
    """
    # The parity of a product of channels is (-1)^(la + lb) = (-1)^L, since L runs in steps of 2.
    return "+".join(f"1x{block.L}{'eo'[block.L % 2]}" for block in blocks(channels))


def from_matrix(matrix: np.ndarray, channels: Sequence[int]) -> np.ndarray:
    """Couple an atomic density matrix to a record.

    Parameters
    ----------
    matrix
        Density matrix D in electrons, shape (n, n) with n = sum(2l+1); index order: channel,
        then m = -l..l. Only its symmetric part counts, as in a density.
    channels
        l of each channel.

    Returns
    -------
    numpy.ndarray
        The record, shape (n_occupancies,).

    Raises
    ------
    ValueError
        If the matrix does not have the size that the channels ask for.

    Examples
    --------
    Two electrons in an s channel:

    >>> import numpy as np
    >>> from mlcharge_flows.density.augmentation import from_matrix
    >>> float(np.round(from_matrix(np.array([[2.0]]), (0,))[0], 5))
    0.56419
    """
    matrix = np.asarray(matrix, dtype=float)
    spans = _spans(channels)
    n = spans[-1].stop if spans else 0
    if matrix.shape != (n, n):
        raise ValueError(
            f"density matrix has shape {matrix.shape}, channels {tuple(channels)} need ({n}, {n})"
        )
    matrix = (matrix + matrix.T) / 2
    record = np.empty(n_occupancies(channels))
    for a, b, L, start in blocks(channels):
        pair = matrix[spans[a], spans[b]]
        coupled = np.einsum("ij,ijM->M", pair, gaunt(channels[a], channels[b], L))
        record[start : start + 2 * L + 1] = (1 if a == b else 2) * coupled
    return record


def to_matrix(record: np.ndarray, channels: Sequence[int]) -> np.ndarray:
    """Uncouple a record to the density matrix of the same density.

    The inverse of :func:`from_matrix` on matrices without odd la + lb + L parts, which is all that
    a density can tell.

    Parameters
    ----------
    record
        Shape (n_occupancies,).
    channels
        l of each channel.

    Returns
    -------
    numpy.ndarray
        Symmetric matrix, shape (n, n) with n = sum(2l+1).

    Raises
    ------
    ValueError
        If the record does not have the length that the channels ask for.
    """
    record = _checked(record, channels)
    spans = _spans(channels)
    n = spans[-1].stop if spans else 0
    matrix = np.zeros((n, n))
    for a, b, L, start in blocks(channels):
        coupling = gaunt(channels[a], channels[b], L)
        # The couplings to different (L, M) are orthogonal, with a norm that M does not change.
        norm = np.sum(coupling[:, :, 0] ** 2) * (1 if a == b else 2)
        pair = coupling @ record[start : start + 2 * L + 1] / norm
        matrix[spans[a], spans[b]] += pair
        if a != b:
            matrix[spans[b], spans[a]] += pair.T
    return matrix


def rotate(record: np.ndarray, channels: Sequence[int], rotation: np.ndarray) -> np.ndarray:
    """Give the record of the same ion in the rotated crystal.

    Parameters
    ----------
    record
        Shape (n_occupancies,).
    channels
        l of each channel.
    rotation
        Orthogonal Cartesian matrix, proper or not: an atom at r goes to ``rotation @ r``.

    Returns
    -------
    numpy.ndarray
        The rotated record.

    Raises
    ------
    ValueError
        If the record does not fit the channels or the matrix is not orthogonal.
    """
    record = _checked(record, channels)
    rotated = np.empty_like(record)
    wigner = {L: rotation_matrix(L, rotation) for L in {block.L for block in blocks(channels)}}
    for _, _, L, start in blocks(channels):
        part = slice(start, start + 2 * L + 1)
        rotated[part] = wigner[L] @ record[part]
    return rotated


def truncate(record: np.ndarray, channels: Sequence[int], lmaxmix: int) -> np.ndarray:
    """Set the components with L > LMAXMIX to zero, as VASP does when it writes a record.

    Parameters
    ----------
    record
        Shape (n_occupancies,).
    channels
        l of each channel.
    lmaxmix
        Highest L kept.

    Returns
    -------
    numpy.ndarray
        The truncated record; its length does not change.

    Raises
    ------
    ValueError
        If the record does not fit the channels.
    """
    kept = np.array([lmaxmix >= L for _, _, L, _ in labels(channels)], dtype=bool)
    return np.where(kept, _checked(record, channels), 0.0)


def atomic_occupancies(channels: Sequence[int], occupancies: np.ndarray) -> np.ndarray:
    """Record of a free, spherical atom: L = 0 only.

    The value is (2 - delta_ab) (2l+1) Q_ab / sqrt(4 pi) for channels of equal l.

    Parameters
    ----------
    channels
        l of each channel.
    occupancies
        Q, electrons per m, shape (channels, channels): ``uccopancies in atom`` of a POTCAR.

    Returns
    -------
    numpy.ndarray
        The record.

    Raises
    ------
    ValueError
        If `occupancies` does not have one row and column per channel.
    """
    occupancies = np.asarray(occupancies, dtype=float)
    n = len(channels)
    if occupancies.shape != (n, n):
        raise ValueError(f"atomic occupancies have shape {occupancies.shape}, expected ({n}, {n})")
    record = np.zeros(n_occupancies(channels))
    for a, b, L, start in blocks(channels):
        if L == 0:
            q = (occupancies[a, b] + occupancies[b, a]) / 2
            record[start] = (1 if a == b else 2) * (2 * channels[a] + 1) * q / sqrt(4 * pi)
    return record


def _spans(channels: Sequence[int]) -> list[slice]:
    """Rows of the density matrix that belong to each channel."""
    ends = accumulate((2 * degree + 1 for degree in channels), initial=0)
    return [slice(start, stop) for start, stop in pairwise(ends)]


def _checked(record: np.ndarray, channels: Sequence[int]) -> np.ndarray:
    record = np.asarray(record, dtype=float)
    n = n_occupancies(channels)
    if record.shape != (n,):
        raise ValueError(
            f"occupancy record has shape {record.shape}, channels {tuple(channels)} need ({n},)"
        )
    return record
