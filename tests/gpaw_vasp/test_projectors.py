"""The projectors' part of the stress: GPAW's own, slower one, and a strain that does nothing."""

import numpy as np
import pytest
from pymatgen.io.vasp.inputs import Kpoints

pytest.importorskip("gpaw", reason="needs the gpaw extra")

from gpaw.core.pwacf import PWAtomCenteredFunctions

from mlcharge_flows.gpaw_vasp.first_orbitals import first_orbitals
from mlcharge_flows.gpaw_vasp.inputs import read_inputs
from mlcharge_flows.gpaw_vasp.kohn_sham import KohnSham


@pytest.fixture
def orbitals(run_folder):
    def make(name, mesh):
        equations = KohnSham(read_inputs(run_folder(name, kpoints=Kpoints.gamma_automatic(mesh))))
        builder = equations.builder
        calculator = builder.create_potential_calculator()
        equations.density.normalize(calculator.charge)
        potential, *_ = calculator.calculate(equations.density)
        return list(first_orbitals(builder, builder.create_scf_loop().hamiltonian, potential))

    return make


# Cells with ions off the origin, d projectors, real orbitals at Gamma alone.
@pytest.mark.parametrize(
    ("name", "mesh"), [("MgO", (3, 3, 2)), ("TiO2", (2, 2, 2)), ("MgO", (1, 1, 1))]
)
def test_it_is_gpaws(orbitals, name, mesh):
    random = np.random.default_rng(3)
    for wave in orbitals(name, mesh):
        weights = {ion: random.normal(size=p.shape) * p.conj() for ion, p in wave.P_ani.items()}
        ours = wave.pt_aiX.stress_contribution(wave.psit_nX, weights)
        slow = PWAtomCenteredFunctions.stress_contribution(wave.pt_aiX, wave.psit_nX, weights)
        assert np.abs(slow).max() > 0.1
        assert ours == pytest.approx(slow, abs=1e-7 * np.abs(slow).max())
