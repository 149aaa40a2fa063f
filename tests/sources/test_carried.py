"""Densities carried over to almost the same crystal obey the laws of a density."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from pymatgen.core import Structure
from pymatgen.io.vasp import Poscar

from mlcharge_flows.density.augmentation import rotate
from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.density import Density, Magnetization, superpose
from mlcharge_flows.density.grid import to_other_cell
from mlcharge_flows.models.domain import GeometryBounds
from mlcharge_flows.models.registry import Registry
from mlcharge_flows.scf.run import ScfRun
from mlcharge_flows.sources import (
    Anchored,
    Carried,
    Fallback,
    InitialDensity,
    Learned,
    RunInputs,
    SourceError,
    Superposition,
)
from mlcharge_flows.sources.carried import carry
from mlcharge_flows.sources.crystal_match import MatchError
from mlcharge_flows.testing.crystals import random_crystal, random_rotation, rotated
from mlcharge_flows.testing.laws import ROUNDING, Tolerance, assert_same_density
from mlcharge_flows.vasp.chgcar import read_chgcar
from mlcharge_flows.vasp.chgcar_writer import write_chgcar

SHAPE = (15, 17, 19)
SYMBOLS = ("Mg", "O", "O", "Mg")
CHANNELS = (0, 0, 1, 1)


@pytest.fixture
def rng():
    return np.random.default_rng(8)


@pytest.fixture
def reference(atoms, rng):
    """A magnetic density that no model knows: long waves, and occupancies of no symmetry."""
    crystal = random_crystal(rng, SYMBOLS)
    density = superpose(crystal, atoms, SHAPE)
    return replace(
        density,
        total=density.total + 0.03 * long_waves(rng),
        augmentation=tuple(v + 0.1 * rng.normal(size=v.shape) for v in density.augmentation),
        magnetization=Magnetization(
            0.1 + 0.02 * long_waves(rng),
            tuple(0.1 * rng.normal(size=v.shape) for v in density.augmentation),
            np.array([2.0, -2.0, 0.5, 1.0]),
        ),
    )


def long_waves(rng):
    """A function without a mean."""
    points = np.stack(np.meshgrid(*[np.arange(n) / n for n in SHAPE], indexing="ij"), axis=-1)
    found = np.zeros(SHAPE)
    for h in product((-1, 0, 1, 2), repeat=3):
        if any(h):
            found += rng.normal() * np.cos(2 * np.pi * (points @ np.array(h) + rng.random()))
    return found


@pytest.fixture
def inputs_of(atoms):
    """Inputs of a run of a crystal."""

    def inputs_of(crystal, shape=SHAPE, **tags):
        grid = dict(zip(("NGXF", "NGYF", "NGZF"), shape, strict=True))
        structure = Structure(crystal.lattice, crystal.symbols, crystal.positions)
        incar = {"ENCUT": 300, "PREC": "Normal", "ISPIN": 2, **grid, **tags}
        return RunInputs(structure, incar, supplied_datasets=atoms)

    return inputs_of


@pytest.fixture
def carried(reference, inputs_of):
    def carried(crystal, shape=SHAPE, **tags):
        return carry(reference, inputs_of(crystal, shape, **tags), Superposition()).density

    return carried


def displaced(crystal, rng, strain=0.0):
    """Every ion by a tenth of an angstrom or so, and the cell strained."""
    moves = rng.normal(0, 0.05, (len(crystal), 3)) @ np.linalg.inv(crystal.lattice)
    stretch = np.eye(3) + strain * rng.uniform(-1, 1, (3, 3))
    return Crystal(crystal.lattice @ stretch, crystal.symbols, crystal.positions + moves)


def assert_same(found, expected, tolerance=ROUNDING):
    """The same in total, magnetization and all occupancies."""
    assert_same_density(found, expected, tolerance)
    tolerance.assert_close(found.magnetization.grid, expected.magnetization.grid)
    tolerance.assert_close(found.magnetization.moments, expected.magnetization.moments)
    pairs = zip(found.magnetization.augmentation, expected.magnetization.augmentation, strict=True)
    for one, other in pairs:
        tolerance.assert_close(one, other)


def test_the_same_crystal_has_the_same_density(reference, carried):
    found = carried(reference.crystal)
    assert_same(found, reference, Tolerance(1e-15, 0.0))


def test_displaced_ions_take_their_atoms_along(reference, carried, atoms, rng):
    crystal = displaced(reference.crystal, rng)
    rigid = np.median(crystal.positions - reference.crystal.positions, axis=0)
    before = superpose(reference.crystal, atoms, SHAPE).total
    after = superpose(crystal, atoms, SHAPE).total
    smooth = to_other_cell(reference.total - before, SHAPE, np.eye(3, dtype=int), rigid)
    found = carried(crystal)
    ROUNDING.assert_close(found.total, after + smooth)
    for one, other in zip(found.augmentation, reference.augmentation, strict=True):
        ROUNDING.assert_close(one, other)
    assert np.abs(found.total - reference.total).max() > 0.05, "the atoms have moved"


@pytest.mark.parametrize("strain", [0.0, 0.03])
@pytest.mark.parametrize("repeats", [(1, 1, 1), (2, 1, 3)])
def test_the_number_of_electrons_is_that_of_the_run(reference, carried, strain, repeats, rng):
    crystal = repeated(displaced(reference.crystal, rng, strain), repeats)
    shape = tuple(int(n) for n in np.array(SHAPE) * repeats)
    found = carried(crystal, shape)
    n = 16.0 * np.prod(repeats)
    assert found.n_electrons == pytest.approx(n, rel=1e-13)
    moment = np.mean(found.magnetization.grid) * crystal.volume
    of_reference = np.mean(reference.magnetization.grid) * reference.crystal.volume
    assert moment == pytest.approx(of_reference * np.prod(repeats), rel=1e-12)


def test_electrons_are_right_before_they_are_scaled(reference, carried, monkeypatch, rng):
    monkeypatch.setattr(Density, "scaled_to", lambda density, n: density)
    reference_electrons = reference.n_electrons
    found = carried(displaced(reference.crystal, rng, 0.03))
    assert found.n_electrons == pytest.approx(reference_electrons, rel=1e-9)


@pytest.mark.parametrize("proper", [True, False])
def test_a_turned_crystal_turns_the_occupancies_alone(reference, carried, proper, rng, atoms):
    crystal = displaced(reference.crystal, rng, 0.02)
    rotation = random_rotation(rng, proper=proper)
    plain = carried(crystal)
    found = carried(rotated(crystal, rotation))
    turn = [rotate(v, CHANNELS, rotation) for v in plain.augmentation]
    spin = plain.magnetization
    spins = tuple(rotate(v, CHANNELS, rotation) for v in spin.augmentation)
    expected = replace(
        plain, augmentation=tuple(turn), magnetization=replace(spin, augmentation=spins)
    )
    assert_same(found, expected, Tolerance(1e-9, 1e-9))


def test_a_rigid_translation_by_a_grid_vector_rolls_the_grid(reference, carried, rng):
    crystal = displaced(reference.crystal, rng)
    steps = (3, -4, 7)
    plain = carried(crystal)
    found = carried(replace(crystal, positions=crystal.positions + np.array(steps) / SHAPE))
    spin = plain.magnetization
    spin = replace(spin, grid=np.roll(spin.grid, steps, (0, 1, 2)))
    expected = replace(plain, total=np.roll(plain.total, steps, (0, 1, 2)), magnetization=spin)
    assert_same(found, expected)


def test_a_rigid_translation_by_a_fraction_translates_the_waves(reference, carried, rng):
    crystal = displaced(reference.crystal, rng)
    shift = np.array([0.013, -0.21, 0.47])
    plain = carried(crystal)
    found = carried(replace(crystal, positions=crystal.positions + shift))

    def moved(values):
        return to_other_cell(values, SHAPE, np.eye(3, dtype=int), shift)

    spin = replace(plain.magnetization, grid=moved(plain.magnetization.grid))
    assert_same(found, replace(plain, total=moved(plain.total), magnetization=spin))


def test_another_order_of_the_ions_permutes_the_occupancies(reference, carried, rng):
    crystal = displaced(reference.crystal, rng, 0.02)
    order = [2, 0, 3, 1]
    plain = carried(crystal)
    symbols = tuple(crystal.symbols[ion] for ion in order)
    found = carried(Crystal(crystal.lattice, symbols, crystal.positions[order]))
    spin = plain.magnetization
    expected = replace(
        plain,
        augmentation=tuple(plain.augmentation[ion] for ion in order),
        magnetization=Magnetization(
            spin.grid, tuple(spin.augmentation[ion] for ion in order), spin.moments[order]
        ),
    )
    assert_same(found, expected)


def repeated(crystal, repeats):
    cells = np.array(list(product(*map(range, repeats))))
    positions = ((crystal.positions[None] + cells[:, None]) / repeats).reshape(-1, 3)
    lattice = crystal.lattice * np.array(repeats)[:, None]
    return Crystal(lattice, crystal.symbols * len(cells), positions)


@pytest.mark.parametrize("moved", [False, True], ids=["of itself", "displaced"])
def test_a_supercell_has_the_density_of_its_cells(reference, carried, moved, rng):
    repeats = (2, 1, 3)
    crystal = displaced(reference.crystal, rng, 0.02) if moved else reference.crystal
    plain = carried(crystal)
    shape = tuple(int(n) for n in np.array(SHAPE) * repeats)
    found = carried(repeated(crystal, repeats), shape)
    spin = plain.magnetization
    expected = replace(
        plain,
        crystal=found.crystal,
        total=np.tile(plain.total, repeats),
        augmentation=plain.augmentation * 6,
        magnetization=Magnetization(
            np.tile(spin.grid, repeats), spin.augmentation * 6, np.tile(spin.moments, 6)
        ),
    )
    assert_same(found, expected)


def test_a_cell_of_other_lattice_vectors(reference, carried, rng):
    """The density at a point in space does not depend on the lattice vectors."""
    cells = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1]])
    crystal = displaced(reference.crystal, rng, 0.02)
    other = Crystal(
        cells @ crystal.lattice, crystal.symbols, crystal.positions @ np.linalg.inv(cells)
    )
    shape = (41, 43, 41)
    found = carried(other, shape)
    fine = carried(crystal, shape)
    # Beyond the long waves, both grids hold the same waves of the atoms up to their corners.
    expected = to_other_cell(fine.total, shape, cells)
    np.testing.assert_allclose(found.total, expected, atol=2e-4)
    for one, other in zip(found.augmentation, fine.augmentation, strict=True):
        ROUNDING.assert_close(one, other)


def test_another_grid_is_interpolated(reference, carried, atoms):
    shape = (20, 21, 24)
    found = carried(reference.crystal, shape)
    np.testing.assert_allclose(
        found.total, to_other_cell(reference.total, shape, np.eye(3, dtype=int)), atol=1e-12
    )


def test_a_run_without_spin_leaves_the_magnetization_out(reference, inputs_of):
    found = carry(reference, inputs_of(reference.crystal, ISPIN=1), Superposition())
    assert found.density.magnetization is None
    assert "the magnetization is left out, the run has ISPIN = 1" in found.warnings


@pytest.mark.parametrize(
    ("moments", "kept"),
    [([2, -2, 0.5, 1], True), ([5, -5, 0, 1], True), ([5, 5, 1, 1], False), (None, True)],
)
def test_moments_of_other_signs_are_not_overridden(reference, inputs_of, moments, kept):
    tags = {} if moments is None else {"MAGMOM": moments}
    found = carry(reference, inputs_of(reference.crystal, **tags), Superposition())
    assert (found.density.magnetization is not None) == kept
    assert any("MAGMOM" in line for line in found.warnings) != kept


def test_a_charged_cell_keeps_its_charge(reference, inputs_of, rng):
    charged = replace(reference, total=reference.total - 1 / reference.crystal.volume)
    crystal = displaced(reference.crystal, rng, 0.02)
    found = carry(charged, inputs_of(crystal, NELECT=15.0), Superposition()).density
    assert found.n_electrons == pytest.approx(15.0, abs=1e-12)
    with pytest.raises(SourceError, match=r"holds 15\.0000 electrons for the ions of the run"):
        carry(charged, inputs_of(crystal), Superposition())


def test_other_occupancies_are_refused(reference, inputs_of, atoms, tiny):
    inputs = inputs_of(reference.crystal)
    short = tuple(values[:15] for values in reference.augmentation)
    with pytest.raises(SourceError, match="ion 1 has 15 occupancies"):
        carry(replace(reference, augmentation=short), inputs, Superposition())
    with pytest.raises(SourceError, match="no augmentation occupancies"):
        carry(replace(reference, augmentation=None), inputs, Superposition())


def test_another_crystal_is_refused(reference, inputs_of):
    other = Crystal(reference.crystal.lattice, ("Mg", "O", "Mg", "Mg"), reference.crystal.positions)
    with pytest.raises(MatchError, match="another composition"):
        carry(reference, inputs_of(other), Superposition())


@pytest.fixture
def folder(reference, tmp_path, monkeypatch):
    """Folder of a finished run with that density; its outputs are not looked at."""
    folder = tmp_path / "finished"
    folder.mkdir()
    write_chgcar(folder / "CHGCAR", reference)
    finished = ScfRun(folder=str(folder), converged=True)
    monkeypatch.setattr("mlcharge_flows.sources.from_file.count_run", lambda folder: finished)
    return folder


def test_the_density_of_a_finished_run_is_written_for_another(
    folder, reference, inputs_of, tmp_path, rng
):
    crystal = displaced(reference.crystal, rng, 0.01)
    document = InitialDensity(Carried(str(folder))).write(inputs_of(crystal), tmp_path)
    assert (document.density_source, document.augmentation_source) == ("carried", "carried")
    assert document.reference_run == str(folder)
    assert document.warnings[0].startswith("ions moved by up to 0.1")
    assert document.comment.startswith("mlcharge-carried-")
    written = read_chgcar(tmp_path / "CHGCAR")
    np.testing.assert_allclose(written.crystal.positions, crystal.positions, atol=1e-6)
    previous = replace(inputs_of(crystal), reference_run=folder)
    again = InitialDensity(Carried()).evaluate(previous)
    # The header has six decimals of the lattice vectors, by whose volume the reader divides.
    electrons = written.total * written.crystal.volume / crystal.volume
    np.testing.assert_allclose(again.density.total, electrons, rtol=1e-9, atol=1e-10)


def test_the_same_crystal_is_written_as_it_was_read(folder, reference, inputs_of, tmp_path):
    read = read_chgcar(folder / "CHGCAR")
    inputs = inputs_of(read.crystal)
    InitialDensity(Carried(str(folder))).write(inputs, tmp_path)
    written = read_chgcar(tmp_path / "CHGCAR")
    assert_same(written, read, Tolerance(1e-9, 1e-10))


def test_why_a_run_is_of_no_use(folder, reference, inputs_of, tmp_path, atoms, monkeypatch):
    inputs = inputs_of(reference.crystal)

    def reason(source, inputs=inputs):
        with pytest.raises(SourceError) as error:
            source.evaluate(inputs)
        assert "\n" not in str(error.value)
        return str(error.value)

    assert reason(Carried()) == "no earlier run to carry the density over from"
    assert reason(Carried("/gone")) == "/gone: the earlier run is gone, and its density with it"
    far = replace(reference.crystal, positions=reference.crystal.positions * [1.5, 1, 0.6])
    assert reason(Carried(str(folder)), inputs_of(far)).startswith(f"{folder}: has an ion more")
    assert "magic" not in reason(Carried(str(folder)), inputs_of(far))
    monkeypatch.setattr(RunInputs, "_potcar", atoms)
    (folder / "POTCAR").write_text("   TITEL  = PAW_PBE Mg test\n   TITEL  = PAW_PBE O other\n")
    assert reason(Carried(str(folder))) == f"{folder}: has other PAW data sets, not PAW_PBE O test"
    (folder / "CHGCAR").unlink()
    (folder / "POTCAR").unlink()
    assert "No such file" in reason(Carried(str(folder)))


def test_positions_of_the_run_are_those_of_the_file(folder, reference, inputs_of, tmp_path, rng):
    """VASP moves a density by what its header's positions lack: nothing may be left to move."""
    inputs = inputs_of(displaced(reference.crystal, rng))
    InitialDensity(Carried(str(folder))).write(inputs, tmp_path)
    written = read_chgcar(tmp_path / "CHGCAR").crystal
    assert inputs.crystal.displacements(written.positions).max() < 1e-5
    expected = Poscar(inputs.structure).structure.lattice.matrix
    np.testing.assert_allclose(written.lattice, expected, atol=1e-6)


