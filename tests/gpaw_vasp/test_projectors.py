"""The projectors' part of the stress: that of GPAW's own, slower way."""

import numpy as np
import pytest
from pymatgen.io.vasp.inputs import Kpoints

pytest.importorskip("gpaw", reason="needs the gpaw extra")

from gpaw.core.pwacf import PWAtomCenteredFunctions

from mlcharge_flows.gpaw_vasp.lcao import lcao_guess


# Cells with ions off the origin, d projectors, real orbitals at Gamma alone.
@pytest.mark.parametrize(
    ("name", "mesh"), [("MgO", (3, 3, 2)), ("TiO2", (2, 2, 2)), ("MgO", (1, 1, 1))]
)
def test_it_is_gpaws(run_folder, first_potential, name, mesh):
    equations, hamiltonian, potential = first_potential(
        run_folder(name, kpoints=Kpoints.gamma_automatic(mesh))
    )
    random = np.random.default_rng(3)
    for orbitals in lcao_guess(equations.builder, hamiltonian, potential):
        weights = {ion: random.normal(size=p.shape) * p.conj() for ion, p in orbitals.P_ani.items()}
        ours = orbitals.pt_aiX.stress_contribution(orbitals.psit_nX, weights)
        slow = PWAtomCenteredFunctions.stress_contribution(
            orbitals.pt_aiX, orbitals.psit_nX, weights
        )
        assert np.abs(slow).max() > 0.1
        assert ours == pytest.approx(slow, abs=1e-7 * np.abs(slow).max())
