"""Figure of expected errors."""

import numpy as np

from mlcharge_flows.reports.reliability import PROBABILITIES, reliability_figure


def test_reliable_spreads_lie_on_the_diagonal(tmp_path):
    rng = np.random.default_rng(0)
    medians, spreads = rng.uniform(0.05, 0.5, 2000), rng.uniform(0.2, 0.8, 2000)
    found = medians * np.exp(spreads * rng.standard_normal(2000))
    figure = reliability_figure(medians, spreads, found)
    left, right = figure.axes
    np.testing.assert_allclose(left.collections[-1].get_offsets()[:, 0], 100 * np.sort(medians))
    ideal, covered = right.lines
    np.testing.assert_allclose(ideal.get_xdata(), ideal.get_ydata())
    np.testing.assert_allclose(covered.get_xdata(), 100 * PROBABILITIES)
    np.testing.assert_allclose(covered.get_ydata(), 100 * PROBABILITIES, atol=4)
    figure.savefig(tmp_path / "reliability.png")