def test_an_anchored_density_has_what_the_model_gets_wrong_in_both(
    folder, reference, inputs_of, atoms, tiny, tmp_path, rng
):
    """Where the density is the model's own everywhere, the anchored one is as exact."""
    crystal = displaced(reference.crystal, rng)
    path = tmp_path / "models" / "tiny.safetensors"
    tiny.write(path, atoms, [reference.crystal, crystal], name="tiny")
    model = Registry(tmp_path / "models").load(str(path)).model
    read = read_chgcar(folder / "CHGCAR")
    predicted = model.predict(read.crystal, SHAPE)
    rest = 0.02 * np.ones(len(read.augmentation[0]))
    own = replace(
        predicted,
        augmentation=tuple(values + rest for values in predicted.augmentation),
        magnetization=None,
    )
    write_chgcar(folder / "CHGCAR", own)
    document = InitialDensity(Anchored(str(folder), str(path))).write(inputs_of(crystal), tmp_path)
    assert (document.density_source, document.model) == ("anchored", "tiny")
    assert len(document.checkpoint) == 64
    expected = model.predict(crystal, SHAPE)
    found = read_chgcar(tmp_path / "CHGCAR")
    np.testing.assert_allclose(found.total, expected.total, rtol=1e-5, atol=1e-6)
    for one, other in zip(found.augmentation, expected.augmentation, strict=True):
        np.testing.assert_allclose(one, other + rest, atol=1e-6)


