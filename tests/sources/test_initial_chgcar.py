import gzip
from dataclasses import dataclass, replace

import numpy as np
import pytest

from mlcharge_flows.atomate2.jobs.initial_density import InitialDensityMaker
from mlcharge_flows.atomate2.sets.comparison import ComparisonSetGenerator
from mlcharge_flows.density.augmentation import atomic_occupancies, n_occupancies
from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.density import Density, Magnetization
from mlcharge_flows.density.paw_dataset import PawDataset
from mlcharge_flows.scf.run import ScfRun
from mlcharge_flows.sources import (
    Converged,
    Evaluated,
    FromFile,
    InitialDensity,
    RunInputs,
    Same,
    Source,
    SourceError,
    Superposition,
)
from mlcharge_flows.vasp.chgcar import read_chgcar
from mlcharge_flows.vasp.chgcar_writer import write_chgcar

CHANNELS = (0, 0, 1, 1)


def potcar(symbol, zval):
    q = np.linspace(0, 40, 1000)
    return PawDataset(
        symbol,
        f"PAW_PBE {symbol} test",
        zval,
        CHANNELS,
        q_step=q[1],
        form_factor=zval * np.exp(-(q**2) / 16),
        atomic_occupancies=atomic_occupancies(CHANNELS, np.diag([1.0, 0.0, zval / 6, 0.0])),
    )


@pytest.fixture
def inputs(salt, monkeypatch):
    potcars = {"Mg": potcar("Mg", 2.0), "O": potcar("O", 6.0)}
    monkeypatch.setattr(RunInputs, "_potcar", potcars)
    return RunInputs.from_generator(salt, ComparisonSetGenerator())


@pytest.fixture
def density(inputs):
    """Any density that belongs to the inputs."""
    rng = np.random.default_rng(0)
    total = 8.0 / inputs.crystal.volume * (1 + 0.1 * rng.standard_normal(inputs.grid))
    records = tuple(rng.standard_normal(n_occupancies(CHANNELS)) for _ in range(2))
    return Density(inputs.crystal, total, records).scaled_to(8.0)


def from_file(path, augmentation=None):
    """Initial density of a CHGCAR, with its own augmentation occupancies or others."""
    return InitialDensity(FromFile(str(path)), augmentation or Same())


def refusal(tmp_path, inputs, density):
    """The line with which a CHGCAR is refused."""
    write_chgcar(tmp_path / "given", density)
    with pytest.raises(SourceError) as error:
        from_file(tmp_path / "given").write(inputs, tmp_path)
    line = str(error.value)
    assert str(tmp_path / "given") in line
    assert "\n" not in line
    assert not (tmp_path / "CHGCAR").exists()
    return line


def test_inputs_are_what_vasp_will_see(inputs):
    assert inputs.crystal.symbols == ("Mg", "O")
    assert inputs.grid == (28, 28, 28)
    assert inputs.n_electrons == 8.0
    assert inputs.incar["LMAXMIX"] == 4


def test_superposition_is_written_whole(inputs, tmp_path):
    document = InitialDensity(Superposition()).write(inputs, tmp_path)
    written = read_chgcar(tmp_path / "CHGCAR")
    assert document.failure is None
    assert document.grid == written.shape == inputs.grid
    assert written.n_electrons == pytest.approx(8.0, abs=1e-6)
    assert document.n_electrons == pytest.approx(8.0, abs=1e-9)
    assert document.comment == written.comment
    assert document.comment.startswith("mlcharge-superposition-")
    assert len(document.comment) <= 40
    assert document.augmentation_source == "atomic"
    assert [len(record) for record in written.augmentation] == [33, 33]


def test_equal_densities_have_equal_comments(inputs, tmp_path):
    first = InitialDensity(Superposition()).write(inputs, tmp_path)
    assert InitialDensity(Superposition()).write(inputs, tmp_path).sha256 == first.sha256


def test_charged_cells_have_no_superposition(inputs, tmp_path):
    inputs = replace(inputs, incar={**inputs.incar, "NELECT": 7.0})
    with pytest.raises(SourceError, match="charged"):
        InitialDensity(Superposition()).write(inputs, tmp_path)


