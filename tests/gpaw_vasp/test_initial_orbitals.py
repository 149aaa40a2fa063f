"""Random initial orbitals: VASP's, diagonalized in the first potential, the same in every run."""

import numpy as np
import pytest
from pymatgen.io.vasp.inputs import Kpoints

pytest.importorskip("gpaw", reason="needs the gpaw extra")

from mlcharge_flows.gpaw_vasp.errors import UnsupportedInputError
from mlcharge_flows.gpaw_vasp.execute import execute
from mlcharge_flows.gpaw_vasp.initial_orbitals import random_orbitals

MESHES = [(2, 2, 2), (1, 1, 1)]


def make(run_folder, first_potential, mesh, folder="run"):
    kpoints = Kpoints.gamma_automatic(mesh)
    return first_potential(run_folder("MgO", folder, kpoints=kpoints, NBANDS=12))


@pytest.mark.parametrize("mesh", MESHES)
def test_they_are_orthonormal_and_diagonalize_the_hamiltonian(run_folder, first_potential, mesh):
    equations, hamiltonian, potential = make(run_folder, first_potential, mesh)
    for orbitals in random_orbitals(equations.builder, hamiltonian, potential):
        assert (orbitals.psit_nX.desc.dtype == float) == (mesh == (1, 1, 1))
        overlap = orbitals.psit_nX.matrix_elements(orbitals.psit_nX, cc=True)
        corrections = orbitals.setups.get_overlap_corrections(orbitals.P_ani.layout.atomdist, np)
        weighted = orbitals.P_ani.new()
        orbitals.P_ani.block_diag_multiply(corrections, out_ani=weighted)
        orbitals.P_ani.matrix.multiply(weighted, opb="C", symmetric=True, out=overlap, beta=1.0)
        assert np.tril(overlap.data) == pytest.approx(np.eye(12), abs=1e-10)

        def apply(psit, out, spin, calculate_energy):
            return hamiltonian.apply(
                potential.vt_sR, None, None, None, psit, out, spin, calculate_energy
            )

        matrix = orbitals.build_hamiltonian(apply, potential.deltaH, orbitals.psit_nX.new())
        assert np.tril(matrix.data) == pytest.approx(np.diag(orbitals.eig_n), abs=1e-9)
        assert np.all(np.diff(orbitals.eig_n) > 0)


def test_every_run_has_the_same(run_folder, first_potential):
    first, second = (
        list(random_orbitals(equations.builder, hamiltonian, potential))
        for equations, hamiltonian, potential in (
            make(run_folder, first_potential, (2, 2, 2), folder) for folder in ("one", "two")
        )
    )
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.psit_nX.data, b.psit_nX.data)
        assert np.linalg.matrix_rank(a.psit_nX.data) == 12


@pytest.mark.gpaw
def test_the_guess_changes_the_first_steps_and_not_the_result(run_folder, capsys):
    random = execute(run_folder("Si", "random"))
    assert "atomic orbitals" not in capsys.readouterr().out
    atomic = execute(run_folder("Si", "atomic"), lcao=True)
    assert "atomic orbitals, which VASP does not have" in capsys.readouterr().out
    # VASP's first energy is far above the last one, and so is the second change.
    assert random.steps[0].free_energy > atomic.steps[0].free_energy + 10
    assert abs(random.steps[1].change) > 10 > 1e-2 > abs(atomic.steps[1].change)
    assert random.steps[4].free_energy == pytest.approx(atomic.steps[4].free_energy, abs=2e-4)
    assert random.steps[-1].free_energy == pytest.approx(atomic.steps[-1].free_energy, abs=1e-4)


@pytest.mark.gpaw
def test_the_first_d_eps_is_a_change(run_folder):
    """VASP prints -0.3E+03 eV for Si2: the band energy falls from that of random orbitals."""
    run = execute(run_folder("Si", NELM=2))
    first, second = (step.band_change for step in run.steps)
    assert first < second < 0
    assert run.steps[1].change == pytest.approx(second, rel=0.2)


def test_other_initial_orbitals_of_vasp_are_refused(run_folder):
    with pytest.raises(UnsupportedInputError, match="INIWAV = 0"):
        execute(run_folder("Si", INIWAV=0))
