"""Laws of the extended Hückel calculation."""

import numpy as np
import pytest
from scipy.linalg import block_diag
from scipy.spatial.transform import Rotation

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.harmonics import rotation_matrix
from mlcharge_flows.models.huckel import populations as calculation
from mlcharge_flows.models.huckel.populations import populations

ZINCBLENDE = Crystal(
    2.83 * (np.ones((3, 3)) - np.eye(3)), ("Ga", "As"), np.array([[0, 0, 0], [0.25, 0.25, 0.25]])
)
CROOKED = Crystal(
    np.array([[4.1, 0.0, 0.3], [0.5, 5.2, 0.0], [-0.4, 0.7, 6.0]]),
    ("Ti", "O", "O", "Na"),
    np.array([[0.02, 0.1, 0.0], [0.45, 0.3, 0.2], [0.1, 0.7, 0.35], [0.6, 0.5, 0.7]]),
)


def same(one, other, order=None, atol=1e-6):
    order = range(len(one.matrices)) if order is None else order
    assert one.fermi == pytest.approx(other.fermi, abs=atol)
    assert one.metallicity == pytest.approx(other.metallicity, abs=atol)
    for ion, there in enumerate(order):
        np.testing.assert_allclose(one.matrices[ion], other.matrices[there], atol=atol)


@pytest.mark.parametrize("crystal", [ZINCBLENDE, CROOKED], ids=["zincblende", "crooked"])
def test_electrons_are_conserved(crystal):
    found = populations(crystal)
    electrons = sum(np.trace(matrix) for matrix in found.matrices)
    assert electrons == pytest.approx(sum(n.sum() for n in found.neutral), abs=1e-6)


@pytest.mark.parametrize("crystal", [ZINCBLENDE, CROOKED], ids=["zincblende", "crooked"])
def test_orbitals_hold_two_electrons_at_most(crystal):
    for matrix in populations(crystal).matrices:
        np.testing.assert_allclose(matrix, matrix.T, atol=1e-9)
        filled = np.linalg.eigvalsh(matrix)
        assert filled.min() > -1e-9
        assert filled.max() < 2 + 1e-9


def test_lone_atoms_keep_their_electrons():
    far = Crystal(np.eye(3) * 11.0, ("Ar",), np.zeros((1, 3)))
    found = populations(far)
    np.testing.assert_allclose(found.matrices[0], np.diag(found.neutral[0]), atol=1e-4)


def test_electrons_go_to_the_electronegative():
    salt = Crystal(
        2.82 * (np.ones((3, 3)) - np.eye(3)), ("Na", "Cl"), np.array([[0, 0, 0], [0.5, 0.5, 0.5]])
    )
    found = populations(salt)
    gained = [
        np.trace(matrix) - n.sum() for matrix, n in zip(found.matrices, found.neutral, strict=True)
    ]
    assert gained[0] < -0.3
    assert gained[1] > 0.3
    assert found.metallicity < 0.1


@pytest.mark.parametrize("improper", [1, -1])
def test_rotation_takes_the_matrices_along(improper):
    rotation = improper * Rotation.from_euler("zyx", [0.3, 1.1, -0.7]).as_matrix()
    turned = Crystal(CROOKED.lattice @ rotation.T, CROOKED.symbols, CROOKED.positions)
    before, after = populations(CROOKED), populations(turned)
    assert after.fermi == pytest.approx(before.fermi, abs=1e-6)
    for shells, one, other in zip(before.shells, before.matrices, after.matrices, strict=True):
        wigner = block_diag(*(rotation_matrix(degree, rotation) for degree in shells))
        np.testing.assert_allclose(wigner @ one @ wigner.T, other, atol=1e-6)


def test_translation_and_permutation():
    order = [2, 0, 3, 1]
    moved = Crystal(
        CROOKED.lattice,
        tuple(CROOKED.symbols[ion] for ion in order),
        CROOKED.positions[order] + [0.37, -0.2, 1.4],
    )
    same(populations(moved), populations(CROOKED), order)


