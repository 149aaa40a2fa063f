"""Symmetry operations on grids, against densities and operations that are known."""

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.grid import CrystalSymmetry, GridSymmetry

DIAMOND = Crystal.from_structure(
    Structure.from_spacegroup("Fd-3m", Lattice.cubic(5.43), ["Si"], [[0, 0, 0]])
)
WURTZITE = Crystal.from_structure(
    Structure.from_spacegroup(
        "P6_3mc",
        Lattice.hexagonal(3.25, 5.2),
        ["Zn", "O"],
        [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.38]],
    )
)
OBLIQUE = Crystal(
    np.array([[4.1, 0.3, -0.2], [0.5, 3.8, 0.4], [-0.6, 0.2, 4.4]]),
    ("Na", "Cl", "Cl"),
    np.array([[0.1, 0.2, 0.3], [0.55, 0.41, 0.9], [0.8, 0.05, 0.62]]),
)
CASES = pytest.mark.parametrize(
    ("crystal", "shape"),
    [
        (DIAMOND, (12, 12, 12)),
        (WURTZITE, (9, 9, 14)),
        (DIAMOND, (10, 10, 12)),
        (WURTZITE, (6, 6, 9)),
    ],
    ids=["diamond", "wurtzite", "a grid of lower symmetry", "a grid without the screw axis"],
)


def gaussians(crystal, shape):
    """A density that has the crystal's symmetry: Gaussians on its ions."""
    steps = np.stack(np.meshgrid(*[np.arange(n) / n for n in shape], indexing="ij"), axis=-1)
    density = np.zeros(shape)
    for number, position in zip(map(len, crystal.symbols), crystal.positions, strict=True):
        for image in np.ndindex(5, 5, 5):
            apart = (position + image - np.array([2, 2, 2]) - steps) @ crystal.lattice
            density += number * np.exp(-np.sum(apart**2, axis=-1))
    return density


@CASES
def test_equivalent_points_have_equal_densities(crystal, shape):
    first = GridSymmetry.of(crystal, shape).irreducible_points()
    density = gaussians(crystal, shape).ravel()
    np.testing.assert_allclose(density, density[first], rtol=1e-8)
    assert len(np.unique(first)) < 0.3 * first.size
    np.testing.assert_array_equal(first, first[first])


@CASES
def test_images_are_those_of_the_operation_point_by_point(crystal, shape):
    symmetry = GridSymmetry.of(crystal, shape)
    points = np.array(list(np.ndindex(shape)))
    for operation in range(0, len(symmetry), 7):
        moved = points @ symmetry.matrices[operation].T + symmetry.shifts[operation]
        expected = np.ravel_multi_index((moved % shape).T, shape)
        np.testing.assert_array_equal(symmetry.images(operation), expected)


@CASES
def test_operations_of_a_grid_are_those_of_the_crystal_that_keep_it(crystal, shape):
    of_crystal, of_grid = CrystalSymmetry.of(crystal), GridSymmetry.of(crystal, shape)
    points = np.array(list(np.ndindex(shape))) / shape
    kept = 0
    for rotation, translation in zip(of_crystal.rotations, of_crystal.translations, strict=True):
        steps = (points @ rotation.T + translation) * shape
        kept += bool(np.abs(steps - np.rint(steps)).max() < 1e-4)
    assert 1 < len(of_grid) == kept


@CASES
def test_symmetrization_averages_over_equivalent_points(crystal, shape):
    symmetry = GridSymmetry.of(crystal, shape)
    values = np.random.default_rng(0).normal(size=shape)
    averaged = symmetry.symmetrize(values)
    first = symmetry.irreducible_points()
    for point in np.unique(first)[:20]:
        equivalent = first == point
        np.testing.assert_allclose(averaged.ravel()[equivalent], values.ravel()[equivalent].mean())
    np.testing.assert_allclose(symmetry.symmetrize(averaged), averaged, atol=1e-12)
    assert averaged.sum() == pytest.approx(values.sum())


def test_operations_map_ions_onto_ions_of_the_same_element():
    symmetry = CrystalSymmetry.of(WURTZITE)
    assert len(symmetry) == 12
    for rotation, translation in zip(symmetry.rotations, symmetry.translations, strict=True):
        moved = WURTZITE.positions @ rotation.T + translation
        apart = moved[:, None] - WURTZITE.positions
        to = np.abs(apart - np.rint(apart)).max(axis=2).argmin(axis=1)
        assert [WURTZITE.symbols[i] for i in to] == list(WURTZITE.symbols)


def test_other_elements_on_the_same_sites_are_another_symmetry():
    blende = Crystal(DIAMOND.lattice, ("Zn", "S") * 4, DIAMOND.positions)
    assert len(GridSymmetry.of(blende, (12,) * 3)) < len(GridSymmetry.of(DIAMOND, (12,) * 3))


def test_ions_off_by_more_than_symprec_break_the_symmetry():
    moved = DIAMOND.positions.copy()
    moved[0, 0] += 1e-3 / 5.43
    bent = Crystal(DIAMOND.lattice, DIAMOND.symbols, moved)
    assert len(CrystalSymmetry.of(bent)) < len(CrystalSymmetry.of(bent, symprec=1e-2)) == 192


def test_a_crystal_without_symmetry_has_no_equivalent_points():
    symmetry = GridSymmetry.of(OBLIQUE, (4, 5, 6))
    assert len(symmetry) == 1
    np.testing.assert_array_equal(symmetry.irreducible_points(), np.arange(120))
    values = np.random.default_rng(1).normal(size=(4, 5, 6))
    np.testing.assert_array_equal(symmetry.symmetrize(values), values)


def test_coincident_ions_have_the_identity_alone():
    both = Crystal(np.eye(3) * 3, ("Mg", "Mg"), np.zeros((2, 3)))
    np.testing.assert_array_equal(CrystalSymmetry.of(both).rotations, np.eye(3)[None])
    symmetry = GridSymmetry.of(both, (2, 2, 2))
    np.testing.assert_array_equal(symmetry.irreducible_points(), np.arange(8))


def test_another_grid_is_refused():
    with pytest.raises(ValueError, match=r"\(4, 4, 4\)"):
        GridSymmetry.of(DIAMOND, (12, 12, 12)).symmetrize(np.zeros((4, 4, 4)))
