"""Symmetry: of centered lattices on VASP's grids, and of k-point meshes that lack some of it."""

import numpy as np
import pytest

pytest.importorskip("gpaw", reason="needs the gpaw extra")

from ase import Atoms
from gpaw.dft import Symmetry
from gpaw.new.symmetry import SymmetryAnalysisBug
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp.inputs import Kpoints
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.gpaw_vasp.bz_sampling import Sampling
from mlcharge_flows.gpaw_vasp.errors import UnsupportedInputError
from mlcharge_flows.gpaw_vasp.execute import execute
from mlcharge_flows.gpaw_vasp.inputs import read_inputs
from mlcharge_flows.gpaw_vasp.symmetry import gpaw_symmetry, symmetric_grid
from mlcharge_flows.vasp.chgcar import read_chgcar
from mlcharge_flows.vasp.irreducible_kpoints import irreducible_kpoints
from mlcharge_flows.vasp.kpoints import KPointSet

A, C = 2.6, 5.6

GAMMA = KPointSet("Gamma", (1, 1, 1))


@pytest.fixture
def tetragonal():
    """A body-centered cell by two edges and half the diagonal: a turn mixes the third with them."""
    lattice = Lattice([[A, 0, 0], [0, A, 0], [A / 2, A / 2, C / 2]])
    return Structure(lattice, ["He", "Be"], [[0, 0, 0], [0.5, 0.5, 0.0]])


def crystal_of(structure):
    return Crystal(
        structure.lattice.matrix,
        tuple(site.specie.symbol for site in structure),
        structure.frac_coords,
    )


def rotations(structure):
    operations = SpacegroupAnalyzer(structure).get_symmetry_operations()
    return np.rint([operation.rotation_matrix for operation in operations]).astype(int)


def asymmetry(structure, total):
    """Largest difference of plane waves that the space group makes equal, over the largest."""
    waves = np.fft.fftn(total) / total.size
    miller = np.stack(np.meshgrid(*[range(-3, 4)] * 3, indexing="ij"), -1).reshape(-1, 3)
    worst = 0.0
    for operation in SpacegroupAnalyzer(structure).get_symmetry_operations():
        turned = miller @ np.rint(operation.rotation_matrix).astype(int)
        kept = np.all(np.abs(turned) < np.array(total.shape) / 2, axis=1)
        phase = np.exp(2j * np.pi * miller @ operation.translation_vector)
        difference = waves[tuple(miller.T)] * phase - waves[tuple(turned.T)]
        worst = max(worst, np.abs(difference[kept]).max())
    return worst / np.abs(waves.ravel()[1:]).max()


def test_mixed_vectors_are_divided_alike(tetragonal):
    assert symmetric_grid((16, 16, 20), rotations(tetragonal)) == (20, 20, 20)
    straight = Structure(Lattice.tetragonal(A, C), ["He"], [[0, 0, 0]])
    assert symmetric_grid((16, 16, 20), rotations(straight)) == (16, 16, 20)
    assert symmetric_grid((12, 14, 16), np.eye(3, dtype=int)[None]) == (12, 14, 16)


def test_rotations_that_are_no_group_are_one_line(run_folder, tetragonal, monkeypatch):
    def build(*given, **options):
        raise SymmetryAnalysisBug("Sorry!")

    monkeypatch.setattr(Symmetry, "build", build)
    folder = run_folder("HeBe", "no-group", Kpoints.gamma_automatic((1, 1, 1)), tetragonal)
    with pytest.raises(
        UnsupportedInputError, match=r"POSCAR: .* no group; standardize the cell, or set ISYM"
    ):
        execute(folder)


def test_rotations_that_half_hold_are_taken_together():
    """Positions a little off: some rotations hold within SYMPREC, products of them do not."""
    lattice = Lattice.from_parameters(3.57957, 3.57957, 3.91353, 117.2151, 117.2151, 90.0)
    for noise in np.random.default_rng(0).normal(scale=4e-6, size=(20, 4, 3)):
        crystal = Crystal(
            lattice.matrix + noise[:3], ("Ca", "N"), [[0, 0, 0], [0.5, 0.5, 0] + noise[3]]
        )
        found = gpaw_symmetry(crystal, 2, 1e-5, GAMMA)
        atoms = Atoms(
            crystal.symbols, cell=crystal.lattice, scaled_positions=crystal.positions, pbc=True
        )
        group = found.build(atoms)  # refuses what is no group
        assert len(group) == len(found.rotations)
        for rotation, atom_map in zip(group.rotation_scc, group.atommap_sa, strict=True):
            apart = crystal.positions @ rotation - crystal.positions[atom_map]
            assert np.abs(apart - apart.round()).max() < 1e-4
        assert len(gpaw_symmetry(crystal, 0, 1e-5, GAMMA).rotations) == 1


