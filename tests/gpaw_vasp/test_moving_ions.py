"""Relaxations and molecular dynamics of small cells: laws first, then the files."""

from __future__ import annotations

import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("gpaw", reason="needs the gpaw extra")

from pymatgen.core import Structure
from pymatgen.io.vasp.inputs import Kpoints, Poscar
from pymatgen.io.vasp.outputs import Oszicar, Outcar, Vasprun, Wavecar, Xdatcar

from mlcharge_flows.gpaw_vasp.execute import execute
from mlcharge_flows.gpaw_vasp.initial_density import atomic_superposition
from mlcharge_flows.gpaw_vasp.inputs import read_inputs
from mlcharge_flows.gpaw_vasp.kohn_sham import KohnSham
from mlcharge_flows.gpaw_vasp.moved_geometry import spins_are_equal
from mlcharge_flows.gpaw_vasp.result import EV_PER_A3_IN_KB
from mlcharge_flows.scf.count import count_run
from mlcharge_flows.vasp.chgcar import read_chgcar

pytestmark = pytest.mark.gpaw

QUICK = {"ENCUT": 200, "EDIFF": 1e-5, "LWAVE": False, "LCHARG": False}


def silicon(shift=(0.0, 0.0, 0.0), strain=0.0):
    """Two ions, the second one moved in fractional coordinates, in a strained cell."""
    cell = np.array([[0.0, 2.7, 2.7], [2.7, 0.0, 2.7], [2.7, 2.7, 0.0]])
    return Structure(cell * (1 + strain), ["Si", "Si"], [[0, 0, 0], 0.25 + np.array(shift)])


@pytest.fixture
def relax(run_folder):
    """A function that relaxes silicon at a few k-points."""

    def run(structure, folder="run", divisions=(2, 2, 2), **tags):
        mesh = Kpoints.gamma_automatic(divisions)
        path = run_folder("Si", folder, mesh, structure, **QUICK | {"NSW": 25} | tags)
        return path, execute(path)

    return run


def test_forces_and_stress_are_derivatives_of_the_energy(run_folder):
    """At fixed indices of the plane waves, the stress is the derivative without Pulay's term."""
    mesh = Kpoints.gamma_automatic((1, 1, 1))
    structure = silicon((0.02, 0.01, -0.015))
    folder = run_folder("Si", "run", mesh, structure, **QUICK | {"EDIFF": 1e-7, "ISYM": 0})
    inputs = read_inputs(folder)
    solver = KohnSham(inputs)
    solver.set_initial_state(atomic_superposition(inputs))
    *_, last = solver.iterate()
    forces, stress = solver.forces_and_stress()
    crystal = inputs.crystal

    def energy(strain, shift):
        lattice = crystal.lattice @ (np.eye(3) + strain)
        positions = crystal.positions + shift @ np.linalg.inv(lattice)
        solver.move(replace(crystal, lattice=lattice, positions=positions))
        *_, end = solver.iterate(delay=0, previous=last.free_energy)
        return end.free_energy

    shift, still = np.zeros((2, 3)), np.zeros((3, 3))
    shift[1, 0] = 0.01
    slope = (energy(still, shift) - energy(still, -shift)) / 0.02
    assert forces[1, 0] == pytest.approx(-slope, abs=2e-3)
    np.testing.assert_allclose(forces.sum(axis=0), 0.0, atol=2e-3)
    for component in ((0, 0), (0, 1)):
        strain = np.zeros((3, 3))
        strain[component] += 0.002
        strain[component[::-1]] += 0.002
        size = strain.sum()
        slope = (energy(strain, 0 * shift) - energy(-strain, 0 * shift)) / (2 * size)
        assert stress[component] == pytest.approx(
            -slope / crystal.volume * EV_PER_A3_IN_KB, abs=0.5
        )


