"""Initial orbitals: the WAVECAR of atomic orbitals, and the runs that get none."""

import gzip
from dataclasses import replace

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp import Kpoints

from mlcharge_flows.atomate2.sets.comparison import ComparisonSetGenerator
from mlcharge_flows.density.atomic_orbitals import bloch_sums, radial_orbitals
from mlcharge_flows.density.paw_dataset import PartialWaves
from mlcharge_flows.sources.atomic_orbitals import AtomicOrbitals
from mlcharge_flows.sources.initial_wavecar import is_initial_wavecar
from mlcharge_flows.sources.orbitals import FromWavecar
from mlcharge_flows.sources.run_inputs import RunInputs
from mlcharge_flows.sources.source import SourceError
from mlcharge_flows.vasp.wavecar import WavecarReader
from mlcharge_flows.vasp.wavecar_writer import WavecarWriter


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
        ({"NBANDS": 0}, "NBANDS = 0 must be positive"),
        ({"NBANDS": -3}, "NBANDS = -3 must be positive"),
    ],
)
def test_runs_that_get_none_say_why(run, tmp_path, tags, reason):
    with pytest.raises(SourceError, match=reason):
        AtomicOrbitals().write(changed(run, **tags), tmp_path)
    assert not (tmp_path / "WAVECAR").exists()


def test_a_mesh_that_breaks_the_symmetry_is_said(tmp_path):
    cell = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.0), ["Al"], [[0, 0, 0]])
    mesh = Kpoints.monkhorst_automatic((2, 2, 2))
    tags = {"ENCUT": 60.0}
    run = RunInputs(cell.get_primitive_structure(), tags, (16, 16, 16), kpoints=mesh)
    assert not run.irreducible_kpoints.is_symmetric
    with pytest.raises(SourceError, match="the k-point mesh lacks rotations of the crystal"):
        AtomicOrbitals().write(run.with_listed_kpoints(), tmp_path)


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