def test_rotations_of_a_skewed_cell_are_all_found():
    """A long basis of a cubic lattice, where rotations hold numbers beyond 1."""
    skewed = [[1, 0, 0], [3, 1, 0], [0, 2, 1]]
    crystal = Crystal(np.array(skewed) * 4.0, ("He",), np.zeros((1, 3)))
    assert len(gpaw_symmetry(crystal, 2, 1e-5, GAMMA).rotations) == 48


@pytest.mark.gpaw
def test_a_converged_density_has_the_symmetry_of_the_crystal(run_folder, tetragonal):
    runs = {}
    for isym in (2, -1):
        kpoints = Kpoints.gamma_automatic((3, 3, 3))
        folder = run_folder(
            "HeBe", f"isym{isym}", kpoints, tetragonal, ISYM=isym, ENCUT=250, EDIFF=1e-7
        )
        runs[isym] = execute(folder), read_chgcar(folder / "CHGCAR")
    (symmetric, density), (free, expected) = runs.values()
    assert len(set(density.shape)) > 1  # VASP's grid lacks the four-fold axis
    assert len(symmetric.kpoints) < len(free.kpoints)
    assert asymmetry(tetragonal, density.total) < 1e-3
    assert symmetric.steps[-1].energy_zero == pytest.approx(free.steps[-1].energy_zero, abs=2e-3)
    change = np.abs(density.total - expected.total).sum()
    assert change < 5e-3 * np.abs(expected.total).sum()


@pytest.mark.parametrize(
    ("scheme", "divisions", "shift", "kept"),
    [
        ("Gamma", (2, 2, 2), (0.0, 0.0, 0.0), 48),
        ("Monkhorst-Pack", (2, 2, 2), (0.0, 0.0, 0.0), 48),
        ("Gamma", (2, 2, 2), (0.5, 0.5, 0.5), 48),
        ("Gamma", (2, 2, 3), (0.0, 0.0, 0.0), 16),
        ("Gamma", (2, 3, 4), (0.0, 0.0, 0.0), 8),
        ("Gamma", (2, 2, 2), (0.5, 0.0, 0.0), 16),
        ("Gamma", (2, 2, 2), (0.2, 0.0, 0.0), 8),
    ],
)
def test_rotations_that_a_mesh_lacks_are_left_out(scheme, divisions, shift, kept):
    """Of a cube: every rotation that is kept maps the points of the mesh onto each other."""
    cube = Crystal(np.eye(3) * 3.0, ("Po",), np.zeros((1, 3)))
    mesh = KPointSet(scheme, divisions, shift)
    found = gpaw_symmetry(cube, 2, 1e-5, mesh).rotations
    assert len(found) == kept
    points = Sampling(mesh).build(None).kpt_Kc

    def wrapped(kpoints):
        return {tuple(point) for point in np.round(np.mod(kpoints + 1e-9, 1.0), 6)}

    every = gpaw_symmetry(cube, 2, 1e-5, GAMMA).rotations
    brute = [wrapped(points @ rotation.T) == wrapped(points) for rotation in every]
    assert sum(brute) == kept


@pytest.mark.gpaw
def test_a_mesh_that_breaks_the_symmetry_is_computed_as_without_symmetry(run_folder):
    """Energy, forces and stress (kB); the stress of the cubic crystal is then far from cubic."""
    runs = []
    for isym in (2, 0):
        mesh = Kpoints.gamma_automatic((3, 3, 1))
        folder = run_folder("MgO", f"isym{isym}", mesh, ISYM=isym, EDIFF=1e-7)
        runs.append(execute(folder))
    symmetric, free = runs
    assert len(symmetric.kpoints) < len(free.kpoints)
    assert symmetric.steps[-1].energy_zero == pytest.approx(free.steps[-1].energy_zero, abs=1e-5)
    np.testing.assert_allclose(symmetric.forces, free.forces, atol=1e-3)
    np.testing.assert_allclose(symmetric.stress, free.stress, atol=1.0)
    assert np.ptp(np.linalg.eigvalsh(free.stress)) > 100.0


