"""A run restarted from its own CHGCAR: density and occupancies together are a complete start."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("gpaw", reason="needs the gpaw extra")

from mlcharge_flows.gpaw_vasp.execute import execute
from mlcharge_flows.vasp.chgcar import read_chgcar
from mlcharge_flows.vasp.chgcar_writer import write_chgcar
from mlcharge_flows.vasp.potcar import read_potcar

pytestmark = pytest.mark.gpaw

QUICK = ["Si", "MgO"]
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("Cu", "GaAs", "TiO2", "CaF2")]


@pytest.mark.parametrize("name", QUICK + SLOW)
def test_own_chgcar_needs_at_most_two_steps_more_than_the_fixed_ones(name, run_folder):
    first = execute(run_folder(name, "atoms"))
    atoms = run_folder(name, "atoms2")
    write_chgcar(atoms / "CHGCAR", read_chgcar(atoms.parent / "atoms" / "CHGCAR"))
    own = read_chgcar(atoms / "CHGCAR")
    n_ions = len(own.crystal)

    restart = run_folder(name, "own", ICHARG=1)
    write_chgcar(restart / "CHGCAR", own)
    again = execute(restart)

    potcars = {potcar.symbol: potcar for potcar in read_potcar(restart / "POTCAR")}
    atomic = tuple(potcars[symbol].atomic_occupancies for symbol in own.crystal.symbols)
    mixed = run_folder(name, "mixed", ICHARG=1)
    write_chgcar(mixed / "CHGCAR", dataclasses.replace(own, augmentation=atomic))
    without = execute(mixed)

    fixed = run_folder(name, "fixed", ICHARG=11)
    write_chgcar(fixed / "CHGCAR", own)
    bands = execute(fixed)

    assert first.converged
    assert again.converged
    assert len(again.steps) <= 5 + 2
    difference = again.steps[-1].energy_zero - first.steps[-1].energy_zero
    assert abs(difference) / n_ions < 1e-4
    assert len(without.steps) >= len(again.steps) + 2, "atomic occupancies must cost steps"
    filled = first.occupations > 1e-3
    assert np.abs(bands.eigenvalues - first.eigenvalues)[filled].max() < 1e-3
    assert all(step.charge_residual is None for step in bands.steps)


def test_the_chgcar_integrates_to_nelect_and_names_its_system(run_folder):
    folder = run_folder("MgO")
    execute(folder)
    density = read_chgcar(folder / "CHGCAR")
    assert density.n_electrons == pytest.approx(16.0, abs=1e-6)
    assert density.comment.strip() == "MgO"


def test_occupancies_above_lmaxmix_are_written_as_zeros(run_folder):
    from mlcharge_flows.density.augmentation import labels

    folder = run_folder("Si", LMAXMIX=2)
    execute(folder)
    density = read_chgcar(folder / "CHGCAR")
    channels = read_potcar(folder / "POTCAR")[0].channels
    for (_, _, L, _), value in zip(labels(channels), density.augmentation[0], strict=True):
        if L > 2:
            assert value == 0.0


def test_fixed_density_steps_print_no_charge_residual(run_folder):
    run = execute(run_folder("Si"))
    residuals = [step.charge_residual for step in run.steps]
    assert residuals[:4] == [None] * 4
    assert all(value is not None for value in residuals[4:-1])
    assert residuals[-1] is None, "no output density after the stop rule is met"


def test_with_the_shortest_delay_every_step_updates_the_density(run_folder):
    run = execute(run_folder("Si", NELMDL=-1))
    assert run.steps[0].charge_residual is not None


def test_without_orbitals_there_is_always_a_delay(run_folder, capsys):
    """NELMDL = 0 without a WAVECAR: VASP warns and takes its default, as in si_relax_pair."""
    run = execute(run_folder("Si", NELMDL=0))
    residuals = [step.charge_residual for step in run.steps]
    assert residuals[:4] == [None] * 4
    warning = "WARNING: random wavefunctions but no delay for mixing, default for NELMDL"
    assert warning in capsys.readouterr().out


def test_a_shorter_delay_ends_at_the_same_energy(run_folder):
    usual, shorter = (execute(run_folder("Si", f"delay-{n}", NELMDL=-n)) for n in (5, 2))
    assert [step.charge_residual is None for step in shorter.steps[:2]] == [True, False]
    assert 3 <= len(shorter.steps) < len(usual.steps)
    assert shorter.converged
    energies = [run.steps[-1].free_energy for run in (usual, shorter)]
    assert energies[1] == pytest.approx(energies[0], abs=1e-4)


def test_nelm_stops_an_unconverged_run(run_folder):
    run = execute(run_folder("Si", NELM=7, EDIFF=1e-12))
    assert len(run.steps) == 7
    assert not run.converged
