"""First orbitals: those of GPAW's own, slower way by the grid, at every k-point."""

import numpy as np
import pytest
from pymatgen.io.vasp.inputs import Kpoints

pytest.importorskip("gpaw", reason="needs the gpaw extra")

from mlcharge_flows.gpaw_vasp.first_orbitals import UNKNOWN, first_orbitals
from mlcharge_flows.gpaw_vasp.inputs import read_inputs
from mlcharge_flows.gpaw_vasp.kohn_sham import KohnSham


def orbitals_both_ways(folder):
    """Pairs of (ours, GPAW's) in the potential of the superposition, and the atomic orbitals."""
    equations = KohnSham(read_inputs(folder))
    builder = equations.builder
    calculator = builder.create_potential_calculator()
    equations.density.normalize(calculator.charge)
    potential, *_ = calculator.calculate(equations.density)
    ours = first_orbitals(builder, equations.basis, potential)
    theirs = builder.create_ibz_wave_functions(equations.basis, potential)
    return list(zip(ours, theirs, strict=True)), equations.basis.Mmax


def off(ours, theirs):
    """Square of the difference, relative."""
    difference = ours.psit_nX.data - theirs.psit_nX.data
    return np.linalg.norm(difference) ** 2 / np.linalg.norm(theirs.psit_nX.data) ** 2


# Cells with ions off the origin, whose phases count.
@pytest.mark.parametrize("name", ["MgO", "TiO2"])
def test_they_are_gpaws_at_every_k_point(run_folder, name):
    pairs, _ = orbitals_both_ways(run_folder(name, kpoints=Kpoints.gamma_automatic((3, 3, 2))))
    assert len(pairs) > 1
    for ours, theirs in pairs:
        assert ours.eig_n == pytest.approx(theirs.eig_n, abs=1e-9)
        # What is left is the grid's: GPAW cuts orbitals off on it.
        assert off(ours, theirs) < 1e-5


def test_they_are_real_at_gamma_alone(run_folder):
    [(ours, theirs)], _ = orbitals_both_ways(
        run_folder("MgO", kpoints=Kpoints.gamma_automatic((1, 1, 1)))
    )
    assert ours.psit_nX.desc.dtype == theirs.psit_nX.desc.dtype == float
    assert off(ours, theirs) < 1e-5


def test_bands_beyond_the_atomic_orbitals_are_random(run_folder):
    pairs, n_atomic = orbitals_both_ways(run_folder("MgO", NBANDS=40))
    assert n_atomic < 40
    for ours, theirs in pairs:
        assert np.all(ours.eig_n[n_atomic:] == UNKNOWN)
        assert np.array_equal(ours.eig_n, theirs.eig_n)
        assert np.linalg.matrix_rank(ours.psit_nX.data) == 40