@pytest.mark.slow
@pytest.mark.parametrize("ibrion", [1, 2])
def test_displaced_ions_return_to_the_same_geometry(ibrion, relax):
    ends = []
    for name, shift in (("one", (0.02, 0.01, -0.01)), ("other", (-0.01, 0.015, 0.01))):
        _, run = relax(silicon(shift), name, IBRION=ibrion, EDIFFG=-0.02)
        assert run.relaxed
        assert 2 < len(run.path) < 25
        np.testing.assert_allclose(run.crystal.lattice, silicon().lattice.matrix)
        np.testing.assert_allclose(run.forces.sum(axis=0), 0.0, atol=1e-10)
        assert np.linalg.norm(run.forces, axis=1).max() < 0.02
        apart = run.crystal.positions[1] - run.crystal.positions[0]
        ends.append((run.steps[-1].free_energy, apart))
    assert ends[0][0] == pytest.approx(ends[1][0], abs=5e-4)
    for _, apart in ends:
        np.testing.assert_allclose(apart, 0.25, atol=1e-3)


def test_a_strained_cell_relaxes_and_its_files_agree(relax):
    folder, run = relax(
        silicon(strain=0.02), IBRION=2, ISIF=3, EDIFFG=-0.02, LCHARG=True, LORBIT=11
    )
    lengths = np.linalg.norm(run.crystal.lattice, axis=1)
    # The law: cubic it was, cubic it stays.
    np.testing.assert_allclose(lengths, lengths[0], rtol=1e-10)
    np.testing.assert_allclose(run.forces, 0.0, atol=1e-6)
    assert abs(np.trace(run.stress)) / 3 < 0.02 * 2 * EV_PER_A3_IN_KB / run.crystal.volume
    n_steps, energy = len(run.path), run.steps[-1].free_energy
    assert n_steps > 1
    # Orbitals and density were carried: no ionic step is as long as the first one.
    counts = [len(step.steps) for step in run.path]
    assert max(counts[1:]) < counts[0] - 4

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        vasprun = Vasprun(folder / "vasprun.xml", parse_potcar_file=False)
        outcar = Outcar(folder / "OUTCAR")
    oszicar, xdatcar = Oszicar(folder / "OSZICAR"), Xdatcar(folder / "XDATCAR")
    assert vasprun.converged
    assert [len(step["electronic_steps"]) for step in vasprun.ionic_steps] == counts
    assert [len(steps) for steps in oszicar.electronic_steps] == counts
    assert vasprun.final_energy == pytest.approx(run.steps[-1].energy_zero, abs=1e-7)
    assert outcar.final_energy == pytest.approx(run.steps[-1].energy_zero, abs=1e-7)
    assert oszicar.ionic_steps[0]["dE"] == pytest.approx(run.path[0].free_energy, rel=1e-5)
    changes = [step.free_energy - run.path[0].free_energy for step in run.path]
    assert oszicar.ionic_steps[1]["dE"] == pytest.approx(changes[1], rel=1e-4)
    outcar.read_pattern({"pressure": r"external pressure =\s+(\S+)"}, postprocess=float)
    pressures = [np.trace(step.stress) / 3 for step in run.path]
    np.testing.assert_allclose(np.ravel(outcar.data["pressure"]), pressures, atol=0.006)
    volumes = [step.crystal.volume for step in run.path]
    for structures in (vasprun.structures, xdatcar.structures):
        np.testing.assert_allclose([s.volume for s in structures], volumes, rtol=1e-4)
    final = Poscar.from_file(folder / "CONTCAR", check_for_potcar=False).structure
    np.testing.assert_allclose(final.lattice.matrix, run.crystal.lattice, atol=1e-15)
    chgcar = read_chgcar(folder / "CHGCAR")
    np.testing.assert_allclose(chgcar.crystal.lattice, run.crystal.lattice, atol=1e-6)
    assert chgcar.n_electrons == pytest.approx(8.0, abs=1e-6)
    text = (folder / "OUTCAR").read_text()
    assert text.count("aborting loop because EDIFF is reached") == n_steps
    assert text.count("E-fermi") == 1
    assert "reached required accuracy" in text
    assert energy < run.path[0].free_energy

    # Only the first ionic step counts for a comparison of initial densities.
    counted = count_run(folder)
    assert (counted.n_total, counted.converged, counted.failure) == (counts[0], True, None)
    assert counted.energy == pytest.approx(run.path[0].steps[-1].energy_zero, abs=1e-6)