def layered(run, **tags):
    """Four ions of a face-centered cubic lattice, whose moments alternate along one axis."""
    tags = {"ISPIN": 2, "MAGMOM": [1.0, 1.0, -1.0, -1.0], **tags}
    sites = [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    structure = Structure(4.0 * np.eye(3), [run.crystal.symbols[0]] * 4, sites)
    return replace(changed(run, **tags), structure=structure)


def test_ions_with_different_moments_are_of_different_kinds(run):
    nonmagnetic = layered(run, MAGMOM=4 * [1.0]).irreducible_kpoints
    found = layered(run).irreducible_kpoints
    assert (len(nonmagnetic.points), len(found.points)) == (4, 6)
    assert (nonmagnetic.is_certain, found.is_certain) == (True, False)


def test_points_whose_order_is_not_known_can_be_listed(run, tmp_path):
    with pytest.raises(SourceError, match="explicit_kpoints"):
        AtomicOrbitals().write(layered(run), tmp_path)
    listed = layered(run).with_listed_kpoints()
    assert AtomicOrbitals().write(listed, tmp_path).n_kpoints == 6
    assert Kpoints.from_str(str(listed.kpoints)).kpts_weights == [1, 2, 1, 1, 2, 1]
    kept = [run, layered(run, ISMEAR=-5), changed(run, ISYM=2)]
    for inputs in kept:
        assert inputs.with_listed_kpoints() is inputs


def test_an_explicit_list_needs_no_symmetry(run, tmp_path):
    points = [[0.0, 0.0, 0.0], [0.1, 0.2, 0.3]]
    listed = Kpoints("list", 2, Kpoints.supported_modes.Reciprocal, points, kpts_weights=[1, 1])
    document = AtomicOrbitals().write(replace(changed(run, ISYM=0), kpoints=listed), tmp_path)
    assert document.n_kpoints == 2


def gamma(run):
    return replace(run, kpoints=Kpoints.gamma_automatic((1, 1, 1)))


def test_the_gamma_only_executable_gets_the_same_orbitals_in_half_of_the_waves(run, tmp_path):
    whole, half = tmp_path / "std", tmp_path / "gam"
    for folder, gamma_only in ((whole, False), (half, True)):
        folder.mkdir()
        AtomicOrbitals().write(replace(gamma(run), gamma_only=gamma_only), folder)
    with WavecarReader(whole / "WAVECAR") as std, WavecarReader(half / "WAVECAR") as gam:
        assert (std.header.half, gam.header.half) == (None, "x")
        all_waves, waves = (file.header.plane_waves(np.zeros(3)) for file in (std, gam))
        assert 2 * len(waves) == len(all_waves) + 1
        at = {tuple(wave): n for n, wave in enumerate(all_waves)}
        expected, found = std.read(0).coefficients, gam.read(0).coefficients
        for n, wave in enumerate(waves):
            own, mirrored = (expected[:, at[tuple(sign * wave)]] for sign in (1, -1))
            np.testing.assert_allclose(own, mirrored.conj(), atol=1e-6)
            factor = np.sqrt(2) if wave.any() else 1.0
            np.testing.assert_allclose(found[:, n], factor * own, atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-5)


def test_a_file_of_ours_is_told_from_a_result(run, tmp_path):
    path = tmp_path / "WAVECAR"
    assert not is_initial_wavecar(path)
    AtomicOrbitals().write(run, tmp_path)
    assert is_initial_wavecar(path)
    with WavecarReader(path) as file:
        header = file.header
        orbitals = [file.read(k) for k in range(header.n_kpoints)]
    points = [found.kpoint for found in orbitals]
    energies = np.arange(1.0, header.n_bands + 1)
    with WavecarWriter(path, header, points, b"mlcharge initial orbitals") as file:
        for found in orbitals:
            file.write(replace(found, energies=energies))
    assert not is_initial_wavecar(path), "a result that was written over it, mark or not"
    for content in (b"", b"\0" * 10, b"of another program" * 9):
        path.write_bytes(content)
        assert not is_initial_wavecar(path)


@pytest.mark.parametrize("size", [49, 60, 100, 1, 2, 3, 8, 16, 17])
def test_a_truncated_file_of_ours_is_no_result(run, tmp_path, size):
    AtomicOrbitals().write(run, tmp_path)
    path = tmp_path / "WAVECAR"
    content = path.read_bytes()
    length = int(np.frombuffer(content[:8])[0])
    for n in (size, length + size, 2 * length + size):
        path.write_bytes(content[:n])
        assert is_initial_wavecar(path) == (n >= 49)


@pytest.mark.parametrize("value", [np.nan, np.inf, -8.0, 0.0, 2.0, 1e15, 1e300])
@pytest.mark.parametrize("record", [0, 1])
def test_a_damaged_file_of_ours_is_no_result(run, tmp_path, record, value):
    """Length of a record, or number of bands."""
    AtomicOrbitals().write(run, tmp_path)
    path = tmp_path / "WAVECAR"
    content = bytearray(path.read_bytes())
    place = record * (int(np.frombuffer(content[:8])[0]) + 8)
    content[place : place + 8] = np.array([value]).tobytes()
    path.write_bytes(content)
    assert is_initial_wavecar(path)


@pytest.fixture
def result(run, tmp_path):
    """WAVECAR of an earlier run."""
    folder = tmp_path / "earlier"
    folder.mkdir()
    AtomicOrbitals().write(run, folder)
    with WavecarReader(folder / "WAVECAR") as file:
        header = replace(file.header, fermi_level=3.0)
        orbitals = [file.read(k) for k in range(header.n_kpoints)]
    with WavecarWriter(folder / "WAVECAR", header, [o.kpoint for o in orbitals]) as file:
        for found in orbitals:
            file.write(replace(found, energies=np.ones(header.n_bands)))
    return folder


@pytest.mark.parametrize("compressed", [False, True])
def test_orbitals_of_an_earlier_run(run, result, tmp_path, compressed):
    with WavecarReader(result / "WAVECAR") as file:
        expected = file.read(1).coefficients
    if compressed:
        content = (result / "WAVECAR").read_bytes()
        (result / "WAVECAR").unlink()
        (result / "WAVECAR.gz").write_bytes(gzip.compress(content))
    document = FromWavecar(str(result)).write(changed(run, ENCUT=70.0), tmp_path)
    assert document.source == "wavecar"
    with WavecarReader(tmp_path / "WAVECAR") as file:
        np.testing.assert_array_equal(file.read(1).coefficients, expected)
    assert is_initial_wavecar(tmp_path / "WAVECAR")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["WAVECAR", "earlier"]


def test_orbitals_of_another_run_are_refused(run, result, tmp_path):
    def refusal(inputs, path=result):
        document = FromWavecar(str(path)).document(inputs, tmp_path)
        assert not (tmp_path / "WAVECAR").exists()
        return document.failure

    assert "is of a run with ISPIN = 1" in refusal(changed(run, ISPIN=2))
    for n, reason in ((3, "k-point 2 is another one"), (4, "has 4 k-points, the run 10")):
        mesh = Kpoints.gamma_automatic((n, n, n))
        assert reason in refusal(replace(run, kpoints=mesh))
    assert "is of the standard version" in refusal(replace(run, gamma_only=True))
    stretched = run.structure.copy()
    stretched.apply_strain(0.1)
    assert "is of another cell" in refusal(replace(run, structure=stretched))
    assert "cannot be read" in refusal(run, tmp_path / "missing")
    (result / "WAVECAR").write_bytes(b"no WAVECAR at all" * 9)
    assert "not a WAVECAR" in refusal(run)


def test_what_cannot_be_made_is_documented(run, tmp_path, monkeypatch):
    monkeypatch.setenv("MLCHARGE_MAX_WAVECAR_SIZE", "1e-6")
    document = AtomicOrbitals().document(run, tmp_path)
    assert document.source == "atomic"
    assert "MAX_WAVECAR_SIZE" in document.failure