def test_anchored_by_the_superposition_is_carried(folder, inputs_of, reference, monkeypatch, rng):
    inputs = inputs_of(displaced(reference.crystal, rng, 0.01))
    carried = Carried(str(folder)).evaluate(inputs).density
    monkeypatch.setattr(Learned, "evaluate", lambda self, *args: Superposition().evaluate(*args))
    assert_same(Anchored(str(folder)).evaluate(inputs).density, carried, Tolerance(0.0, 0.0))


def test_a_model_that_refuses_one_of_both_crystals(
    folder, inputs_of, reference, atoms, tiny, tmp_path, rng
):
    inputs = inputs_of(displaced(reference.crystal, rng, 0.01))
    path = tmp_path / "models" / "tiny.safetensors"
    far = GeometryBounds.of([reference.crystal], [SHAPE]).model_copy(
        update={"volume": (100.0, 120.0)}
    )
    tiny.write(path, atoms, [reference.crystal], name="tiny", geometry=far)
    with pytest.raises(SourceError, match=f"^{folder}: .*outside what the model") as error:
        Anchored(str(folder), str(path)).evaluate(inputs)
    assert "\n" not in str(error.value)
    chain = Fallback((Anchored(str(folder), str(path)), Carried(str(folder))))
    document = InitialDensity(chain).write(inputs, tmp_path)
    assert (document.density_source, document.model) == ("carried", None)
    assert document.reference_run == str(folder)
    assert "outside what the model" in document.warnings[0]