@pytest.mark.parametrize(("isif", "ends_where"), [(4, "volume"), (7, "shape"), (2, "cell")])
def test_isif_chooses_what_relaxes(isif, ends_where, relax):
    structure = silicon((0.01, 0.0, 0.0), strain=0.01)
    structure.apply_strain([0.0, 0.0, 0.01])
    _, run = relax(structure, NSW=4, IBRION=1, ISIF=isif, EDIFFG=-1e-3)
    before, after = structure.lattice.matrix, run.crystal.lattice
    moved = np.abs(run.crystal.positions - structure.frac_coords).max()
    assert not run.relaxed
    assert len(run.path) == 4
    if ends_where == "volume":
        assert run.crystal.volume == pytest.approx(structure.volume, rel=1e-9)
        assert np.abs(after - before).max() > 1e-3
    elif ends_where == "shape":
        np.testing.assert_allclose(after / after[0, 1], before / before[0, 1], atol=1e-9)
        assert run.crystal.volume != pytest.approx(structure.volume, rel=1e-3)
    else:
        np.testing.assert_allclose(after, before, atol=1e-12)
    assert (moved > 1e-4) == (isif != 7)


def test_selective_dynamics_keeps_ions_and_flags(run_folder):
    structure = silicon((0.02, 0.01, 0.0))
    flags = [[False] * 3, [True, False, True]]
    mesh = Kpoints.gamma_automatic((1, 1, 1))
    folder = run_folder("Si", "run", mesh, structure, **QUICK | {"NSW": 3, "IBRION": 1})
    Poscar(structure, selective_dynamics=flags).write_file(
        folder / "POSCAR", significant_figures=16
    )
    run = execute(folder)
    moved = np.abs(run.crystal.positions - structure.frac_coords)
    np.testing.assert_allclose(moved[~np.array(flags)], 0.0, atol=1e-12)
    assert moved[np.array(flags)].max() > 1e-4
    final = Poscar.from_file(folder / "CONTCAR", check_for_potcar=False)
    np.testing.assert_array_equal(final.selective_dynamics, flags)


def test_a_positive_ediffg_compares_energies(relax):
    _, run = relax(silicon((0.01, 0.01, 0.0)), IBRION=1, EDIFFG=1e-3, divisions=(1, 1, 1))
    energies = [step.free_energy for step in run.path]
    assert run.relaxed
    assert abs(energies[-1] - energies[-2]) < 1e-3
    assert all(abs(np.diff(energies[:-1])) >= 1e-3)


