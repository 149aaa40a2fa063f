import numpy as np
import pytest
from scipy.integrate import simpson

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.density import sum_of_form_factors
from mlcharge_flows.density.neutral_form_factor import NeutralSines

BASIS = NeutralSines(radius=1.5, q_max=14.0)


def radial(coefficients, r):
    """Density of a combination, from the definition: sines over r, without charge."""
    k = np.pi / BASIS.radius * np.arange(1, BASIS.size + 2)
    sines = np.sin(np.outer(k, r)) / r / np.sqrt(8 * np.pi * BASIS.radius)
    return coefficients @ BASIS._neutral @ sines * (r < BASIS.radius)


def test_form_factors_are_transforms_of_the_radial_functions():
    coefficients = np.random.default_rng(0).standard_normal(BASIS.size)
    r = np.linspace(1e-6, BASIS.radius, 4001)
    q = np.linspace(0.1, 13.9, 7)
    waves = np.sin(np.outer(q, r)) / np.outer(q, r)
    slow = simpson(4 * np.pi * r**2 * radial(coefficients, r) * waves, x=r)
    assert coefficients @ BASIS(q) == pytest.approx(slow, abs=1e-6)
    charge = simpson(4 * np.pi * r**2 * radial(coefficients, r), x=r)
    assert charge == pytest.approx(0.0, abs=1e-6)


def test_the_electrons_that_are_moved_bound_the_form_factor():
    coefficients = np.random.default_rng(3).standard_normal(BASIS.size)
    r = np.linspace(1e-6, BASIS.radius, 40001)
    slow = simpson(4 * np.pi * r**2 * np.abs(radial(coefficients, r)), x=r) / 2
    moved = BASIS.moved(coefficients)
    assert moved == pytest.approx(slow, rel=1e-5)
    assert BASIS.moved(-3 * coefficients) == pytest.approx(3 * moved)
    assert np.abs(coefficients @ BASIS(np.linspace(0.1, 13.9, 100))).max() <= 2 * moved


def test_the_spline_equals_the_functions_and_ends_at_the_largest_wave_number():
    coefficients = np.random.default_rng(1).standard_normal(BASIS.size)
    q = np.random.default_rng(2).uniform(0.0, 14.0, 50)
    at = BASIS.form_factor(coefficients)
    assert at(q) == pytest.approx(coefficients @ BASIS(q), abs=1e-6)
    assert at(np.array([0.0, 14.1, 30.0])).tolist() == pytest.approx([0.0, 0.0, 0.0], abs=1e-12)
    with pytest.raises(ValueError, match="1 coefficients of 5 functions"):
        BASIS.form_factor([1.0])


def test_the_sum_over_the_ions_equals_the_slow_sum_and_holds_no_charge():
    rng = np.random.default_rng(3)
    lattice = np.diag([3.0, 3.5, 4.0]) + 0.2 * rng.standard_normal((3, 3))
    crystal = Crystal(lattice, ("Na", "Cl", "Na"), rng.random((3, 3)))
    coefficients, shape = rng.standard_normal(BASIS.size), (7, 9, 5)
    grid = sum_of_form_factors(crystal, {"Na": BASIS.form_factor(coefficients)}, shape)
    slow = np.zeros(shape, dtype=complex)
    points = np.stack(np.meshgrid(*(np.arange(n) / n for n in shape), indexing="ij"), -1)
    for miller in np.ndindex(*shape):
        h = np.array([(i + n // 2) % n - n // 2 for i, n in zip(miller, shape, strict=True)])
        f = coefficients @ BASIS(np.array([np.linalg.norm(h @ crystal.reciprocal)]))
        for site in crystal.positions[[0, 2]]:
            slow += f[0] * np.exp(2j * np.pi * ((points - site) @ h)) / crystal.volume
    assert grid == pytest.approx(slow.real, abs=1e-6)
    assert grid.sum() * crystal.volume / grid.size == pytest.approx(0.0, abs=1e-10)
