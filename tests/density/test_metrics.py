"""Laws of the error measures."""

import numpy as np
import pytest

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.density import Density
from mlcharge_flows.density.metrics import error_removed, nmae, occupancy_errors

CRYSTAL = Crystal(3 * np.eye(3), ("Li", "H"), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]))


def density(seed):
    rng = np.random.default_rng(seed)
    records = tuple(rng.standard_normal(15) for _ in CRYSTAL.symbols)
    return Density(CRYSTAL, rng.standard_normal((4, 5, 6)), records)


def mix(a, b, share):
    records = tuple(
        share * x + (1 - share) * y for x, y in zip(a.augmentation, b.augmentation, strict=True)
    )
    return Density(CRYSTAL, share * a.total + (1 - share) * b.total, records)


def test_nmae_is_zero_at_the_reference_and_linear_in_the_error():
    reference = density(0).total
    assert nmae(reference, reference) == 0.0
    assert nmae(1.03 * reference, reference) == pytest.approx(3.0)


def test_nmae_does_not_depend_on_the_unit():
    a, b = density(0).total, density(1).total
    assert nmae(7 * a, 7 * b) == pytest.approx(nmae(a, b))


def test_error_removed_is_the_share_of_the_way():
    start, reference = density(0), density(1)
    for share in (0.0, 0.9, 1.0):
        removed = error_removed(mix(reference, start, share), start, reference)
        assert removed == pytest.approx((share, share))


def test_error_removed_without_occupancies_is_nan_for_them():
    start, reference = density(0), density(1)
    grid, records = error_removed(Density(CRYSTAL, reference.total), start, reference)
    assert grid == 1.0
    assert np.isnan(records)


def test_occupancy_errors_per_ion():
    reference = [np.array([1.0, -1.0]), np.zeros(3)]
    assert occupancy_errors([np.array([1.0, -0.5]), np.zeros(3)], reference) == (0.25, 0.0)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="shape"):
        nmae(np.zeros(3), np.ones(4))
    with pytest.raises(ValueError, match="zero everywhere"):
        nmae(np.ones(3), np.zeros(3))
    with pytest.raises(ValueError, match="ion 2"):
        occupancy_errors([np.ones(2), np.ones(3)], [np.ones(2), np.ones(2)])
    with pytest.raises(ValueError, match="records"):
        occupancy_errors([np.ones(2)], [])
    with pytest.raises(ValueError, match="no error to remove"):
        error_removed(density(0), density(1), density(1))
