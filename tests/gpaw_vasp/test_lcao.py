"""LCAO guess: it spans GPAW's atomic orbitals and diagonalizes the Hamiltonian between them."""

from functools import partial

import numpy as np
import pytest
from pymatgen.io.vasp.inputs import Kpoints

pytest.importorskip("gpaw", reason="needs the gpaw extra")

from mlcharge_flows.gpaw_vasp.initial_orbitals import EIGENVALUE_OF_RANDOM_BANDS
from mlcharge_flows.gpaw_vasp.lcao import atomic_orbitals, lcao_guess

# Cells with ions off the origin, whose phases count; real orbitals at Gamma alone.
CASES = [("MgO", (3, 3, 2)), ("TiO2", (2, 2, 2)), ("MgO", (1, 1, 1))]


class Guess:
    """The potential of the superposition, and the LCAO guess in it, ours and GPAW's."""

    def __init__(self, equations, hamiltonian, potential):
        self.builder, self.basis = equations.builder, equations.basis
        self.hamiltonian, self.potential = hamiltonian, potential
        self.ours = list(lcao_guess(self.builder, self.hamiltonian, self.potential))

    def gpaws(self):
        """GPAW's own, slower way by the grid."""
        return list(self.builder.create_ibz_wave_functions(self.basis, self.potential))

    def solve(self, orbitals):
        """Diagonalize the run's Hamiltonian between orbitals: its matrix and eigenvalues."""
        apply = partial(self.hamiltonian.apply, self.potential.vt_sR, None, None, None)
        other = orbitals.psit_nX.new()
        matrix = orbitals.build_hamiltonian(apply, self.potential.deltaH, other)
        before = np.tril(matrix.data)
        orbitals.subspace_eigenvalues(matrix)
        return before, orbitals.eig_n


@pytest.fixture
def guess(run_folder, first_potential):
    def make(name, mesh=(2, 2, 2), **tags):
        folder = run_folder(name, kpoints=Kpoints.gamma_automatic(mesh), **tags)
        return Guess(*first_potential(folder))

    return make


@pytest.mark.parametrize(("name", "mesh"), CASES)
def test_gpaws_orbitals_are_combinations_of_ours(guess, name, mesh):
    run = guess(name, mesh)
    theirs_everywhere = run.gpaws()
    assert (len(theirs_everywhere) == 1) == (mesh == (1, 1, 1))
    for theirs in theirs_everywhere:
        orbitals = atomic_orbitals(run.builder, theirs.kpt_c)
        assert orbitals.desc.dtype == theirs.psit_nX.desc.dtype
        assert (orbitals.desc.dtype == float) == (mesh == (1, 1, 1))
        ours = orbitals.data
        known = theirs.psit_nX.data[: len(ours)]
        weights, *_ = np.linalg.lstsq(ours.T, known.T)
        left = known - weights.T @ ours
        # What is left is the grid's: GPAW cuts orbitals off on it.
        assert np.linalg.norm(left) ** 2 < 1e-5 * np.linalg.norm(known) ** 2


@pytest.mark.parametrize(("name", "mesh"), CASES)
def test_the_hamiltonian_is_diagonal(guess, name, mesh):
    run = guess(name, mesh)
    assert run.basis.Mmax >= run.builder.nbands
    for ours in run.ours:
        eigenvalues = ours.eig_n.copy()
        matrix, _ = run.solve(ours)
        assert np.abs(matrix - np.diag(eigenvalues)).max() < 1e-9
        assert np.all(np.diff(eigenvalues) > -1e-9)


@pytest.mark.parametrize(("name", "mesh"), CASES)
def test_no_combination_of_gpaws_is_lower(guess, name, mesh):
    run = guess(name, mesh, NBANDS=50)
    known, valence = run.basis.Mmax, round(run.builder.nelectrons / 2)
    assert known < 50
    for ours, theirs in zip(run.ours, run.gpaws(), strict=True):
        # GPAW's as they are, tails cut off on its grid, which empty bands feel first.
        theirs.psit_nX = theirs.psit_nX[:known]
        theirs.nbands = theirs.n2 = known
        _, eigenvalues = run.solve(theirs)
        assert ours.eig_n[:known] == pytest.approx(eigenvalues, abs=5e-3)
        assert ours.eig_n[:valence] == pytest.approx(eigenvalues[:valence], abs=2e-4)


def test_bands_beyond_the_atomic_orbitals_are_random(guess):
    run = guess("MgO", NBANDS=40)
    assert run.basis.Mmax < 40
    for ours in run.ours:
        assert np.all(ours.eig_n[run.basis.Mmax :] == EIGENVALUE_OF_RANDOM_BANDS)
        assert np.linalg.matrix_rank(ours.psit_nX.data) == 40
