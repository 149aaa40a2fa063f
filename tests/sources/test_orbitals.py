"""Initial orbitals: the WAVECAR of atomic orbitals, and the runs that get none."""

from dataclasses import replace

import numpy as np
import pytest
from pymatgen.io.vasp import Kpoints

from mlcharge_flows.atomate2.sets.comparison import ComparisonSetGenerator
from mlcharge_flows.density.atomic_orbitals import bloch_sums, radial_orbitals
from mlcharge_flows.density.paw_dataset import PartialWaves
from mlcharge_flows.sources.orbitals import AtomicOrbitals
from mlcharge_flows.sources.run_inputs import RunInputs
from mlcharge_flows.sources.source import SourceError
from mlcharge_flows.vasp.wavecar import WavecarReader


def with_waves(dataset):
    """The data set with partial waves that decay as exp(-2 r), higher degrees further out."""
    r = np.geomspace(1e-4, 3.0, 120)
    u = np.stack([r ** (degree + 1) * np.exp(-2 * r) for degree in dataset.channels])
    return replace(dataset, partial_waves=PartialWaves(r, u, u, np.zeros((1, len(r)))))


@pytest.fixture
def run(inputs, atoms):
    """Inputs whose data sets have partial waves, on a small mesh."""
    datasets = {symbol: with_waves(dataset) for symbol, dataset in atoms.items()}
    tags = {**inputs.incar, "ENCUT": 60.0}
    found = replace(inputs, kpoints=Kpoints.gamma_automatic((2, 2, 2)), incar=tags)
    return replace(found, supplied_datasets=datasets)


def changed(run, **tags):
    return replace(run, incar={**run.incar, **tags})


def test_the_file_holds_the_bloch_sums_of_every_irreducible_point(run, tmp_path):
    document = AtomicOrbitals().write(run, tmp_path)
    radial = {symbol: radial_orbitals(dataset) for symbol, dataset in run.datasets.items()}
    with WavecarReader(tmp_path / "WAVECAR") as file:
        assert file.header.n_kpoints == document.n_kpoints == 4
        assert file.header.n_bands == document.n_bands
        assert file.header.encut == 60.0
        for k, point in enumerate(run.irreducible_kpoints.points):
            found = file.read(k)
            np.testing.assert_array_equal(found.kpoint, point)
            waves = file.header.plane_waves(point) + point
            expected = bloch_sums(run.crystal, radial, waves)
            np.testing.assert_allclose(found.coefficients[: len(expected)], expected, atol=1e-6)
    assert document.failure is None
    assert not list(tmp_path.glob("*.partial*"))


def test_bands_are_independent_and_normalized_at_every_point(run, tmp_path):
    AtomicOrbitals().write(run, tmp_path)
    with WavecarReader(tmp_path / "WAVECAR") as file:
        for k in range(file.header.n_kpoints):
            bands = file.read(k).coefficients
            overlaps = bands.conj() @ bands.T
            np.testing.assert_allclose(np.diag(overlaps), 1.0, atol=1e-5)
            assert np.linalg.eigvalsh(overlaps).min() > 1e-4


def test_occupations_hold_the_electrons(run, tmp_path):
    AtomicOrbitals().write(run, tmp_path)
    with WavecarReader(tmp_path / "WAVECAR") as file:
        assert 2 * file.read(0).occupations.sum() == pytest.approx(run.n_electrons)


def test_both_spins_begin_alike(run, tmp_path):
    AtomicOrbitals().write(changed(run, ISPIN=2, MAGMOM=[1.0, 1.0]), tmp_path)
    with WavecarReader(tmp_path / "WAVECAR") as file:
        assert file.header.n_spins == 2
        up, down = file.read(1), file.read(1, spin=1)
        np.testing.assert_array_equal(up.coefficients, down.coefficients)


def test_no_more_bands_than_the_run_has(run, tmp_path):
    assert AtomicOrbitals().write(changed(run, NBANDS=3), tmp_path).n_bands == 3


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"LNONCOLLINEAR": True}, "noncollinear"),
        ({"LSORBIT": True}, "noncollinear"),
        ({"ISYM": 0}, "by their index"),
        ({"ISPIN": 2, "MAGMOM": [2.0, -2.0]}, "by their index"),
    ],
)
def test_runs_that_get_none_say_why(run, tmp_path, tags, reason):
    with pytest.raises(SourceError, match=reason):
        AtomicOrbitals().write(changed(run, **tags), tmp_path)
    assert not (tmp_path / "WAVECAR").exists()


def test_data_sets_without_partial_waves_are_said(run, atoms, tmp_path):
    with pytest.raises(SourceError, match="the partial waves of the free atom are not known"):
        AtomicOrbitals().write(replace(run, supplied_datasets=atoms), tmp_path)


def test_a_file_beyond_the_limit_is_left_out(run, tmp_path, monkeypatch):
    monkeypatch.setenv("MLCHARGE_MAX_WAVECAR_SIZE", "1e-6")
    with pytest.raises(SourceError, match=r"would take .* GB, the setting MAX_WAVECAR_SIZE"):
        AtomicOrbitals().write(run, tmp_path)
    assert not list(tmp_path.iterdir())


def test_kpoints_are_those_of_the_input_set(salt):
    generator = ComparisonSetGenerator(user_kpoints_settings=Kpoints.gamma_automatic((3, 3, 2)))
    inputs = RunInputs.from_generator(salt, generator)
    assert inputs.irreducible_kpoints.weights.sum() == 18


def test_an_explicit_list_needs_no_symmetry(run, tmp_path):
    points = [[0.0, 0.0, 0.0], [0.1, 0.2, 0.3]]
    listed = Kpoints("list", 2, Kpoints.supported_modes.Reciprocal, points, kpts_weights=[1, 1])
    document = AtomicOrbitals().write(replace(changed(run, ISYM=0), kpoints=listed), tmp_path)
    assert document.n_kpoints == 2