@pytest.mark.parametrize("crystal", [ZINCBLENDE, CROOKED], ids=["zincblende", "crooked"])
@pytest.mark.parametrize(
    "repeat",
    [np.diag([2, 1, 1]), np.array([[1, 1, 0], [0, 1, 0], [0, 1, 2]])],
    ids=["2x1x1", "sheared"],
)
def test_any_cell_of_the_crystal_gives_the_same(crystal, repeat):
    shifts = np.indices((3, 3, 3)).reshape(3, -1).T - 1
    lattice = repeat @ crystal.lattice
    images, ions = [], []
    for ion, position in enumerate(crystal.positions):
        place = (position + shifts) @ np.linalg.inv(repeat)
        place = place[np.all((place > -1e-9) & (place < 1 - 1e-9), axis=1)]
        images.append(place)
        ions += [ion] * len(place)
    positions = np.concatenate(images)
    assert len(positions) == round(abs(np.linalg.det(repeat))) * len(crystal)
    large = Crystal(lattice, tuple(crystal.symbols[ion] for ion in ions), positions)
    same(populations(large), populations(crystal), ions)


def test_symmetry_holds_without_being_imposed():
    """In zincblende the site symmetry leaves p shells isotropic and no s-p block."""
    for matrix, shells in zip(
        populations(ZINCBLENDE).matrices, populations(ZINCBLENDE).shells, strict=True
    ):
        first = sum(2 * degree + 1 for degree in shells[: shells.index(1)])
        p = slice(first, first + 3)
        np.testing.assert_allclose(matrix[p, p], np.eye(3) * matrix[first, first], atol=1e-9)
        s = shells.index(0)
        np.testing.assert_allclose(matrix[s, p], 0, atol=1e-9)


def test_overlaps_are_those_of_real_space():
    """Bloch sums by plane waves, against the lattice sum of two-centre overlaps by quadrature."""
    from mlcharge_flows.models.huckel.orbitals import EXPONENTS, LARGEST_WAVE, atomic_orbitals

    # s orbitals without sharp Gaussians, so that no wave is cut off.
    crystal = Crystal(np.diag([3.0, 3.3, 3.1]), ("Li",), np.zeros((1, 3)))
    shell = atomic_orbitals()["Li"][0]
    assert shell.degree == 0
    heights = (
        shell.coefficients / ((np.pi / (2 * EXPONENTS)) ** 1.5 / (4 * np.pi)) ** 0.5
    )  # of exp(-a r^2) Y_00 with norm one
    pairs = np.add.outer(EXPONENTS, EXPONENTS)
    product = np.outer(heights, heights) / (4 * np.pi)
    reduced = np.outer(EXPONENTS, EXPONENTS) / pairs

    def overlap(distance):
        return (product * (np.pi / pairs) ** 1.5 * np.exp(-reduced * distance**2)).sum()

    point = np.array([0.31, -0.2, 0.44])
    cells = (np.indices((13, 13, 13)).reshape(3, -1).T - 6) @ crystal.lattice
    expected = sum(
        np.exp(1j * cell @ point) * overlap(np.linalg.norm(cell)) for cell in cells
    ) / overlap(0.0)
    found = calculation._overlaps(crystal, point[None])[0, 0, 0]
    assert found.real == pytest.approx(expected.real, rel=2e-3)
    assert LARGEST_WAVE < 10


def test_finer_k_points_change_little(monkeypatch):
    coarse = populations(ZINCBLENDE)
    monkeypatch.setattr(calculation, "SPACING", calculation.SPACING / 2)
    fine = populations(ZINCBLENDE)
    for one, other in zip(coarse.matrices, fine.matrices, strict=True):
        np.testing.assert_allclose(one, other, atol=0.02)


def test_elements_without_orbitals_are_named():
    with pytest.raises(ValueError, match="no Hückel orbitals of U"):
        populations(Crystal(np.eye(3) * 3, ("U",), np.zeros((1, 3))))


def test_waves_may_be_summed_in_parts(monkeypatch):
    whole = populations(CROOKED)
    monkeypatch.setattr(calculation, "_WAVES_AT_ONCE", 97)
    same(populations(CROOKED), whole, atol=1e-9)