def test_a_file_is_written_with_the_electrons_and_the_ions_of_the_run(inputs, density, tmp_path):
    """Within what is taken for the same crystal; VASP would move densities of other positions."""
    crystal = density.crystal
    moved = Crystal(
        crystal.lattice, crystal.symbols, crystal.positions + np.outer([1, 0], [0, 0, 1e-3])
    )
    write_chgcar(tmp_path / "given", replace(density, crystal=moved).scaled_to(8.0 + 1e-3))
    from_file(tmp_path / "given").write(inputs, tmp_path)
    written = read_chgcar(tmp_path / "CHGCAR")
    np.testing.assert_allclose(written.crystal.positions, inputs.crystal.positions, atol=1e-6)
    assert written.n_electrons == pytest.approx(8.0, abs=1e-6)
    assert written.total[0, 0, 0] == pytest.approx(density.total[0, 0, 0], rel=1e-6)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_file_of_the_run_is_kept(inputs, density, tmp_path, suffix):
    path = tmp_path / f"given{suffix}"
    write_chgcar(path, density)
    document = from_file(path).write(inputs, tmp_path)
    written = read_chgcar(tmp_path / "CHGCAR")
    assert document.warnings == []
    np.testing.assert_allclose(written.total, density.total, atol=1e-9)
    np.testing.assert_allclose(written.augmentation, density.augmentation, rtol=1e-6)


def test_another_grid_is_interpolated(inputs, density, tmp_path):
    coarse = replace(density, total=density.total[::2, ::2, ::2]).scaled_to(8.0)
    write_chgcar(tmp_path / "given", coarse)
    document = from_file(tmp_path / "given").write(inputs, tmp_path)
    assert "interpolated from grid (14, 14, 14) to (28, 28, 28)" in document.warnings[0]
    assert read_chgcar(tmp_path / "CHGCAR").n_electrons == pytest.approx(8.0, abs=1e-6)


def test_a_spin_part_is_left_out_of_a_run_without_spin(inputs, density, tmp_path):
    spin = Magnetization(0 * density.total, density.augmentation, np.zeros(2))
    write_chgcar(tmp_path / "given", replace(density, magnetization=spin))
    document = from_file(tmp_path / "given").write(inputs, tmp_path)
    assert "ISPIN = 1" in document.warnings[0]
    assert read_chgcar(tmp_path / "CHGCAR").magnetization is None


def test_other_elements(inputs, density, tmp_path):
    crystal = Crystal(density.crystal.lattice, ("Ca", "O"), density.crystal.positions)
    line = refusal(tmp_path, inputs, replace(density, crystal=crystal))
    assert "another structure, Ca1 O1 instead of Mg1 O1" in line


def test_another_lattice(inputs, density, tmp_path):
    crystal = replace(density.crystal, lattice=density.crystal.lattice * 1.02)
    other = replace(density, crystal=crystal).scaled_to(8.0)
    assert "lattice vectors differ" in refusal(tmp_path, inputs, other)


def test_moved_ions(inputs, density, tmp_path):
    positions = density.crystal.positions + np.array([[0, 0, 0], [0, 0, 0.1]])
    moved = replace(density, crystal=replace(density.crystal, positions=positions))
    assert "ion 2 (O) is 0.300 angstrom from" in refusal(tmp_path, inputs, moved)


def test_lattice_translations_are_the_same_place(inputs, density, tmp_path):
    positions = density.crystal.positions + np.array([[1, 0, -2], [0, 0, 0]])
    write_chgcar(
        tmp_path / "given",
        replace(density, crystal=replace(density.crystal, positions=positions)),
    )
    assert from_file(tmp_path / "given").write(inputs, tmp_path).warnings == []


def test_another_electron_count(inputs, density, tmp_path):
    line = refusal(tmp_path, inputs, density.scaled_to(9.0))
    assert "holds 9.0000 electrons, the run has 8.0000" in line


def test_an_ion_with_one_occupancy_too_few(inputs, density, tmp_path):
    first, second = density.augmentation
    short = replace(density, augmentation=(first, second[:-1]))
    line = refusal(tmp_path, inputs, short)
    assert "ion 2 has 32 occupancies, its PAW data set needs 33" in line


def test_occupancies_cut_within_the_file(inputs, density, tmp_path):
    write_chgcar(tmp_path / "given", density)
    lines = (tmp_path / "given").read_text().splitlines(keepends=True)
    (tmp_path / "given").write_text("".join(lines[:-1]))
    with pytest.raises(SourceError, match="occupancies of ion 2"):
        from_file(tmp_path / "given").write(inputs, tmp_path)
    # The grid is whole: with atomic occupancies the file is of use.
    maker = from_file(tmp_path / "given", Superposition())
    assert maker.write(inputs, tmp_path).augmentation_source == "atomic"


