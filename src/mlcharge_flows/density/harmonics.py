r"""Real spherical harmonics in VASP's order, their triple integrals and their rotations.

Components run m = -l..l, with sin(|m| phi) for m < 0 and cos(m phi) for m >= 0 and no
Condon-Shortley phase, so that l = 1 is (y, z, x) and l = 2 is (xy, yz, 3z^2-1, xz, x^2-y^2). The
normalization is :math:`\int Y_{lm} Y_{l'm'} d\Omega = \delta_{ll'} \delta_{mm'}`.

All integrals here are of polynomials on the sphere; a Gauss-Legendre times trapezoidal rule of
sufficient degree does them exactly, so nothing depends on tabulated coefficients.

References
----------
DLMF, https://dlmf.nist.gov: 14.10.3 (recursion of Legendre functions), 14.30 (spherical harmonics),
34.3.22 (integrals of three harmonics). Product quadrature: K. Atkinson, J. Austral. Math. Soc. B
23, 332 (1982).
"""

from __future__ import annotations

from functools import cache
from math import factorial, pi, sqrt

import numpy as np


def real_harmonics(lmax: int, directions: np.ndarray) -> list[np.ndarray]:
    """Real spherical harmonics of degree 0 to `lmax`.

    Parameters
    ----------
    lmax
        Highest degree.
    directions
        Unit vectors, shape (..., 3).

    Returns
    -------
    list of numpy.ndarray
        One array per degree l, shape (..., 2l+1), components m = -l..l.

    Raises
    ------
    ValueError
        `lmax` is negative, or the last axis of `directions` is not 3.

    Examples
    --------
    Degree one is the direction itself, in the order y, z, x:

    >>> y1 = real_harmonics(1, np.array([0.6, 0.0, 0.8]))[1]
    >>> np.round(y1 / np.sqrt(3 / (4 * np.pi)), 12) + 0.0
    array([0. , 0.8, 0.6])
    """
    directions = np.asarray(directions, dtype=float)
    if lmax < 0:
        raise ValueError(f"lmax is {lmax}, expected 0 or more")
    if directions.ndim == 0 or directions.shape[-1] != 3:
        raise ValueError(f"directions have shape {directions.shape}, expected (..., 3)")
    x, y, z = np.moveaxis(directions, -1, 0)
    harmonics = [np.empty((*x.shape, 2 * degree + 1)) for degree in range(lmax + 1)]
    circle = np.ones_like(x, dtype=complex)  # (x + iy)^m
    for m in range(lmax + 1):
        legendre = _legendre_over_sine(m, lmax, z)
        for degree in range(m, lmax + 1):
            ratio = factorial(degree - m) / factorial(degree + m)
            polar = sqrt((2 * degree + 1) / (4 * pi) * ratio) * legendre[degree - m]
            if m == 0:
                harmonics[degree][..., degree] = polar
            else:
                harmonics[degree][..., degree + m] = sqrt(2) * polar * circle.real
                harmonics[degree][..., degree - m] = sqrt(2) * polar * circle.imag
        circle = circle * (x + 1j * y)
    return harmonics


def _legendre_over_sine(m: int, lmax: int, z: np.ndarray) -> list[np.ndarray]:
    """P_lm(z) / sin^m for l = m..lmax, by the upward recursion in l."""
    double_factorial = float(np.prod(np.arange(2 * m - 1, 0, -2))) if m else 1.0
    values = [np.full_like(z, double_factorial)]
    if lmax > m:
        values.append((2 * m + 1) * z * values[0])
    for degree in range(m + 2, lmax + 1):
        upper = (2 * degree - 1) * z * values[-1] - (degree + m - 1) * values[-2]
        values.append(upper / (degree - m))
    return values


@cache
def sphere_quadrature(degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Points and weights that integrate polynomials up to `degree` exactly over the sphere.

    Parameters
    ----------
    degree
        Highest total degree in x, y, z.

    Returns
    -------
    tuple of numpy.ndarray
        Unit vectors, shape (n, 3), and weights, shape (n,), which sum to 4 pi.
    """
    cosine, weight = np.polynomial.legendre.leggauss(degree // 2 + 1)
    n_phi = degree + 1
    phi = 2 * pi * np.arange(n_phi) / n_phi
    sine = np.sqrt(1 - cosine**2)
    axes = (
        np.outer(sine, np.cos(phi)),
        np.outer(sine, np.sin(phi)),
        np.outer(cosine, np.ones(n_phi)),
    )
    points = np.stack(axes, axis=-1).reshape(-1, 3)
    weights = np.repeat(weight * 2 * pi / n_phi, n_phi)
    for array in (points, weights):
        array.setflags(write=False)
    return points, weights


@cache
def gaunt(la: int, lb: int, L: int) -> np.ndarray:
    """Integrals of three real harmonics over the sphere.

    Parameters
    ----------
    la
        Degree of the first harmonic.
    lb
        Degree of the second harmonic.
    L
        Degree of the third harmonic.

    Returns
    -------
    numpy.ndarray
        Shape (2la+1, 2lb+1, 2L+1), read-only; exactly zero where la + lb + L is odd or the
        triangle rule fails.
    """
    if (la + lb + L) % 2 or not abs(la - lb) <= L <= la + lb:
        integrals = np.zeros((2 * la + 1, 2 * lb + 1, 2 * L + 1))
    else:
        points, weights = sphere_quadrature(la + lb + L)
        y = real_harmonics(max(la, lb, L), points)
        integrals = np.einsum("p,pa,pb,pc->abc", weights, y[la], y[lb], y[L])
        # Selection rules of m make most entries zero; leave no quadrature noise there.
        integrals[np.abs(integrals) < 1e-14] = 0.0
    integrals.setflags(write=False)
    return integrals


def rotation_matrix(degree: int, rotation: np.ndarray) -> np.ndarray:
    """Wigner matrix D in the real basis: Y(R r) = D Y(r).

    If a function f has coefficients c, the rotated function f(R^-1 r) has D c.

    Parameters
    ----------
    degree
        Degree l.
    rotation
        Orthogonal Cartesian matrix R, shape (3, 3); improper ones (mirrors, inversion) included.

    Returns
    -------
    numpy.ndarray
        Orthogonal matrix, shape (2l+1, 2l+1).

    Raises
    ------
    ValueError
        `rotation` is not orthogonal.

    Examples
    --------
    >>> bool(np.allclose(rotation_matrix(3, -np.eye(3)), -np.eye(7)))  # inversion: (-1)^l
    True
    """
    rotation = np.asarray(rotation, dtype=float)
    if rotation.shape != (3, 3) or not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-8):
        raise ValueError("the rotation is not an orthogonal (3, 3) matrix")
    points, weights = sphere_quadrature(2 * degree)
    before = real_harmonics(degree, points)[degree]
    after = real_harmonics(degree, points @ rotation.T)[degree]
    matrix: np.ndarray = np.einsum("p,pa,pb->ab", weights, after, before)
    return matrix
