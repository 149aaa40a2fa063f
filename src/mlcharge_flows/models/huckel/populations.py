r"""Extended Hückel calculation of a crystal: who gives electrons to whom, and how atoms bind.

Orbitals of free atoms are the basis, and their overlaps decide all,

.. math:: H_{ij} = K\, \tfrac12 (\epsilon_i + \epsilon_j)\, S_{ij}, \quad H_{ii} = \epsilon_i

(Wolfsberg and Helmholz, J. Chem. Phys. 20, 837 (1952); Hoffmann, J. Chem. Phys. 39, 1397 (1963)),
in periodic cells with Bloch sums of the orbitals as in Whangbo and Hoffmann, J. Am. Chem. Soc. 100,
6093 (1978). There is no self-consistency: charges come out too large, in proportion.
Populations are Löwdin's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

from mlcharge_flows.density.harmonics import real_harmonics
from mlcharge_flows.models.huckel.cell import kpoints, primitive
from mlcharge_flows.models.huckel.orbitals import LARGEST_WAVE, LMAX, atomic_orbitals, falls

if TYPE_CHECKING:
    from mlcharge_flows.density.crystal import Crystal

K = 1.75
"""Hoffmann's factor of the off-diagonal elements."""
SPACING = 0.45
"""Of the k-points, 1/angstrom."""
WIDTH = 0.27
"""Of the Fermi distribution, eV: as wide as so few k-points ask for."""
_DEPENDENT = 0.03
"""Overlap eigenvalues below are raised to this, or nearly dependent orbitals would rule."""
_WAVES_AT_ONCE = 4096
"""Of one k-point: memory of large cells."""


@dataclass(frozen=True, eq=False)
class Populations:
    r"""What the calculation says of each ion.

    Parameters
    ----------
    shells
        l of each shell of each ion.
    neutral
        Electrons of each orbital of each ion in the free atom.
    matrices
        Density matrix of each ion between its orthonormalised orbitals, shell by shell, m = -l..l;
        its trace is the number of electrons there.
    energies
        Eigenvalue of each orbital of each ion in the free atom, eV.
    fermi
        Fermi level, eV.
    metallicity
        Partly filled states per ion, :math:`\sum f (2 - f)` over states with 0 to 2 electrons.
    """

    shells: tuple[tuple[int, ...], ...]
    neutral: tuple[np.ndarray, ...]
    matrices: tuple[np.ndarray, ...]
    energies: tuple[np.ndarray, ...]
    fermi: float
    metallicity: float


def populations(crystal: Crystal) -> Populations:
    """Calculate a crystal, of whatever cell: the primitive one is what is solved.

    Parameters
    ----------
    crystal
        Of elements that :func:`.orbitals.atomic_orbitals` has.

    Raises
    ------
    ValueError
        An element has no orbitals.
    """
    table = atomic_orbitals()
    if missing := sorted(set(crystal.symbols) - set(table)):
        raise ValueError(f"there are no Hückel orbitals of {', '.join(missing)}")
    cell, images = primitive(crystal)
    ions = [table[symbol] for symbol in cell.symbols]
    shells = [shell for ion in ions for shell in ion]
    sizes = [2 * shell.degree + 1 for shell in shells]
    energies = np.repeat([shell.energy for shell in shells], sizes)
    neutral = np.repeat([shell.electrons for shell in shells], sizes) / np.repeat(sizes, sizes)

    points, weights = kpoints(cell, SPACING)
    overlaps = _overlaps(cell, points)
    values, vectors = np.linalg.eigh(overlaps)
    values = np.maximum(values, _DEPENDENT)
    adjoint = vectors.conj().swapaxes(1, 2)
    overlaps = (vectors * values[:, None]) @ adjoint
    orthonormal = (vectors / np.sqrt(values)[:, None]) @ adjoint
    hamiltonian = K / 2 * (energies[:, None] + energies) * overlaps
    each = np.arange(len(energies))
    # S_ii(k) holds the images of the orbital, too; its own energy is not scaled by K.
    hamiltonian[:, each, each] -= (K - 1) * energies
    levels, states = np.linalg.eigh(orthonormal @ hamiltonian @ orthonormal)

    def missing_electrons(fermi: float) -> float:
        return 2 * float(weights @ expit((fermi - levels) / WIDTH).sum(1)) - neutral.sum()

    lowest, highest = levels.min() - 30 * WIDTH, levels.max() + 10 * WIDTH
    # Closed shells without empty orbitals have no Fermi level below the end of the bracket.
    closed = missing_electrons(highest) < 0
    fermi = highest if closed else brentq(missing_electrons, lowest, highest, xtol=1e-9)
    filling = 2 * expit((fermi - levels) / WIDTH)
    filled = states * (weights[:, None] * filling)[:, None]
    n_orbitals = len(energies)
    matrix = np.einsum("kia,kja->ij", filled, states.conj(), optimize=True).real
    matrix = matrix.reshape(n_orbitals, n_orbitals)

    ends = np.cumsum([sum(2 * shell.degree + 1 for shell in ion) for ion in ions])[:-1]
    places = np.split(each, ends)
    return Populations(
        tuple(tuple(shell.degree for shell in ions[image]) for image in images),
        tuple(neutral[places[image]] for image in images),
        tuple(matrix[np.ix_(places[image], places[image])] for image in images),
        tuple(energies[places[image]] for image in images),
        fermi,
        float(weights @ (filling * (2 - filling)).sum(1)) / len(cell),
    )


def _overlaps(cell: Crystal, points: np.ndarray) -> np.ndarray:
    """Overlaps of the Bloch sums at each k-point from their plane waves, shape (k, n, n)."""
    reach = LARGEST_WAVE * np.linalg.norm(cell.lattice, axis=1) / (2 * np.pi)
    most = np.ceil(reach).astype(int) + 1
    waves = (np.indices(2 * most + 1).reshape(3, -1).T - most) @ cell.reciprocal
    # The factor exp(-ik.r) of each ion is left out: nothing on the ions depends on it.
    phases = np.exp(-1j * (waves @ (cell.positions @ cell.lattice).T))

    # All waves of all k-points at once, in the order of the k-points.
    q = (points[:, None] + waves).reshape(-1, 3)
    length = np.sqrt(np.einsum("qx,qx->q", q, q))
    kept = np.flatnonzero(length < LARGEST_WAVE)
    q, length, wave = q[kept], length[kept], kept % len(waves)
    harmonics = real_harmonics(LMAX, q / np.maximum(length, 1e-9)[:, None])
    fallen = falls(length)
    table = atomic_orbitals()
    orbitals = {
        symbol: np.concatenate(
            [
                (-1j) ** shell.degree
                * (shell.transform(length, fallen)[:, None] * harmonics[shell.degree])
                for shell in table[symbol]
            ],
            axis=1,
        )
        for symbol in set(cell.symbols)
    }
    ends = np.searchsorted(kept, np.arange(len(points) + 1) * len(waves))
    n_orbitals = sum(orbitals[symbol].shape[1] for symbol in cell.symbols)
    overlaps = np.zeros((len(points), n_orbitals, n_orbitals), dtype=complex)
    for overlap, first, last in zip(overlaps, ends[:-1], ends[1:], strict=True):
        for start in range(first, last, _WAVES_AT_ONCE):
            span = slice(start, min(start + _WAVES_AT_ONCE, last))
            bloch = np.concatenate(
                [
                    orbitals[symbol][span] * phases[wave[span], ion, None]
                    for ion, symbol in enumerate(cell.symbols)
                ],
                axis=1,
            )
            overlap += bloch.conj().T @ bloch / cell.volume
    return overlaps
