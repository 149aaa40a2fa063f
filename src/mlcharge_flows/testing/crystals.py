"""Crystals that have no symmetry to hide behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlcharge_flows.density.crystal import Crystal

if TYPE_CHECKING:
    from collections.abc import Sequence

_TRIES = 10_000


def random_crystal(
    rng: np.random.Generator,
    symbols: Sequence[str],
    *,
    volume_per_ion: float = 15.0,
    closest: float = 1.6,
) -> Crystal:
    """Ions at random places of a random triclinic cell.

    Parameters
    ----------
    rng
        Source of randomness; equal states give equal crystals.
    symbols
        Element of each ion.
    volume_per_ion
        In cubic angstrom.
    closest
        Smallest distance between two ions, images included, in angstrom.

    Returns
    -------
    Crystal
        With a right-handed cell whose edges differ by at most a half.

    Raises
    ------
    ValueError
        If no such crystal turns up: the volume does not hold ions so far apart.

    Examples
    --------
    >>> crystal = random_crystal(np.random.default_rng(0), ("Mg", "O"))
    >>> crystal.symbols, round(crystal.volume, 9)
    (('Mg', 'O'), 30.0)
    """
    for _ in range(_TRIES):
        lattice = np.eye(3) + rng.uniform(-0.25, 0.25, (3, 3))
        lattice *= (volume_per_ion * len(symbols) / np.linalg.det(lattice)) ** (1 / 3)
        positions = rng.uniform(size=(len(symbols), 3))
        if _closest(lattice, positions) >= closest:
            return Crystal(lattice, tuple(symbols), positions)
    raise ValueError(
        f"no crystal of {len(symbols)} ions {closest} angstrom apart turned up "
        f"with {volume_per_ion} cubic angstrom per ion"
    )


def _closest(lattice: np.ndarray, positions: np.ndarray) -> float:
    """Smallest distance between two ions or an ion and its own image, angstrom."""
    steps = np.stack(np.meshgrid(*[(-1, 0, 1)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    apart = positions[:, None, None] - positions[None, :, None] + steps
    distances = np.linalg.norm(apart @ lattice, axis=-1)
    return float(distances[distances > 1e-9].min())


def rotated(crystal: Crystal, rotation: np.ndarray) -> Crystal:
    """Turn or mirror lattice and ions together.

    Parameters
    ----------
    crystal
        The ions.
    rotation
        Orthogonal matrix that acts on Cartesian column vectors, shape (3, 3).

    Returns
    -------
    Crystal
        The same fractional coordinates in the turned cell.
    """
    return Crystal(crystal.lattice @ rotation.T, crystal.symbols, crystal.positions)


def random_rotation(rng: np.random.Generator, *, proper: bool = True) -> np.ndarray:
    """Draw a rotation, uniform over all of them.

    Parameters
    ----------
    rng
        Source of randomness.
    proper
        Without a mirror, so that the determinant is 1; else it is -1.

    Returns
    -------
    np.ndarray
        Orthogonal matrix, shape (3, 3).

    References
    ----------
    F. Mezzadri, Notices of the AMS 54, 592 (2007): the signs of the diagonal of R make Q uniform.
    """
    q, r = np.linalg.qr(rng.standard_normal((3, 3)))
    q = q * np.sign(np.diag(r))
    sign = np.sign(np.linalg.det(q))
    return np.asarray(q * (sign if proper else -sign))
