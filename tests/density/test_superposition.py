"""Laws of the superposition of atoms."""

import itertools

import numpy as np
import pytest

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.density import superpose
from mlcharge_flows.density.paw_dataset import PawDataset

Q = np.arange(1000) * 0.06


def gaussian_atom(symbol, zval, width):
    """Density zval (2 pi width^2)^(-3/2) exp(-r^2 / 2 width^2), form factor in closed form."""
    occupancies = np.arange(15, dtype=float) * zval
    form_factor = zval * np.exp(-((Q * width) ** 2) / 2)
    return PawDataset(
        symbol,
        symbol,
        zval,
        (0, 0, 1),
        q_step=Q[1],
        form_factor=form_factor,
        atomic_occupancies=occupancies,
    )


ATOMS = {"Na": gaussian_atom("Na", 1.0, 0.62), "Cl": gaussian_atom("Cl", 7.0, 0.55)}
TRICLINIC = np.array([[4.1, 0.3, -0.2], [0.5, 3.8, 0.4], [-0.6, 0.2, 4.4]])


@pytest.fixture
def crystal():
    positions = np.random.default_rng(5).uniform(size=(4, 3))
    return Crystal(TRICLINIC, ("Na", "Cl", "Cl", "Na"), positions)


def test_electrons_are_exact_on_any_grid(crystal):
    for shape in [(5, 6, 7), (16, 18, 20), (1, 2, 3)]:
        assert superpose(crystal, ATOMS, shape).n_electrons == pytest.approx(16.0, abs=1e-12)


def test_agrees_with_the_real_space_sum(crystal):
    shape = (30, 28, 32)
    widths = {"Na": 0.62, "Cl": 0.55}
    grid = np.stack(
        np.meshgrid(*[np.arange(n) / n for n in shape], indexing="ij"), axis=-1
    ).reshape(-1, 3)
    total = np.zeros(len(grid))
    for symbol, position in zip(crystal.symbols, crystal.positions, strict=True):
        width = widths[symbol]
        norm = ATOMS[symbol].zval * (2 * np.pi * width**2) ** -1.5
        for image in itertools.product(range(-2, 3), repeat=3):
            d = (grid - position - image) @ crystal.lattice
            total += norm * np.exp(-np.sum(d * d, axis=1) / (2 * width**2))
    np.testing.assert_allclose(
        superpose(crystal, ATOMS, shape).total, total.reshape(shape), atol=1e-5
    )


def test_translation_by_grid_points_rolls_the_density(crystal):
    shape = (12, 15, 10)
    shift = np.array([3 / 12, 1 / 15, -2 / 10])
    moved = Crystal(crystal.lattice, crystal.symbols, crystal.positions + shift)
    np.testing.assert_allclose(
        superpose(moved, ATOMS, shape).total,
        np.roll(superpose(crystal, ATOMS, shape).total, (3, 1, -2), axis=(0, 1, 2)),
        atol=1e-12,
    )


def test_permutation_of_ions_permutes_occupancies_only(crystal):
    order = [2, 0, 3, 1]
    permuted = Crystal(
        crystal.lattice, tuple(crystal.symbols[i] for i in order), crystal.positions[order]
    )
    a, b = superpose(crystal, ATOMS, (12, 12, 12)), superpose(permuted, ATOMS, (12, 12, 12))
    np.testing.assert_allclose(a.total, b.total, atol=1e-13)
    for i, j in enumerate(order):
        np.testing.assert_array_equal(b.augmentation[i], a.augmentation[j])


@pytest.mark.parametrize("n", [12, 13])
def test_lattice_symmetry_rotates_the_density(n):
    positions = np.random.default_rng(6).uniform(size=(3, 3))
    cubic = Crystal(4.0 * np.eye(3), ("Na", "Cl", "Cl"), positions)
    # (x, y, z) -> (-y, x, z) about the origin maps grid points onto grid points.
    rotated = Crystal(
        cubic.lattice, cubic.symbols, positions @ np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    )
    density = superpose(cubic, ATOMS, (n, n, n)).total
    back = (-np.arange(n)) % n
    expected = density.transpose(1, 0, 2)[back]
    np.testing.assert_allclose(superpose(rotated, ATOMS, (n, n, n)).total, expected, atol=1e-12)


def test_rotating_cell_and_atoms_together_changes_nothing(crystal):
    rotation, _ = np.linalg.qr(np.random.default_rng(8).standard_normal((3, 3)))
    turned = Crystal(crystal.lattice @ rotation.T, crystal.symbols, crystal.positions)
    np.testing.assert_allclose(
        superpose(turned, ATOMS, (10, 11, 12)).total,
        superpose(crystal, ATOMS, (10, 11, 12)).total,
        atol=1e-12,
    )


def test_comment_travels(crystal):
    assert superpose(crystal, ATOMS, (4, 4, 4), comment="atoms 12ab").comment == "atoms 12ab"


def test_missing_element_is_named(crystal):
    with pytest.raises(ValueError, match="Cl"):
        superpose(crystal, {"Na": ATOMS["Na"]}, (4, 4, 4))


def test_empty_grid_is_refused(crystal):
    with pytest.raises(ValueError, match="without points"):
        superpose(crystal, ATOMS, (4, 0, 4))
