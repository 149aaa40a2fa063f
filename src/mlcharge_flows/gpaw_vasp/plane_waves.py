"""Number of plane waves below the cutoff: ``hbar^2 |k + G|^2 / 2m < ENCUT``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mlcharge_flows.density.crystal import Crystal

HBAR2_OVER_2M = 3.80998212
"""hbar^2 / 2m of the electron, in eV angstrom^2."""


def count_plane_waves(crystal: Crystal, kpoints: np.ndarray, encut: float) -> list[int]:
    """Count the plane waves of the basis at each k-point.

    Parameters
    ----------
    crystal
        The cell.
    kpoints
        Fractional coordinates of the k-points, shape (k, 3).
    encut
        Cutoff energy, in eV.

    Returns
    -------
    list of int
        One number per k-point.

    Examples
    --------
    >>> from mlcharge_flows.density.crystal import Crystal
    >>> cube = Crystal(np.eye(3) * 2 * np.pi, (), np.empty((0, 3)))
    >>> count_plane_waves(cube, np.zeros((1, 3)), encut=3.9)  # G = 0 and its six neighbors
    [7]
    """
    lengths = np.linalg.norm(crystal.lattice, axis=1)
    radius = np.sqrt(encut / HBAR2_OVER_2M)
    most = np.ceil(lengths * radius / (2 * np.pi) + np.abs(kpoints).max(initial=0.0)).astype(int)
    indices = np.indices(2 * most + 1).reshape(3, -1).T - most
    return [
        int(np.count_nonzero((((indices + k) @ crystal.reciprocal) ** 2).sum(axis=1) < radius**2))
        for k in kpoints
    ]
