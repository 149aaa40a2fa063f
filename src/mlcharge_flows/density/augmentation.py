r"""Augmentation occupancies of an ion as VASP's CHGCAR stores them.

For projector channels :math:`a = (i_a, l_a)` in POTCAR order, the flat array of an ion holds for
every pair :math:`a \le b` and every :math:`L = |l_a-l_b|, |l_a-l_b|+2, \ldots, l_a+l_b` the
components M = -L..L of

.. math::
    \rho^{ab}_{LM} = (2 - \delta_{ab}) \sum_{mm'} D_{am,bm'}
        \int Y_{l_a m} Y_{l_b m'} Y_{LM} \, d\Omega ,

with D the atomic density matrix in real harmonics. The on-site density is then
:math:`\sum_{a \le b} \phi_a(r) \phi_b(r) \sum_{LM} \rho^{ab}_{LM} Y_{LM}`; parts with odd
:math:`l_a + l_b + L` cannot contribute to it and are not stored. Length, order and normalization
were measured on real files: the L = 0 value is
:math:`(2-\delta_{ab}) \sum_m D_{am,bm} / \sqrt{4\pi}`.

Their components rotate as those of e3nn's irreps (M. Geiger and T. Smidt, arXiv:2207.09453) whose
coordinates are (y, z, x), of parity (-1)^L. Everywhere below, ``channels`` lists l of each channel,
such as ``(0, 0, 1, 1)``, and occupancies are in electrons.

References
----------
G. Kresse and D. Joubert, Phys. Rev. B 59, 1758 (1999): on-site density and compensation charges.
VASP forum, topic 19662: number of occupancies.
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
    """Where the 2L+1 components of one channel pair and one L lie in the array of an ion.

    Parameters
    ----------
    a, b
        Channels, a <= b.
    L
        Degree of the density component.
    offset
        Index of the component M = -L; the block is ``occupancies[offset : offset + 2 * L + 1]``.
    """

    a: int
    b: int
    L: int
    offset: int


def blocks(channels: Sequence[int]) -> tuple[Block, ...]:
    """Blocks of the augmentation occupancies of an ion, in order.

    Parameters
    ----------
    channels
        l of each channel.

    Returns
    -------
    tuple of Block
        One for each channel pair and L.

    Raises
    ------
    ValueError
        A channel has a negative l.
    """
    return _blocks(tuple(channels))


@cache
def _blocks(channels: tuple[int, ...]) -> tuple[Block, ...]:
    if min(channels, default=0) < 0:
        raise ValueError(f"channels {channels} contain a negative l")
    found = []
    offset = 0
    for a, la in enumerate(channels):
        for b in range(a, len(channels)):
            lb = channels[b]
            for L in range(abs(la - lb), la + lb + 1, 2):
                found.append(Block(a, b, L, offset))
                offset += 2 * L + 1
    return tuple(found)


def n_occupancies(channels: Sequence[int]) -> int:
    """Number of augmentation occupancies of an ion.

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
    >>> [n_occupancies(c) for c in [(0, 0, 1), (0, 0, 1, 1), (0, 0, 1, 1, 2), (0, 0, 1, 1, 2, 2)]]
    [15, 33, 78, 138]
    """
    return sum(2 * block.L + 1 for block in blocks(channels))


def miscounted_occupancies(
    augmentation: Sequence[np.ndarray], channels: Sequence[Sequence[int]]
) -> tuple[int, int, int] | None:
    """First ion that has another number of occupancies than its projector channels demand.

    Parameters
    ----------
    augmentation
        Occupancies of each ion, in electrons.
    channels
        l of each channel of each ion.

    Returns
    -------
    tuple of int, or None
        Number of the ion from 1 on, its number of occupancies, and the right one; None if all ions
        have the right number.

    Examples
    --------
    >>> miscounted_occupancies([np.zeros(15), np.zeros(14)], [(0, 0, 1), (0, 0, 1)])
    (2, 14, 15)
    """
    for ion, (values, of_ion) in enumerate(zip(augmentation, channels, strict=True), start=1):
        if len(values) != (expected := n_occupancies(of_ion)):
            return ion, len(values), expected
    return None


def labels(channels: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """Indices of every augmentation occupancy of an ion.

    Parameters
    ----------
    channels
        l of each channel.

    Returns
    -------
    list of tuple
        Channels a and b, L and M of each, in order.

    """
    return [(a, b, L, M) for a, b, L, _ in blocks(channels) for M in range(-L, L + 1)]


def spherical(channels: Sequence[int]) -> np.ndarray:
    """Indices of the L = 0 occupancies in the array of an ion.

    Parameters
    ----------
    channels
        l of each projector channel.

    Returns
    -------
    numpy.ndarray
        One per pair of channels of equal l.
    """
    return np.array([b.offset for b in blocks(channels) if b.L == 0], dtype=int)


def from_matrix(matrix: np.ndarray, channels: Sequence[int]) -> np.ndarray:
    """Augmentation occupancies of an atomic density matrix.

    Parameters
    ----------
    matrix
        Density matrix D in electrons, shape (n, n) with n = sum(2l+1), ordered by channel, then
        m = -l..l. Only its symmetric part counts.
    channels
        l of each channel.

    Returns
    -------
    numpy.ndarray
        Shape (n_occupancies,).

    Raises
    ------
    ValueError
        The matrix does not have the size that the channels ask for.

    Examples
    --------
    >>> from_matrix(np.array([[2.0]]), (0,)).round(5)  # two electrons in an s channel
    array([0.56419])
    """
    matrix = np.asarray(matrix, dtype=float)
    spans = _spans(channels)
    n = spans[-1].stop if spans else 0
    if matrix.shape != (n, n):
        raise ValueError(
            f"density matrix has shape {matrix.shape}, channels {tuple(channels)} need ({n}, {n})"
        )
    matrix = (matrix + matrix.T) / 2
    occupancies = np.empty(n_occupancies(channels))
    for a, b, L, offset in blocks(channels):
        pair = matrix[spans[a], spans[b]]
        coupled = np.einsum("ij,ijM->M", pair, gaunt(channels[a], channels[b], L))
        occupancies[offset : offset + 2 * L + 1] = (1 if a == b else 2) * coupled
    return occupancies


def to_matrix(occupancies: np.ndarray, channels: Sequence[int]) -> np.ndarray:
    """Atomic density matrix of augmentation occupancies: the inverse of :func:`from_matrix`.

    Parts of odd la + lb + L, which do not contribute to a density, are zero.

    Parameters
    ----------
    occupancies
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
        The number of occupancies is not that of the channels.
    """
    occupancies = _checked(occupancies, channels)
    spans = _spans(channels)
    n = spans[-1].stop if spans else 0
    matrix = np.zeros((n, n))
    for a, b, L, offset in blocks(channels):
        coupling = gaunt(channels[a], channels[b], L)
        # The couplings to different (L, M) are orthogonal, with a norm that M does not change.
        norm = np.sum(coupling[:, :, 0] ** 2) * (1 if a == b else 2)
        pair = coupling @ occupancies[offset : offset + 2 * L + 1] / norm
        matrix[spans[a], spans[b]] += pair
        if a != b:
            matrix[spans[b], spans[a]] += pair.T
    return matrix


def rotate(occupancies: np.ndarray, channels: Sequence[int], rotation: np.ndarray) -> np.ndarray:
    """Augmentation occupancies of the same ion in the rotated crystal.

    Parameters
    ----------
    occupancies
        Shape (n_occupancies,).
    channels
        l of each channel.
    rotation
        Orthogonal Cartesian matrix, proper or not: an atom at r goes to ``rotation @ r``.

    Returns
    -------
    numpy.ndarray
        Shape (n_occupancies,).

    Raises
    ------
    ValueError
        The number of occupancies is not that of the channels, or the matrix is not orthogonal.
    """
    occupancies = _checked(occupancies, channels)
    rotated = np.empty_like(occupancies)
    wigner = {L: rotation_matrix(L, rotation) for L in {block.L for block in blocks(channels)}}
    for _, _, L, offset in blocks(channels):
        part = slice(offset, offset + 2 * L + 1)
        rotated[part] = wigner[L] @ occupancies[part]
    return rotated


def truncate(occupancies: np.ndarray, channels: Sequence[int], lmaxmix: int) -> np.ndarray:
    """Set the components with L > LMAXMIX to zero, as VASP does when it writes a CHGCAR.

    Parameters
    ----------
    occupancies
        Shape (n_occupancies,).
    channels
        l of each channel.
    lmaxmix
        Highest L kept.

    Returns
    -------
    numpy.ndarray
        Shape (n_occupancies,).

    Raises
    ------
    ValueError
        The number of occupancies is not that of the channels.

    References
    ----------
    VASP wiki, LMAXMIX, https://www.vasp.at/wiki/index.php/LMAXMIX.
    """
    kept = np.array([lmaxmix >= L for _, _, L, _ in labels(channels)], dtype=bool)
    return np.where(kept, _checked(occupancies, channels), 0.0)


def atomic_occupancies(channels: Sequence[int], electrons: np.ndarray) -> np.ndarray:
    """Augmentation occupancies of a free, spherical atom: L = 0 only.

    The value is (2 - delta_ab) (2l+1) Q_ab / sqrt(4 pi) for channels of equal l.

    Parameters
    ----------
    channels
        l of each channel.
    electrons
        Q, electrons per m, shape (channels, channels): ``uccopancies in atom`` of a POTCAR.

    Returns
    -------
    numpy.ndarray
        Shape (n_occupancies,).

    Raises
    ------
    ValueError
        `electrons` does not have one row and column per channel.
    """
    electrons = np.asarray(electrons, dtype=float)
    n = len(channels)
    if electrons.shape != (n, n):
        raise ValueError(f"atomic occupancies have shape {electrons.shape}, expected ({n}, {n})")
    occupancies = np.zeros(n_occupancies(channels))
    for a, b, L, offset in blocks(channels):
        if L == 0:
            q = (electrons[a, b] + electrons[b, a]) / 2
            occupancies[offset] = (1 if a == b else 2) * (2 * channels[a] + 1) * q / sqrt(4 * pi)
    return occupancies


def _spans(channels: Sequence[int]) -> list[slice]:
    """Rows of the density matrix that belong to each channel."""
    ends = accumulate((2 * degree + 1 for degree in channels), initial=0)
    return [slice(start, stop) for start, stop in pairwise(ends)]


def _checked(occupancies: np.ndarray, channels: Sequence[int]) -> np.ndarray:
    occupancies = np.asarray(occupancies, dtype=float)
    n = n_occupancies(channels)
    if occupancies.shape != (n,):
        raise ValueError(
            f"augmentation occupancies have shape {occupancies.shape}, channels "
            f"{tuple(channels)} need ({n},)"
        )
    return occupancies
