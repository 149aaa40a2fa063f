"""Laws of the error measures."""

import numpy as np
import pytest

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.density import Density, error_removed, nmae

CRYSTAL = Crystal(3 * np.eye(3), ("Li", "H"), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]))


def density(seed):
    rng = np.random.default_rng(seed)
    augmentation = tuple(rng.standard_normal(15) for _ in CRYSTAL.symbols)
    return Density(CRYSTAL, rng.standard_normal((4, 5, 6)), augmentation)


def mix(a, b, fraction):
    augmentation = tuple(
        fraction * x + (1 - fraction) * y
        for x, y in zip(a.augmentation, b.augmentation, strict=True)
    )
    return Density(CRYSTAL, fraction * a.total + (1 - fraction) * b.total, augmentation)


def test_nmae_is_zero_at_the_reference_and_linear_in_the_error():
    reference = density(0).total
    assert nmae(reference, reference) == 0.0
    assert nmae(1.03 * reference, reference) == pytest.approx(3.0)


def test_nmae_does_not_depend_on_the_unit():
    a, b = density(0).total, density(1).total
    assert nmae(7 * a, 7 * b) == pytest.approx(nmae(a, b))


def test_error_removed_is_the_fraction_of_the_way():
    baseline, reference = density(0), density(1)
    for fraction in (0.0, 0.9, 1.0):
        removed = error_removed(mix(reference, baseline, fraction), baseline, reference)
        assert removed == pytest.approx((fraction, fraction))


def test_error_removed_without_occupancies_is_nan_for_them():
    baseline, reference = density(0), density(1)
    grid, augmentation = error_removed(Density(CRYSTAL, reference.total), baseline, reference)
    assert grid == 1.0
    assert np.isnan(augmentation)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="shape"):
        nmae(np.zeros(3), np.ones(4))
    with pytest.raises(ValueError, match="zero everywhere"):
        nmae(np.ones(3), np.zeros(3))
    with pytest.raises(ValueError, match="no error to remove"):
        error_removed(density(0), density(1), density(1))
