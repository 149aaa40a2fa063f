"""The Hamiltonian that POTCAR and CHGCAR give, beside the atoms and bands of GPAW."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("gpaw", reason="needs the gpaw extra")

from pymatgen.io.vasp.inputs import Kpoints, Poscar

from mlcharge_flows.density.atomic_orbitals import enlarged, radial_orbitals
from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.density import superpose
from mlcharge_flows.density.paw_atom import paw_atom
from mlcharge_flows.density.paw_hamiltonian import PawHamiltonian
from mlcharge_flows.gpaw_vasp.execute import execute
from mlcharge_flows.gpaw_vasp.potcar import potcar_text
from mlcharge_flows.sources.atomic_orbitals import AtomicOrbitals
from mlcharge_flows.sources.initial_density import InitialDensity
from mlcharge_flows.sources.run_inputs import RunInputs
from mlcharge_flows.sources.source import Superposition
from mlcharge_flows.vasp.chgcar import read_chgcar
from mlcharge_flows.vasp.incar import read_incar
from mlcharge_flows.vasp.plane_waves import plane_waves
from mlcharge_flows.vasp.potcar import read_potcar
from mlcharge_flows.vasp.wavecar import WavecarReader

GAMMA = {"ENCUT": 200, "kpoints": Kpoints.gamma_automatic((1, 1, 1))}
QUICK = {"ENCUT": 200, "kpoints": Kpoints.gamma_automatic((2, 2, 2))}


@pytest.fixture
def dataset(tmp_path):
    """A function: the data set of an element as its POTCAR has it."""

    def make(symbol):
        path = tmp_path / f"POTCAR.{symbol}"
        path.write_text(potcar_text(symbol))
        return read_potcar(path)[0]

    return make


def occupied(found):
    electrons = found.electrons_by_channel
    return [a for a in electrons if electrons[a] > 0]


@pytest.mark.parametrize(
    ("symbol", "side", "encut"),
    [
        ("O", 6.0, 700.0),
        ("Si", 8.0, 300.0),
        ("Ti", 8.0, 300.0),
        ("Cu", 8.0, 300.0),
        ("I", 8.0, 300.0),
    ],
)
def test_states_of_the_free_atom_are_those_of_its_data_set(dataset, symbol, side, encut):
    """In a large box: distances of the bound levels from each other, in eV."""
    found = dataset(symbol)
    lattice = side * np.eye(3)
    crystal = Crystal(lattice, (symbol,), np.zeros((1, 3)))
    density = superpose(crystal, {symbol: found}, (60, 60, 60))
    waves = plane_waves(lattice, encut, np.zeros(3))
    hamiltonian = PawHamiltonian(density, {symbol: paw_atom(found)}, np.abs(waves).max(axis=0))
    orbitals = {symbol: radial_orbitals(found)}
    levels, _ = hamiltonian.states(orbitals, waves, np.zeros(3), 20)
    channels = occupied(found)
    expected = np.sort(
        [
            energy
            for a in channels
            for energy in [found.ionic_potential.energies[a]] * (2 * found.channels[a] + 1)
        ]
    )
    n = len(expected)
    np.testing.assert_allclose(levels[:n] - levels[0], expected - expected[0], atol=0.4)


@pytest.mark.parametrize("symbol", ["Zn", "Sn", "F"])
def test_a_larger_span_does_not_pull_the_levels_of_the_atom_down(dataset, symbol):
    """Inside of the sphere only all partial waves of an l together hold a contracted orbital up."""
    found = dataset(symbol)
    lattice = 6.0 * np.eye(3)
    density = superpose(Crystal(lattice, (symbol,), np.zeros((1, 3))), {symbol: found}, (48,) * 3)
    waves = plane_waves(lattice, 400.0, np.zeros(3))
    atom = paw_atom(found)
    assert len(atom.degrees) == len(found.channels)
    hamiltonian = PawHamiltonian(density, {symbol: atom}, np.abs(waves).max(axis=0))
    own = radial_orbitals(found)
    n = sum(2 * found.channels[a] + 1 for a in occupied(found))
    levels = [
        hamiltonian.states({symbol: orbitals}, waves, np.zeros(3), n)[0]
        for orbitals in (own, enlarged(own))
    ]
    lowered = levels[0] - levels[1]
    assert lowered.min() > -0.01  # the variational principle
    assert np.ptp(lowered) < 0.5


def test_energies_that_do_not_belong_to_the_waves_are_refused(dataset):
    found = dataset("Si")
    wrong = replace(found.ionic_potential, energies=found.ionic_potential.energies + 5.0)
    with pytest.raises(ValueError, match=r"channel 1 is 4\.9 eV from the state"):
        paw_atom(replace(found, ionic_potential=wrong))
    with pytest.raises(ValueError, match="potentials or partial waves are not known"):
        paw_atom(replace(found, ionic_potential=None))


@pytest.mark.gpaw
@pytest.mark.parametrize(("name", "error"), [("Si", 0.35), ("MgO", 0.9)])
def test_occupied_bands_are_those_of_the_run(run_folder, name, error):
    """In eV, without the mean; the cutoff is low for magnesium's 2s and 2p."""
    folder = run_folder(name, **QUICK)
    run = execute(folder)
    datasets = {found.symbol: found for found in read_potcar(folder / "POTCAR")}
    orbitals = {symbol: enlarged(radial_orbitals(own)) for symbol, own in datasets.items()}
    density = read_chgcar(folder / "CHGCAR")
    atoms = {symbol: paw_atom(own) for symbol, own in datasets.items()}
    inputs = inputs_of(folder)
    points = inputs.irreducible_kpoints.points
    n = round(inputs.n_electrons / 2)
    waves = [plane_waves(density.crystal.lattice, 200.0, point) for point in points]
    reach = np.max([np.abs(own).max(axis=0) for own in waves], axis=0)
    hamiltonian = PawHamiltonian(density, atoms, reach)
    found = np.array(
        [
            hamiltonian.states(orbitals, own, point, n)[0]
            for own, point in zip(waves, points, strict=True)
        ]
    )
    expected = np.reshape(run.eigenvalues, (len(points), -1))[:, :n]
    shift = (found - expected).mean()
    np.testing.assert_allclose(found - shift, expected, atol=error)