def test_dynamics_conserve_energy_and_say_it(relax):
    tags = {"IBRION": 0, "NSW": 12, "POTIM": 1.0, "TEBEG": 600, "ISYM": 0, "EDIFF": 1e-6}
    folder, run = relax(silicon(), divisions=(1, 1, 1), **tags)
    totals = [step.free_energy + step.motion.kinetic_energy for step in run.path]
    kinetic = [step.motion.kinetic_energy for step in run.path]
    assert run.path[0].motion.temperature == pytest.approx(600, rel=1e-6)
    assert np.ptp(totals) < 0.05 * np.ptp(kinetic)
    last = Oszicar(folder / "OSZICAR").ionic_steps[-1]
    assert last["EK"] == pytest.approx(kinetic[-1], rel=1e-4)
    assert last["E"] == pytest.approx(totals[-1], rel=1e-7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        steps = Vasprun(folder / "vasprun.xml", parse_potcar_file=False).ionic_steps
    assert steps[-1]["total"] == pytest.approx(totals[-1], abs=1e-6)
    final = Poscar.from_file(folder / "CONTCAR", check_for_potcar=False)
    np.testing.assert_allclose(final.velocities, run.velocities, atol=1e-9)


@pytest.mark.parametrize(
    "thermostat",
    [
        {"SMASS": 0},
        {"MDALGO": 3, "LANGEVIN_GAMMA": [10.0]},
        {"MDALGO": 5, "CSVR_PERIOD": 20.0},
        {"MDALGO": 1, "ANDERSEN_PROB": 0.5},
    ],
    ids=["Nose-Hoover", "Langevin", "CSVR", "Andersen"],
)
def test_thermostats_exchange_energy_with_the_ions(thermostat, relax):
    tags = {"IBRION": 0, "NSW": 4, "POTIM": 1.0, "TEBEG": 600, "EDIFF": 1e-4}
    _, run = relax(silicon(), divisions=(1, 1, 1), **tags | thermostat)
    totals = [step.free_energy + step.motion.kinetic_energy for step in run.path]
    assert len(run.path) == 4
    assert np.ptp(totals) > 1e-5


def test_moments_are_carried_to_the_next_geometry(run_folder):
    atom = Structure(np.eye(3) * 4.0, ["H"], [[0, 0, 0]])
    mesh = Kpoints.gamma_automatic((1, 1, 1))
    tags = {"ISPIN": 2, "MAGMOM": [1.0], "NSW": 2, "IBRION": 1, "ISIF": 7, "EDIFFG": -1e-4}
    folder = run_folder("H", "run", mesh, atom, **QUICK | tags | {"SIGMA": 0.01})
    run = execute(folder)
    moments = [step.steps[-1].magnetization for step in run.path]
    np.testing.assert_allclose(moments, 1.0, atol=1e-3)
    assert len(run.path[1].steps) < len(run.path[0].steps) - 4
    assert Oszicar(folder / "OSZICAR").ionic_steps[-1]["mag"] == pytest.approx(1.0, abs=1e-3)


def test_an_insulator_without_moments_goes_on_with_one_spin_channel(run_folder, capsys):
    tags = QUICK | {"EDIFF": 1e-7, "SIGMA": 0.01, "NBANDS": 8, "LWAVE": True, "LCHARG": True}
    mesh, structure = Kpoints.gamma_automatic((2, 2, 2)), silicon(shift=(0.01, 0.0, 0.0))
    moves = {"NSW": 3, "IBRION": 1, "EDIFFG": -1e-4, "ISPIN": 2, "MAGMOM": [0.6, 0.6]}
    folder = run_folder("Si", "two", mesh, structure, **tags | moves)
    run = execute(folder)
    assert "an insulator without moments, one spin is computed" in capsys.readouterr().out
    applications = [step.steps[-1].operations for step in run.path]
    assert applications == [2 * applications[1], applications[1], applications[1]]
    last = run.path[-1]
    moved = Structure(last.crystal.lattice, last.crystal.symbols, last.crystal.positions)
    plain = execute(run_folder("Si", "one", mesh, moved, **tags))
    assert last.free_energy == pytest.approx(plain.steps[-1].free_energy, abs=1e-6)
    np.testing.assert_allclose(last.forces, plain.forces, atol=2e-3)
    filled = run.eigenvalues[1, :, :4]
    np.testing.assert_allclose(filled, plain.eigenvalues[0, :, :4], atol=1e-3)
    assert read_chgcar(folder / "CHGCAR").magnetization is not None
    assert Wavecar(folder / "WAVECAR").spin == 2
    assert [step["mag"] for step in Oszicar(folder / "OSZICAR").ionic_steps] == [0.0] * 3
    assert len(Vasprun(folder / "vasprun.xml").ionic_steps) == 3


FULL = [1.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("up", "down", "grid_moment", "on_site_moment", "expected"),
    [
        (FULL, FULL, 1e-4, 1e-4, True),
        ([1.0, 0.7, 0.3], [1.0, 0.7, 0.3], 0.0, 0.0, False),  # a metal may become magnetic
        (FULL, [1.0, 0.0, 0.0], 1.0, 0.3, False),
        (FULL, FULL, 0.5, 0.0, False),  # an antiferromagnet
        (FULL, FULL, 0.0, 0.5, False),
    ],
)
def test_spins_are_equal_in_insulators_without_moments(
    up, down, grid_moment, on_site_moment, expected
):
    occupations = np.array([[up], [down]])
    orbitals = SimpleNamespace(get_all_eigs_and_occs=lambda broadcast: (None, occupations))
    grid = np.ones((2, 2, 2, 2))
    grid[0, 0, 0, 0] += grid_moment
    matrices = np.stack([np.eye(2) * (1 + on_site_moment), np.eye(2)])
    smooth = SimpleNamespace(data=grid, desc=SimpleNamespace(dv=1.0))
    density = SimpleNamespace(nt_sR=smooth, D_asii={0: matrices})
    assert spins_are_equal(density, orbitals) == expected
