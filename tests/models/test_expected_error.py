"""Distribution of an expected error, and the regression that gives it."""

import numpy as np
import pytest

from mlcharge_flows.models.expected_error import ErrorRegression, ExpectedError


@pytest.fixture
def regression():
    rng = np.random.default_rng(0)
    root = rng.standard_normal((3, 3))
    covariance = root @ root.T / 100
    return ErrorRegression(
        rng.standard_normal(3), np.full(3, 2.0), rng.standard_normal(3), covariance, -1.5, 0.4, 50
    )


def test_quantiles_and_probabilities_are_inverse():
    expected = ExpectedError(0.2, 0.7)
    for probability in (0.02, 0.5, 0.9, 0.99):
        error = expected.quantile(probability)
        assert expected.probability_above(error) == pytest.approx(1 - probability)
    assert expected.quantile(0.5) == pytest.approx(0.2)
    samples = 0.2 * np.exp(0.7 * np.random.default_rng(0).standard_normal(200_000))
    assert np.mean(samples < expected.high) == pytest.approx(0.9, abs=3e-3)


def test_the_spread_grows_away_from_the_crystals_of_the_fit(regression):
    center = regression.predict(regression.center)
    assert center.median == pytest.approx(np.exp(-1.5))
    assert center.spread == pytest.approx(0.4 * np.sqrt(1 + 1 / 50))
    direction = np.random.default_rng(1).standard_normal(3)
    spreads = [regression.predict(regression.center + far * direction).spread for far in range(5)]
    assert all(np.diff(spreads) > 0)


def test_arrays_hold_everything(regression):
    again = ErrorRegression.from_arrays(regression.arrays())
    features = np.array([0.3, -2.0, 5.0])
    assert again.predict(features) == regression.predict(features)
    with pytest.raises(KeyError):
        ErrorRegression.from_arrays({"center": np.zeros(3)})
