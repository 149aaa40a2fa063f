"""Laws of the real spherical harmonics."""

import numpy as np
import pytest

from mlcharge_flows.density.harmonics import (
    gaunt,
    real_harmonics,
    rotation_matrix,
    sphere_quadrature,
)


def random_orthogonal(rng, improper=False):
    matrix, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    matrix *= np.sign(np.linalg.det(matrix))
    return -matrix if improper else matrix


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def test_orthonormal_up_to_l_6():
    points, weights = sphere_quadrature(12)
    y = np.concatenate(real_harmonics(6, points), axis=-1)
    np.testing.assert_allclose((y * weights[:, None]).T @ y, np.eye(49), atol=1e-12)


def test_components_are_vasps_order(rng):
    r = rng.standard_normal((20, 3))
    r /= np.linalg.norm(r, axis=1, keepdims=True)
    x, y, z = r.T
    _, p, d = real_harmonics(2, r)
    np.testing.assert_allclose(p, np.sqrt(3 / (4 * np.pi)) * np.stack([y, z, x], axis=-1))
    expected = np.stack(
        [x * y, y * z, (3 * z**2 - 1) / np.sqrt(12), x * z, (x**2 - y**2) / 2], axis=-1
    )
    np.testing.assert_allclose(d, np.sqrt(15 / (4 * np.pi)) * expected, atol=1e-14)


@pytest.mark.parametrize(("la", "lb"), [(0, 0), (0, 1), (1, 1), (1, 2), (2, 2), (3, 2)])
def test_product_of_harmonics_expands_in_gaunt_coefficients(rng, la, lb):
    r = rng.standard_normal((10, 3))
    r /= np.linalg.norm(r, axis=1, keepdims=True)
    y = real_harmonics(la + lb, r)
    expanded = sum(np.einsum("abc,pc->pab", gaunt(la, lb, L), y[L]) for L in range(la + lb + 1))
    np.testing.assert_allclose(expanded, y[la][:, :, None] * y[lb][:, None, :], atol=1e-13)


def test_gaunt_vanishes_for_odd_sums_and_broken_triangles():
    assert not gaunt(1, 2, 2).any()
    assert not gaunt(1, 1, 4).any()


@pytest.mark.parametrize("degree", range(5))
@pytest.mark.parametrize("improper", [False, True])
def test_harmonics_rotate_with_the_wigner_matrix(rng, degree, improper):
    rotation = random_orthogonal(rng, improper)
    r = rng.standard_normal((10, 3))
    r /= np.linalg.norm(r, axis=1, keepdims=True)
    wigner = rotation_matrix(degree, rotation)
    before, after = (
        real_harmonics(degree, r)[degree],
        real_harmonics(degree, r @ rotation.T)[degree],
    )
    np.testing.assert_allclose(after, before @ wigner.T, atol=1e-12)
    np.testing.assert_allclose(wigner @ wigner.T, np.eye(2 * degree + 1), atol=1e-12)


def test_wigner_matrices_multiply_as_rotations_do(rng):
    a, b = random_orthogonal(rng), random_orthogonal(rng, improper=True)
    np.testing.assert_allclose(
        rotation_matrix(3, a @ b), rotation_matrix(3, a) @ rotation_matrix(3, b), atol=1e-12
    )


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="orthogonal"):
        rotation_matrix(1, np.diag([1.0, 1.0, 2.0]))
    with pytest.raises(ValueError, match="directions"):
        real_harmonics(1, np.zeros((4, 2)))
    with pytest.raises(ValueError, match="lmax"):
        real_harmonics(-1, np.zeros((4, 3)))