def test_one_operation_of_each_rotation_with_its_translation():
    """A rutile-like crystal, with screws of a quarter turn, and its cell of twice the length."""
    lattice = Lattice.tetragonal(4.6, 2.96)
    positions = [[0, 0, 0], [0.5, 0.5, 0.5], *([s * 0.305] * 2 + [0] for s in (1, -1))]
    positions += [[0.5 + s * 0.305, 0.5 - s * 0.305, 0.5] for s in (1, -1)]
    rutile = Structure(lattice, ["Ti"] * 2 + ["O"] * 4, positions)
    for structure in (rutile, rutile * (1, 1, 2)):
        crystal = crystal_of(structure)
        found = gpaw_symmetry(crystal, 2, 1e-5, GAMMA)
        assert len(found.rotations) == 16
        assert np.count_nonzero(found.translations.any(axis=1)) == 8
        atoms = Atoms(
            crystal.symbols, cell=crystal.lattice, scaled_positions=crystal.positions, pbc=True
        )
        group = found.build(atoms)
        group.check_positions(crystal.positions)
        assert group.check_grid(symmetric_grid((15, 15, 9), found.rotations, found.translations))


def test_operations_that_no_grid_keeps_are_left_out_and_said(run_folder):
    lattice = Lattice.hexagonal(3.2, 5.2)
    close_packed = [[1 / 3, 2 / 3, 1 / 4], [2 / 3, 1 / 3, 3 / 4]]
    crystals = {
        name: Structure(lattice, ["Mg"] * 2, np.array(close_packed) + shift)
        for name, shift in {"at origin": 0.0, "moved": 0.0123}.items()
    }
    diamond = Structure.from_spacegroup("Fd-3m", Lattice.cubic(5.4), ["Mg"], [[0, 0, 0]])
    crystals["needs none"] = diamond.get_primitive_structure()
    found = {
        name: len(gpaw_symmetry(crystal_of(structure), 2, 1e-5, GAMMA).rotations)
        for name, structure in crystals.items()
    }
    assert found["at origin"] == 24
    assert found["moved"] < 24
    assert found["needs none"] == 24
    points = Kpoints(
        style=Kpoints.supported_modes.Reciprocal, num_kpts=1, kpts=[[0, 0, 0]], kpts_weights=[1]
    )
    for name, structure in crystals.items():
        said = [
            line
            for line in read_inputs(run_folder("Mg", name, points, structure)).warnings
            if "k-points are taken for irreducible" in line
        ]
        assert len(said) == (name == "moved")


@pytest.mark.gpaw
@pytest.mark.slow
def test_screws_and_glides_make_a_list_of_points_as_good_as_its_mesh(run_folder):
    """Of close-packed magnesium, whose list under the whole space group lacks points of others."""
    structure = Structure(
        Lattice.hexagonal(3.2, 5.2), ["Mg"] * 2, [[1 / 3, 2 / 3, 1 / 4], [2 / 3, 1 / 3, 3 / 4]]
    )
    irreducible = irreducible_kpoints(crystal_of(structure), (4, 4, 3))
    runs = {}
    for name, kpoints, isym in (
        ("mesh", Kpoints.gamma_automatic((4, 4, 3)), 2),
        ("list", irreducible.listed(), 2),
        ("free", Kpoints.gamma_automatic((4, 4, 3)), -1),
    ):
        folder = run_folder(
            "Mg", name, kpoints, structure, ISYM=isym, ENCUT=200, EDIFF=1e-8, ISMEAR=1, SIGMA=0.2
        )
        runs[name] = execute(folder), read_chgcar(folder / "CHGCAR").total
    (mesh, density), (listed, same), (free, expected) = runs.values()
    assert len(mesh.kpoints) == len(listed.kpoints) == len(irreducible.points)
    assert asymmetry(structure, density) < 1e-4
    np.testing.assert_allclose(same, density, atol=1e-5 * np.abs(density).max())
    assert listed.steps[-1].energy_zero == pytest.approx(mesh.steps[-1].energy_zero, abs=1e-7)
    assert free.steps[-1].energy_zero == pytest.approx(mesh.steps[-1].energy_zero, abs=2e-5)
    np.testing.assert_allclose(expected, density, atol=2e-3 * np.abs(density).max())
