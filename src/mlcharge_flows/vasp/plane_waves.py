"""Plane waves of a k-point below the cutoff, ``hbar^2 |k + G|^2 / 2m < ENCUT``, in VASP's order.

VASP stores orbitals by this order alone: x runs fastest and z slowest, each through 0, 1, .., n,
-n, .., -1. Its Gamma-only version keeps one of G and -G.

References
----------
R. M. Feenstra, N. Srivastava, Q. Gao, M. Widom, B. Diaconescu, T. Ohta, G. L. Kellogg, J. T.
Robinson and I. V. Vlassiouk, Phys. Rev. B 87, 041406 (2013), for WaveTrans, a public reader.
VASP wiki, WAVECAR and OUTCAR ("use serial FFT for wavefunctions x direction half grid").
"""

from __future__ import annotations

from typing import Literal

import numpy as np

RYDBERG = 13.605826
"""Rydberg energy of VASP's source (constant.inc), in eV.

With other values of it or of the Bohr radius, which differ by 1e-5 today, plane waves and FFT grids
would be others than VASP's at some cutoffs.
"""

BOHR = 0.529177249
"""Bohr radius of VASP's source, in angstrom."""

HBAR2_OVER_2M = RYDBERG * BOHR**2
"""hbar^2 / 2m of the electron, in eV angstrom^2."""

Half = Literal["x", "z"]
"""Axis along which a Gamma-only version keeps the upper half: x, or z in older parallel ones."""


def plane_waves(
    lattice: np.ndarray, encut: float, kpoint: np.ndarray, half: Half | None = None
) -> np.ndarray:
    """List the plane waves of one k-point in VASP's order.

    Parameters
    ----------
    lattice
        Lattice vectors as rows, shape (3, 3), in angstrom.
    encut
        Cutoff energy, in eV.
    kpoint
        Fractional coordinates, shape (3,).
    half
        Axis whose negative half is left out at Gamma; None for all plane waves.

    Returns
    -------
    numpy.ndarray
        Indices of G = n_1 b_1 + n_2 b_2 + n_3 b_3, shape (n, 3).

    Examples
    --------
    >>> cube = 2 * np.pi * np.eye(3)
    >>> plane_waves(cube, 3.9, np.zeros(3)).tolist()
    [[0, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]]
    >>> plane_waves(cube, 3.9, np.zeros(3), half="x").tolist()
    [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    """
    radius = np.sqrt(encut / HBAR2_OVER_2M)
    most = _most(lattice, encut, kpoint).astype(int)
    x, y, z = (np.concatenate([np.arange(n + 1), np.arange(-n, 0)]) for n in most)
    reciprocal = 2 * np.pi * np.linalg.inv(lattice).T
    indices: np.ndarray = np.stack(np.meshgrid(z, y, x, indexing="ij")[::-1], axis=-1).reshape(
        -1, 3
    )
    indices = indices[(((indices + kpoint) @ reciprocal) ** 2).sum(axis=1) < radius**2]
    return indices if half is None else np.asarray(indices[_upper(indices, half)])


def box_size(lattice: np.ndarray, encut: float, kpoint: np.ndarray) -> float:
    """Count the G vectors among which :func:`plane_waves` looks for those of a k-point.

    Parameters
    ----------
    lattice
        Lattice vectors as rows, shape (3, 3), in angstrom.
    encut
        Cutoff energy, in eV.
    kpoint
        Fractional coordinates, shape (3,).

    Returns
    -------
    float
        What damaged numbers ask for may exceed every memory.

    Examples
    --------
    >>> box_size(2 * np.pi * np.eye(3), 3.9, np.zeros(3))
    27.0
    """
    return float(np.prod(2 * np.floor(_most(lattice, encut, kpoint)) + 1))


def _most(lattice: np.ndarray, encut: float, kpoint: np.ndarray) -> np.ndarray:
    """Bound of the indices of each direction, shape (3,)."""
    # |n_i + k_i| = |(k + G) a_i| / 2 pi <= |k + G| |a_i| / 2 pi
    radius = np.sqrt(encut / HBAR2_OVER_2M)
    return np.asarray(np.linalg.norm(lattice, axis=1) * radius / (2 * np.pi) + np.abs(kpoint))


def half_sphere(coefficients: np.ndarray, waves: np.ndarray, half: Half) -> np.ndarray:
    """Convert orbitals that are real at Gamma to those of a Gamma-only version.

    Parameters
    ----------
    coefficients
        Of all plane waves, shape (bands, n), those of G and -G complex conjugates.
    waves
        Indices of the G vectors, shape (n, 3).
    half
        Axis whose negative half is left out.

    Returns
    -------
    numpy.ndarray
        Shape (bands, plane waves of the half), times sqrt(2) but for G = 0.

    Examples
    --------
    >>> waves = np.array([[0, 0, 0], [1, 0, 0], [-1, 0, 0]])
    >>> half_sphere(np.array([[1.0, 2.0, 2.0]]), waves, "x").round(3).tolist()
    [[1.0, 2.828]]
    """
    upper = _upper(waves, half)
    factors = np.where(np.any(waves[upper] != 0, axis=1), np.sqrt(2), 1.0)
    return np.asarray(coefficients[:, upper] * factors)


def _upper(indices: np.ndarray, half: Half) -> np.ndarray:
    """Which of G and -G a Gamma-only version keeps, shape (n,)."""
    first, second, third = indices.T if half == "x" else indices.T[::-1]
    upper: np.ndarray = (first > 0) | (
        (first == 0) & ((second > 0) | ((second == 0) & (third >= 0)))
    )
    return upper


def count_plane_waves(lattice: np.ndarray, encut: float, kpoints: np.ndarray) -> list[int]:
    """Count the plane waves of each k-point.

    Parameters
    ----------
    lattice
        Lattice vectors as rows, shape (3, 3), in angstrom.
    encut
        Cutoff energy, in eV.
    kpoints
        Fractional coordinates of the k-points, shape (k, 3).

    Returns
    -------
    list of int
        One number per k-point.

    Examples
    --------
    >>> count_plane_waves(2 * np.pi * np.eye(3), 3.9, np.zeros((1, 3)))
    [7]
    """
    return [len(plane_waves(lattice, encut, kpoint)) for kpoint in kpoints]
