r"""Hamiltonian of an initial density in the span of atomic orbitals, and its lowest states.

.. math::
    \tilde H = T + \tilde v + \sum_{a,ij} |\tilde p_i^a\rangle D_{ij}^a \langle \tilde p_j^a| ,
    \qquad S = 1 + \sum_{a,ij} |\tilde p_i^a\rangle q_{ij}^a \langle \tilde p_j^a| ,
    \qquad D_{ij}^a = D_{ij}^\mathrm{atom} + q_{ij} \, \Delta\tilde v^a .

The smooth potential is that of the density on the grid; the on-site energies are those of the free
atom, moved by the change of the smooth potential over the compensation charge. On-site terms of
changed occupancies are left out, and exchange and correlation are those of the local-density
approximation: its states begin a run, which then has its own Hamiltonian.

References
----------
D. Vanderbilt, Phys. Rev. B 41, 7892 (1990), eqs. 10 to 13; G. Kresse and D. Joubert, Phys. Rev. B
59, 1758 (1999), sections II and III.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import pi, sqrt
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft
from scipy.linalg import eigh

from mlcharge_flows.density.atomic_orbitals import angular_parts, bloch_sums
from mlcharge_flows.density.grid import frequencies, regrid
from mlcharge_flows.density.paw_atom import COULOMB, HBAR2_OVER_2M, lda_potential

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlcharge_flows.density.atomic_orbitals import RadialOrbital
    from mlcharge_flows.density.density import Density
    from mlcharge_flows.density.paw_atom import PawAtom

_LEAST_EIGENVALUE = 1e-4
"""Of the overlap matrix: combinations of orbitals below it are left out."""

_GRID_PER_WAVE = 2.5
"""Grid points per index of the largest wave: 2 hold the waves, 4 all products of two of them."""

_AT_ONCE = 2**23
"""Grid values of orbitals in memory at a time."""


@dataclass(frozen=True, eq=False)
class PawHamiltonian:
    """Hamiltonian of a crystal with a given density.

    Parameters
    ----------
    density
        Density with compensation charges on a grid; spin is not considered.
    atoms
        Reference of each element.
    reach
        Largest indices of plane waves along the reciprocal lattice vectors, shape (3,).
    """

    density: Density
    atoms: Mapping[str, PawAtom]
    reach: np.ndarray

    def states(
        self,
        orbitals: Mapping[str, Sequence[RadialOrbital]],
        plane_waves: np.ndarray,
        kpoint: np.ndarray,
        n_states: int,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Diagonalize in the span of the Bloch sums of atomic orbitals.

        Parameters
        ----------
        orbitals
            Radial orbitals of each element.
        plane_waves
            Indices of G, shape (n, 3).
        kpoint
            Fractional coordinates, shape (3,).
        n_states
            How many of the lowest are wanted.

        Returns
        -------
        energies : numpy.ndarray
            In eV, shape (states,); fewer than wanted where the span has no more.
        coefficients : numpy.ndarray
            In plane waves, shape (states, n), normalized to one without the PAW overlap.
        """
        crystal = self.density.crystal
        waves = plane_waves + kpoint
        # Single precision, as in the WAVECAR, halves the time.
        sums = bloch_sums(crystal, orbitals, waves, np.complex64)
        lmax = max(degree for atom in self.atoms.values() for degree in atom.degrees)
        q, angular = angular_parts(crystal.lattice, waves, lmax)
        applied = self._apply_local(sums, plane_waves)
        applied += sums * (HBAR2_OVER_2M * q**2).astype(np.float32)
        bras = sums.conj()
        hamiltonian, overlap = bras @ applied.T, bras @ sums.T
        projected, energy, norm = [], [], []
        for symbol, atom in self.atoms.items():
            radial = atom.projectors(np.minimum(q, atom.projectors.x[-1])).T
            projectors = np.concatenate(
                [
                    angular[degree].conj() * own
                    for degree, own in zip(atom.degrees, radial, strict=True)
                ]
            ).astype(np.complex64)
            components = [(degree, m) for degree in atom.degrees for m in range(2 * degree + 1)]
            channel = np.repeat(np.arange(len(atom.degrees)), [2 * n + 1 for n in atom.degrees])
            same = np.all(np.equal(np.array(components)[:, None], components), axis=2)
            strengths, overlaps = (
                (same * values[np.ix_(channel, channel)]).astype(np.float32)
                for values in (atom.energies, atom.overlaps)
            )
            for ion in np.flatnonzero(np.equal(crystal.symbols, symbol)):
                phase = np.exp(2j * pi * (waves @ crystal.positions[ion])) / sqrt(crystal.volume)
                products = (projectors * phase.astype(np.complex64)) @ sums.T
                projected.append(products.conj())
                norm.append(overlaps @ products)
                energy.append(strengths @ products + np.float32(self._shifts[ion]) * norm[-1])
        bras = np.concatenate(projected).T
        hamiltonian += bras @ np.concatenate(energy)
        overlap += bras @ np.concatenate(norm)
        # Bloch sums at Gamma are real in space, and so shall be the states.
        matrices = (hamiltonian, overlap) if kpoint.any() else (hamiltonian.real, overlap.real)
        levels, states = _diagonalize(*matrices, n_states)
        chosen = states.T @ sums
        return levels, chosen / np.linalg.norm(chosen, axis=1, keepdims=True)

    @property
    def _shape(self) -> tuple[int, ...]:
        """Grid of the potential; it holds all waves, but not all of their products."""
        return tuple(fft.next_fast_len(int(_GRID_PER_WAVE * n) + 1) for n in self.reach)

    @cached_property
    def _spectrum(self) -> np.ndarray:
        """Fourier components of the smooth potential on the grid, in eV."""
        crystal, shape = self.density.crystal, self._shape
        q = self._wave_numbers
        squares = np.where(q > 0.0, q, np.inf) ** 2
        density = regrid(self.density.total, shape)
        spectrum = 4 * pi * COULOMB * fft.fftn(density) / density.size / squares
        core = np.zeros(shape, dtype=complex)
        for symbol, atom in self.atoms.items():
            factor = np.einsum("xs,ys,zs->xyz", *self._phases(symbol), optimize=True)
            local = np.interp(q, atom.q, atom.local, right=0.0)
            local -= 4 * pi * COULOMB * atom.charge / squares
            spectrum += local * factor / crystal.volume
            core += np.interp(q, atom.q, atom.core, right=0.0) * factor / crystal.volume
        total = density + fft.ifftn(core).real * density.size
        spectrum += fft.fftn(lda_potential(total)) / density.size
        return np.asarray(spectrum)

    @cached_property
    def _wave_numbers(self) -> np.ndarray:
        """|G| of the grid in 1/angstrom."""
        indices = np.stack(np.meshgrid(*map(frequencies, self._shape), indexing="ij"), axis=-1)
        vectors = indices @ (2 * pi * np.linalg.inv(self.density.crystal.lattice).T)
        return np.asarray(np.linalg.norm(vectors, axis=-1))

    def _phases(self, symbol: str) -> list[np.ndarray]:
        """exp(-i G tau) of the ions of an element along each axis, shape (n, ions)."""
        crystal = self.density.crystal
        ions = np.flatnonzero(np.equal(crystal.symbols, symbol))
        return [
            np.exp(-2j * pi * np.outer(frequencies(n), crystal.positions[ions, axis]))
            for axis, n in enumerate(self._shape)
        ]

    @cached_property
    def _shifts(self) -> np.ndarray:
        """Change of the smooth potential over the compensation charge of each ion, in eV."""
        symbols = self.density.crystal.symbols
        shifts = np.empty(len(symbols))
        for symbol, atom in self.atoms.items():
            charge = atom.compensation(np.minimum(self._wave_numbers, atom.compensation.x[-1]))
            back = [phase.conj() for phase in self._phases(symbol)]
            weighted = self._spectrum * charge
            means = np.einsum("xyz,xs,ys,zs->s", weighted, *back, optimize=True).real
            shifts[np.equal(symbols, symbol)] = means - atom.mean_potential
        return shifts

    @cached_property
    def _potential(self) -> np.ndarray:
        """Smooth potential on the grid, in eV."""
        values: np.ndarray = fft.ifftn(self._spectrum).real * self._spectrum.size
        return values.astype(np.float32)

    def _apply_local(self, sums: np.ndarray, plane_waves: np.ndarray) -> np.ndarray:
        """Apply the smooth potential to orbitals in plane waves, shape (orbitals, n)."""
        at = (slice(None), *plane_waves.T)
        applied = np.empty_like(sums)
        n_rows = max(_AT_ONCE // self._potential.size, 1)
        for first in range(0, len(sums), n_rows):
            rows = slice(first, first + n_rows)
            grid = np.zeros((len(sums[rows]), *self._shape), dtype=np.complex64)
            grid[at] = sums[rows]
            grid = fft.ifftn(grid, axes=(1, 2, 3), overwrite_x=True)
            grid *= self._potential
            applied[rows] = fft.fftn(grid, axes=(1, 2, 3), overwrite_x=True)[at]
        return applied


def _diagonalize(
    hamiltonian: np.ndarray, overlap: np.ndarray, n_states: int
) -> tuple[np.ndarray, np.ndarray]:
    """Solve for the lowest states without combinations of orbitals that nearly vanish.

    Returns
    -------
    levels : numpy.ndarray
        Shape (states,), ascending.
    states : numpy.ndarray
        Shape (orbitals, states).
    """
    norms, basis = eigh(overlap)
    kept = norms > _LEAST_EIGENVALUE
    basis = basis[:, kept] / np.sqrt(norms[kept])
    last = min(n_states, basis.shape[1]) - 1
    levels, states = eigh(basis.conj().T @ hamiltonian @ basis, subset_by_index=(0, last))
    return levels, basis @ states
