"""Fit of the expected error: coverage of known noise, and slow references of its formulas."""

import numpy as np
import pytest

from mlcharge_flows.models.expected_error import ExpectedError
from mlcharge_flows.training import error_fit
from mlcharge_flows.training.error_fit import Reliability, cross_validated, fit_regression


def synthetic(n, seed=0, noise=0.5):
    """Errors whose logarithm depends on the first of three features, with normal noise."""
    rng = np.random.default_rng(seed)
    features = np.column_stack([rng.standard_normal((n, 2)) * [2.0, 30.0], np.zeros(n)])
    logs = -1.5 + 0.4 * features[:, 0] + noise * rng.standard_normal(n)
    return features, np.exp(logs)


def test_known_noise_is_found_and_covered():
    features, errors = synthetic(300)
    regression = fit_regression(features, errors)
    assert regression.noise == pytest.approx(0.5, rel=0.1)
    assert regression.weights / regression.scale == pytest.approx([0.4, 0.0, 0.0], abs=0.03)
    fresh, found = synthetic(4000, seed=1)
    unseen = Reliability([regression.predict(row) for row in fresh], found)
    assert unseen.coverage(0.5) == pytest.approx(0.5, abs=0.06)
    assert unseen.coverage(0.9) == pytest.approx(0.9, abs=0.05)
    assert unseen.fraction_above == pytest.approx(0.1, abs=0.04)
    assert unseen.correlation == pytest.approx(0.8 / np.hypot(0.8, 0.5), abs=0.02)


def test_cross_validation_tells_what_unseen_crystals_show():
    features, errors = synthetic(150)
    card = cross_validated(features, errors).card
    assert card.materials == 150
    assert card.coverage_50 == pytest.approx(0.5, abs=0.1)
    assert card.coverage_90 == pytest.approx(0.9, abs=0.06)
    assert card.spread == pytest.approx(0.5, rel=0.15)
    # Features that tell nothing give no correlation, and the spread of the errors themselves.
    shuffled = np.random.default_rng(2).permutation(features)
    alone = cross_validated(shuffled, errors).card
    assert alone.correlation < 0.2
    assert alone.spread == pytest.approx(np.std(np.log(errors)), rel=0.1)
    assert alone.coverage_90 == pytest.approx(0.9, abs=0.06)


def test_left_out_crystals_are_those_of_fits_without_them():
    rng = np.random.default_rng(3)
    z, logs = rng.standard_normal((12, 3)), rng.standard_normal(12)
    z -= z.mean(axis=0)
    damping = 2.0
    loss, _, _, noise = error_fit._fitted(z, logs, damping)
    design = np.column_stack([z, np.ones(12)])
    penalty = damping * np.diag([1.0, 1.0, 1.0, 0.0])
    residuals, variances = [], []
    for left_out in range(12):
        others = np.delete(design, left_out, axis=0)
        inverse = np.linalg.inv(others.T @ others + penalty)
        weights = inverse @ others.T @ np.delete(logs, left_out)
        residuals.append(logs[left_out] - design[left_out] @ weights)
        variances.append(1 + design[left_out] @ inverse @ design[left_out])
    residuals, variances = np.array(residuals), np.array(variances)
    assert noise == pytest.approx(np.sqrt(np.mean(residuals**2 / variances)))
    spreads = noise * np.sqrt(variances)
    assert loss == pytest.approx(np.mean(np.log(spreads) + (residuals / spreads) ** 2 / 2))


def test_every_crystal_is_predicted_without_itself():
    features, errors = synthetic(40)
    before = cross_validated(features, errors)
    changed = errors.copy()
    changed[7] *= 100.0
    after = cross_validated(features, changed)
    assert after.expected[7] == before.expected[7]
    pairs = zip(after.expected, before.expected, strict=True)
    assert sum(one != other for one, other in pairs) > 30


def test_coverage_counts_both_sides():
    expected = [ExpectedError(0.1, 1.0)] * 4
    reliability = Reliability(expected, 0.1 * np.exp([-2.0, -0.1, 0.1, 1.5]))
    assert reliability.coverage(0.5) == 0.5
    assert reliability.coverage(0.9) == 0.75
    assert reliability.fraction_above == 0.25
    assert "50 % are in their 50 % intervals" in reliability.summary
