"""Figure of expected errors beside those that were found."""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PROBABILITIES = np.linspace(0.05, 0.95, 19)
"""Of the central intervals whose coverage is drawn."""


def reliability_figure(medians: np.ndarray, spreads: np.ndarray, found: np.ndarray) -> Figure:
    """Draw found against expected errors (left), and the coverage of intervals (right).

    Parameters
    ----------
    medians
        Median of the error that was expected of each crystal, shape (crystals,).
    spreads
        Standard deviation of its natural logarithm, shape (crystals,).
    found
        Error of the prediction, as part of the superposition's, shape (crystals,).

    Returns
    -------
    matplotlib.figure.Figure
        Not attached to any screen.
    """
    figure = Figure(figsize=(9.0, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_errors(left, medians, spreads, found)
    _draw_coverage(right, np.abs(np.log(found / medians)) / spreads)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="0.9")
        axes.set_axisbelow(True)
        axes.legend(frameon=False)
    return figure


def _draw_errors(axes: Axes, medians: np.ndarray, spreads: np.ndarray, found: np.ndarray) -> None:
    order = np.argsort(medians)
    x = 100 * medians[order]
    for probability, color in ((0.9, "0.9"), (0.5, "0.8")):
        reach = np.exp(NormalDist().inv_cdf((1 + probability) / 2) * spreads[order])
        label = f"{100 * probability:.0f} % interval"
        axes.fill_between(x, x / reach, x * reach, color=color, label=label, linewidth=0)
    axes.plot(x, x, color="0.4", linewidth=1)
    axes.scatter(x, 100 * found[order], s=14, color="C0", label="crystals")
    axes.set(xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("error left, expected (% of the superposition's)")
    axes.set_ylabel("error left, found (%)")


def _draw_coverage(axes: Axes, deviations: np.ndarray) -> None:
    reaches = np.array([NormalDist().inv_cdf((1 + p) / 2) for p in PROBABILITIES])
    covered = (deviations[:, None] < reaches).mean(axis=0)
    axes.plot([0, 100], [0, 100], color="0.4", linewidth=1, label="reliable")
    label = f"{len(deviations)} crystals"
    axes.plot(100 * PROBABILITIES, 100 * covered, "o-", markersize=4, color="C0", label=label)
    axes.set(xlim=(0, 100), ylim=(0, 100))
    axes.set_xlabel("probability of the interval (%)")
    axes.set_ylabel("crystals in it (%)")