def inputs_of(folder):
    return RunInputs(
        structure=Poscar.from_file(folder / "POSCAR").structure,
        incar=read_incar(folder / "INCAR"),
        kpoints=Kpoints.from_file(folder / "KPOINTS"),
        read_potcar=lambda: read_potcar(folder / "POTCAR"),
    )


@pytest.mark.gpaw
@pytest.mark.parametrize(("name", "n_bands"), [("Si", 8), ("MgO", 12)])
def test_a_run_gains_less_from_states_than_from_free_orbitals(run_folder, name, n_bands):
    """d eps of the first step: what the orbitals lacked at that density."""
    first = run_folder(name, "first", **QUICK)
    execute(first)
    gains = []
    for folder, has_density in (("free", False), ("states", True)):
        path = run_folder(name, folder, **QUICK, ISTART=1, ICHARG=1, NELM=2)
        if has_density:
            (path / "CHGCAR").write_bytes((first / "CHGCAR").read_bytes())
        document = AtomicOrbitals().document(inputs_of(path), path)
        assert document.diagonalized is has_density
        assert ("CHGCAR" in (document.hamiltonian_failure or "")) is not has_density
        assert document.n_bands == n_bands or not has_density
        (path / "CHGCAR").write_bytes((first / "CHGCAR").read_bytes())
        gains.append(abs(execute(path).steps[0].band_change))
    assert gains[1] < 0.4 * gains[0]


def test_a_span_beyond_the_limit_is_left_out(run_folder, monkeypatch):
    folder = run_folder("Si", **QUICK)
    monkeypatch.setenv("MLCHARGE_MAX_WAVECAR_SIZE", "8e-5")
    document = AtomicOrbitals().document(inputs_of(folder), folder)
    assert document.failure is None
    assert not document.diagonalized
    assert "MAX_WAVECAR_SIZE allows 8e-05" in document.hamiltonian_failure


def test_the_last_bands_have_a_random_part(run_folder):
    """Solvers keep the symmetry of what they begin with: a state of another one would be missed."""
    folder = run_folder("MgO", **QUICK)
    execute(folder)
    document = AtomicOrbitals().document(inputs_of(folder), folder)
    assert document.n_bands == 12
    with WavecarReader(folder / "WAVECAR") as file:
        gamma = file.read(0)
        waves = {tuple(wave): n for n, wave in enumerate(file.header.plane_waves(gamma.kpoint))}
    mirrored = gamma.coefficients[:, [waves[-x, -y, -z] for x, y, z in waves]]
    # The ions lie at centers of inversion: states are even or odd.
    parities = np.abs((mirrored.conj() * gamma.coefficients).sum(axis=1))
    np.testing.assert_allclose(parities[:10], 1.0, atol=1e-3)
    assert parities[10:].max() < 0.98
    assert parities[10:].min() > 0.7


@pytest.mark.gpaw
def test_empty_bands_converge_as_soon_as_occupied_ones(run_folder):
    """In eV, at fixed density: the steps end with the energy of the occupied ones."""
    first = run_folder("Si", "first", **QUICK)
    execute(first)

    def run(name, **tags):
        folder = run_folder("Si", name, **QUICK, ICHARG=11, NBANDS=16, **tags)
        (folder / "CHGCAR").write_bytes((first / "CHGCAR").read_bytes())
        if tags.get("ISTART"):
            AtomicOrbitals().document(inputs_of(folder), folder)
        result = execute(folder)
        return len(result.steps), np.reshape(result.eigenvalues, (-1, 16))

    _, converged = run("converged", NELMIN=20)
    n_steps, atomic = run("atomic", ISTART=1)
    assert n_steps < 6
    assert np.abs(atomic - converged).max() < 0.02


def test_occupied_bands_are_never_random(run_folder):
    """With NBANDS as tight as it can be, all bands are those of the lowest states."""
    found = []
    for nbands in (4, 8):
        folder = run_folder("Si", f"bands{nbands}", **GAMMA, NBANDS=nbands, ICHARG=1)
        inputs = inputs_of(folder)
        InitialDensity(Superposition()).write(inputs, folder)
        assert AtomicOrbitals().document(inputs, folder).n_bands == nbands
        with WavecarReader(folder / "WAVECAR") as file:
            found.append(file.read(0).coefficients)
    overlap = np.linalg.svd(orthonormal(found[0]).conj() @ orthonormal(found[1][:4]).T)[1]
    np.testing.assert_allclose(overlap, 1.0, atol=1e-3)


def orthonormal(rows):
    return np.linalg.qr(rows.T)[0].T
