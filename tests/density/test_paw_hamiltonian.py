"""Hamiltonian of a density in the span of atomic orbitals: dense reference and symmetries."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.interpolate import CubicSpline
from scipy.linalg import eigh

from mlcharge_flows.density import paw_hamiltonian
from mlcharge_flows.density.atomic_orbitals import RadialOrbital, bloch_sums, enlarged
from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.density import Density
from mlcharge_flows.density.grid import frequencies, regrid
from mlcharge_flows.density.harmonics import real_harmonics
from mlcharge_flows.density.paw_atom import COULOMB, HBAR2_OVER_2M, PawAtom, lda_potential
from mlcharge_flows.density.paw_hamiltonian import PawHamiltonian
from mlcharge_flows.vasp.plane_waves import plane_waves

ENCUT = 40.0
ANY = np.array([0.21, -0.1, 0.37])


def orbital(degree, width):
    r = 0.02 * np.arange(701)
    u = r ** (degree + 1) * np.exp(-width * r**2 / 2)
    return RadialOrbital(degree, 1.0, r, u / np.sqrt((u**2).sum() * 0.02))


def atom(charge, width):
    """A soft ion with two s projectors and one p projector."""
    q = 0.05 * np.arange(600)
    soft = np.exp(-(q**2) * width)
    mesh = 0.05 * np.arange(800)
    radial = np.stack([mesh**degree * np.exp(-(mesh**2) / 4) for degree in (0, 0, 1)], axis=1)
    radial[:, 1] *= 1 - mesh**2 / 3
    energies = np.array([[3.0, 0.4, 0.0], [0.4, -1.0, 0.0], [0.0, 0.0, 2.0]])
    overlaps = np.array([[0.1, 0.02, 0.0], [0.02, 0.05, 0.0], [0.0, 0.0, -0.04]])
    # The Coulomb tail of a charge that is spread over the Gaussian has no singular part.
    tail = 4 * np.pi * COULOMB * charge
    local = np.append(tail * width, tail * (1 - soft[1:]) / q[1:] ** 2)
    return PawAtom(
        charge, q, local, 0.3 * soft, (0, 0, 1), CubicSpline(mesh, radial), energies, overlaps,
        CubicSpline(mesh, np.exp(-(mesh**2) / 3)), mean_potential=-2.0,
    )  # fmt: skip


@pytest.fixture
def bent():
    """Two ions in a skewed cell with a positive density of frequencies that any grid here holds."""
    lattice = np.array([[4.1, 0.2, 0.0], [0.3, 4.4, 0.5], [0.1, -0.4, 5.0]])
    crystal = Crystal(lattice, ("A", "B"), np.array([[0.1, 0.2, 0.3], [0.55, 0.6, 0.8]]))
    coarse = np.random.default_rng(2).random((5, 5, 5)) + 1.0
    density = Density(crystal, regrid(coarse * 5 / coarse.mean() / crystal.volume, (15, 15, 15)))
    return density, {"A": atom(2.0, 0.4), "B": atom(3.0, 0.6)}


ORBITALS = {"A": enlarged([orbital(0, 1.3)]), "B": [orbital(1, 1.1), orbital(0, 0.9)]}


def hamiltonian_of(density, atoms, kpoint):
    waves = plane_waves(density.crystal.lattice, ENCUT, kpoint)
    return PawHamiltonian(density, atoms, np.abs(waves).max(axis=0)), waves


def dense_levels(density, atoms, kpoint):
    """The slow reference: every matrix element between plane waves, then the span of orbitals."""
    crystal = density.crystal
    waves = plane_waves(crystal.lattice, ENCUT, kpoint)
    reciprocal = 2 * np.pi * np.linalg.inv(crystal.lattice).T
    shape = density.shape
    core, ionic = np.zeros(shape, complex), np.zeros(shape, complex)
    for index in np.ndindex(shape):
        g = np.array([frequencies(n)[i] for n, i in zip(shape, index, strict=True)])
        q = np.linalg.norm(g @ reciprocal)
        for symbol, position in zip(crystal.symbols, crystal.positions, strict=True):
            own, phase = atoms[symbol], np.exp(-2j * np.pi * (g @ position)) / crystal.volume
            core[index] += np.interp(q, own.q, own.core) * phase
            local = np.interp(q, own.q, own.local)
            ionic[index] += (local - (4 * np.pi * COULOMB * own.charge / q**2 if q else 0)) * phase
        if q:
            density_g = (density.total * np.exp(-2j * np.pi * sum(
                f * np.arange(n).reshape([-1 if a == b else 1 for b in range(3)]) / n
                for a, (f, n) in enumerate(zip(g, shape, strict=True))
            ))).mean()  # fmt: skip
            ionic[index] += 4 * np.pi * COULOMB * density_g / q**2
    size = density.total.size
    total = density.total + np.fft.ifftn(core).real * size
    potential = ionic + np.fft.fftn(lda_potential(total)) / size
    difference = waves[:, None] - waves[None]
    matrix = potential[tuple(np.moveaxis(difference % np.array(shape), -1, 0))]
    vectors = (waves + kpoint) @ reciprocal
    q = np.linalg.norm(vectors, axis=1)
    matrix = matrix + np.diag(HBAR2_OVER_2M * q**2)
    overlap = np.eye(len(waves), dtype=complex)
    harmonics = real_harmonics(1, vectors / q[:, None])
    for symbol, position in zip(crystal.symbols, crystal.positions, strict=True):
        own = atoms[symbol]
        shift = -own.mean_potential
        for index in np.ndindex(shape):
            g = np.array([frequencies(n)[i] for n, i in zip(shape, index, strict=True)])
            weight = own.compensation(np.linalg.norm(g @ reciprocal))
            shift += (potential[index] * weight * np.exp(2j * np.pi * (g @ position))).real
        phase = np.exp(-2j * np.pi * ((waves + kpoint) @ position)) / np.sqrt(crystal.volume)
        for i, li in enumerate(own.degrees):
            for j, lj in enumerate(own.degrees):
                if li != lj:
                    continue
                for m in range(2 * li + 1):
                    p, r = (
                        (-1j) ** li * harmonics[li][:, m] * own.projectors(q)[:, n] * phase
                        for n in (i, j)
                    )
                    product = np.outer(p, r.conj())
                    overlap += own.overlaps[i, j] * product
                    matrix += (own.energies[i, j] + shift * own.overlaps[i, j]) * product
    sums = bloch_sums(crystal, ORBITALS, waves + kpoint)
    return eigh(sums.conj() @ matrix @ sums.T, sums.conj() @ overlap @ sums.T, eigvals_only=True)


def test_levels_are_those_of_the_dense_matrices(bent, monkeypatch):
    density, atoms = bent
    monkeypatch.setattr(PawHamiltonian, "_shape", density.shape)
    hamiltonian, waves = hamiltonian_of(density, atoms, ANY)
    assert 4 * hamiltonian.reach.max() < 15, "the grid holds all products"
    levels, states = hamiltonian.states(ORBITALS, waves, ANY, 50)
    expected = dense_levels(density, atoms, ANY)
    assert len(levels) == len(expected) == 14
    np.testing.assert_allclose(levels, expected, atol=2e-4)
    np.testing.assert_allclose(np.linalg.norm(states, axis=1), 1.0, atol=1e-5)


def test_a_grid_that_holds_fewer_products_changes_little(bent, monkeypatch):
    density, atoms = bent
    hamiltonian, waves = hamiltonian_of(density, atoms, ANY)
    coarse, _ = hamiltonian.states(ORBITALS, waves, ANY, 4)
    monkeypatch.setattr(paw_hamiltonian, "_GRID_PER_WAVE", 4.0)
    fine, _ = hamiltonian_of(density, atoms, ANY)[0].states(ORBITALS, waves, ANY, 4)
    np.testing.assert_allclose(coarse, fine, atol=0.05)


def test_moving_the_crystal_moves_nothing_else(bent):
    density, atoms = bent
    hamiltonian, waves = hamiltonian_of(density, atoms, ANY)
    steps = np.array([3, 1, 5])
    crystal = density.crystal
    moved = replace(
        density,
        crystal=replace(crystal, positions=crystal.positions + steps / 15),
        total=np.roll(density.total, steps, axis=(0, 1, 2)),
    )
    levels, _ = hamiltonian.states(ORBITALS, waves, ANY, 9)
    again, _ = hamiltonian_of(moved, atoms, ANY)[0].states(ORBITALS, waves, ANY, 9)
    np.testing.assert_allclose(again, levels, atol=0.02)


def test_a_doubled_cell_has_the_levels_of_two_points(bent):
    density, atoms = bent
    crystal = density.crystal
    next_cell = crystal.positions + np.array([1.0, 0.0, 0.0])
    positions = np.concatenate([crystal.positions, next_cell])
    doubled = Crystal(
        np.diag([2.0, 1, 1]) @ crystal.lattice, crystal.symbols * 2, positions / [2, 1, 1]
    )
    twice = Density(doubled, np.concatenate([density.total] * 2))
    gamma = np.zeros(3)
    hamiltonian, waves = hamiltonian_of(twice, atoms, gamma)
    levels, states = hamiltonian.states(ORBITALS, waves, gamma, 18)
    expected = []
    for k in (gamma, np.array([0.5, 0, 0])):
        single, own = hamiltonian_of(density, atoms, k)
        expected.append(single.states(ORBITALS, own, k, 9)[0])
    np.testing.assert_allclose(levels, np.sort(np.concatenate(expected)), atol=0.02)
    # At Gamma the states are real in space: coefficients of G and -G are conjugates.
    at = {tuple(wave): n for n, wave in enumerate(waves)}
    mirrored = states[:, [at[tuple(-wave)] for wave in waves]].conj()
    np.testing.assert_allclose(mirrored, states, atol=1e-5)
