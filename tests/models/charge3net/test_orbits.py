import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.models.orbits import operations, representatives

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


def superposed(crystal, shape):
    """A density that has the crystal's symmetry: Gaussians on its ions."""
    steps = np.stack(np.meshgrid(*[np.arange(n) / n for n in shape], indexing="ij"), axis=-1)
    density = np.zeros(shape)
    for number, position in zip(map(len, crystal.symbols), crystal.positions, strict=True):
        for image in np.ndindex(5, 5, 5):
            apart = (position + image - np.array([2, 2, 2]) - steps) @ crystal.lattice
            density += number * np.exp(-np.sum(apart**2, axis=-1))
    return density


@pytest.mark.parametrize(
    ("crystal", "shape"),
    [
        (DIAMOND, (12, 12, 12)),
        (WURTZITE, (9, 9, 14)),
        (DIAMOND, (10, 10, 12)),
        (WURTZITE, (6, 6, 9)),
    ],
    ids=["diamond", "wurtzite", "a grid of lower symmetry", "a grid without the screw axis"],
)
def test_equivalent_points_have_equal_densities(crystal, shape):
    first = representatives(crystal, shape)
    density = superposed(crystal, shape).ravel()
    np.testing.assert_allclose(density, density[first], rtol=1e-8)
    assert len(np.unique(first)) < 0.3 * first.size
    np.testing.assert_array_equal(first, first[first])


def test_other_elements_on_the_same_sites_are_another_symmetry():
    shape = (12, 12, 12)
    blende = Crystal(
        DIAMOND.lattice, ("Zn", "S", "Zn", "S", "Zn", "S", "Zn", "S"), DIAMOND.positions
    )
    assert len(operations(blende, shape)) < len(operations(DIAMOND, shape))


def test_a_crystal_without_symmetry_has_no_equivalent_points(oblique):
    shape = (4, 5, 6)
    np.testing.assert_array_equal(representatives(oblique, shape), np.arange(120))


def test_no_symmetry_is_found_where_ions_coincide():
    both = Crystal(np.eye(3) * 3, ("Mg", "Mg"), np.zeros((2, 3)))
    np.testing.assert_array_equal(representatives(both, (2, 2, 2)), np.arange(8))