def test_a_file_without_occupancies(inputs, density, tmp_path):
    bare = replace(density, augmentation=None)
    assert "no augmentation occupancies" in refusal(tmp_path, inputs, bare)
    document = from_file(tmp_path / "given", Superposition()).write(inputs, tmp_path)
    assert document.augmentation_source == "atomic"
    assert read_chgcar(tmp_path / "CHGCAR").augmentation is not None


def test_nan_in_the_grid(inputs, density, tmp_path):
    write_chgcar(tmp_path / "given", density)
    lines = (tmp_path / "given").read_text().splitlines(keepends=True)
    lines[20] = f"{'NaN':>18}" * 5 + "\n"
    (tmp_path / "given").write_text("".join(lines))
    with pytest.raises(SourceError, match="given"):
        from_file(tmp_path / "given").write(inputs, tmp_path)


def test_a_missing_file(inputs, tmp_path):
    with pytest.raises(SourceError, match="No such file"):
        from_file(tmp_path / "none").write(inputs, tmp_path)


def test_converged_needs_a_converged_run(inputs, tmp_path):
    with pytest.raises(SourceError, match="no earlier run"):
        InitialDensity(Converged()).write(inputs, tmp_path)
    inputs = replace(inputs, reference_run=tmp_path)
    with pytest.raises(SourceError, match=f"^{tmp_path}: the executable wrote nothing$"):
        InitialDensity(Converged()).write(inputs, tmp_path)


@pytest.mark.parametrize(("name", "pack"), [("CHGCAR", bytes), ("CHGCAR.gz", gzip.compress)])
def test_a_prediction_does_not_pass_for_the_converged_density(
    inputs, tmp_path, monkeypatch, name, pack
):
    """A scratch directory left it there in runs of before."""
    InitialDensity(Superposition()).write(inputs, tmp_path)
    content = (tmp_path / "CHGCAR").read_bytes()
    (tmp_path / "CHGCAR").unlink()
    (tmp_path / name).write_bytes(pack(content))
    finished = ScfRun(folder=str(tmp_path), converged=True)
    monkeypatch.setattr("mlcharge_flows.sources.from_file.count_run", lambda folder: finished)
    with pytest.raises(SourceError, match=f"{name}: is what the run began from, not its result"):
        InitialDensity(Converged()).evaluate(replace(inputs, reference_run=tmp_path))


def test_the_host_of_an_earlier_run_is_left_out(salt, inputs, tmp_path):
    given = RunInputs.from_generator(salt, ComparisonSetGenerator(), f"host:{tmp_path}")
    assert given.reference_run == tmp_path


def test_a_failure_can_be_documented(salt, inputs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    maker = InitialDensityMaker(initial_density=from_file("none"), on_error="record")
    document = maker.make.original(maker, salt, ComparisonSetGenerator())
    assert document.path is None
    assert "none: cannot be read" in document.failure
    assert document.density_source == "file"


@dataclass(frozen=True)
class Given(Source):
    """Whatever density a test wants to have written."""

    density: Density
    word = "given"

    def evaluate(self, inputs, given=None):
        return Evaluated(self.density)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: replace(d, total=d.total * np.nan), "not finite"),
        (lambda d: replace(d, total=d.total * 1.01), "the density holds 8.0800 electrons"),
        (lambda d: replace(d, total=d.total[1:]), "on grid (27, 28, 28), VASP's is (28, 28, 28)"),
        (lambda d: replace(d, augmentation=None), "no occupancies"),
        (
            lambda d: replace(d, augmentation=(d.augmentation[0], d.augmentation[1][:-1])),
            "ion 2 (O) are 32, its PAW data set has 33",
        ),
        (
            lambda d: replace(d, augmentation=(0 * d.augmentation[0], d.augmentation[1])),
            "ion 1 (Mg) are all zero",
        ),
        (
            lambda d: replace(d, augmentation=(d.augmentation[0], d.augmentation[1] * 1e4)),
            "ion 2 (O) reach ",
        ),
        (
            lambda d: replace(d, augmentation=(d.augmentation[0], d.augmentation[1] * np.inf)),
            "not finite",
        ),
    ],
)
def test_what_vasp_would_drop_is_not_written(inputs, density, tmp_path, change, reason):
    assert InitialDensity(Given(density)).write(inputs, tmp_path).path
    (tmp_path / "CHGCAR").unlink()
    with pytest.raises(SourceError) as error:
        InitialDensity(Given(change(density))).write(inputs, tmp_path)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())
