"""With ICHARG = 11 the energy is the Harris functional of the density that was read."""

from __future__ import annotations

import dataclasses

import pytest

pytest.importorskip("gpaw", reason="needs the gpaw extra")

from pymatgen.io.vasp.inputs import Kpoints

from mlcharge_flows.gpaw_vasp.execute import execute
from mlcharge_flows.gpaw_vasp.initial_density import atomic_superposition
from mlcharge_flows.gpaw_vasp.inputs import read_inputs
from mlcharge_flows.vasp.chgcar import read_chgcar
from mlcharge_flows.vasp.chgcar_writer import write_chgcar

pytestmark = pytest.mark.gpaw

TAGS = {"ENCUT": 200, "EDIFF": 1e-8, "kpoints": Kpoints.gamma_automatic((2, 2, 2))}


def mixed(exact, wrong, fraction):
    """The exact density with a fraction of the wrong one, on the grid and in the occupancies."""

    def mix(a, b):
        return (1 - fraction) * a + fraction * b

    records = tuple(map(mix, exact.augmentation, wrong.augmentation))
    return dataclasses.replace(exact, total=mix(exact.total, wrong.total), augmentation=records)


def test_the_energy_is_of_second_order_in_the_density(run_folder):
    converged = run_folder("Si", "scf", **TAGS)
    scf = execute(converged).steps[-1].free_energy
    exact = read_chgcar(converged / "CHGCAR")
    wrong = atomic_superposition(read_inputs(converged))

    def error(fraction):
        folder = run_folder("Si", f"fraction{fraction}", ICHARG=11, **TAGS)
        write_chgcar(folder / "CHGCAR", mixed(exact, wrong, fraction))
        return execute(folder).steps[-1].free_energy - scf

    assert abs(error(0.0)) < 1e-6
    # Small enough for the third order to hide: at 20 % of the superposition's error it is a tenth.
    small, large = error(0.025), error(0.05)
    assert abs(large) > 1e-4
    assert large / small == pytest.approx(4.0, abs=0.3)
