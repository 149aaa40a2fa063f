"""The essential figure for documents: steps of every material, and what each arm saved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mlcharge_flows.reports.palette import colors
from mlcharge_flows.reports.plots import MAX_LABELLED, by_reference, counted_steps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from mlcharge_flows.scf.comparison import Comparison
    from mlcharge_flows.scf.statistics import Summary


def steps_figure(comparisons: Sequence[Comparison], summary: Summary) -> Figure:
    """Draw paired steps (left) and mean reductions with 95 % intervals (right).

    Parameters
    ----------
    comparisons
        One per material.
    summary
        Their statistics.

    Returns
    -------
    matplotlib.figure.Figure
        Not attached to any screen; ``figure.savefig("steps.png", dpi=200)`` writes it.
    """
    height = 1.6 + 0.24 * min(max(len(comparisons), 2 * len(summary.arms)), MAX_LABELLED)
    figure = Figure(figsize=(9.0, height), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _draw_steps(left, by_reference(comparisons, summary.reference), summary)
    _draw_reductions(right, summary)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="x", color="0.9")
        axes.set_axisbelow(True)
    if summary.arms:
        figure.legend(
            *left.get_legend_handles_labels(),
            loc="outside upper left",
            ncols=len(summary.arms),
            frameon=False,
        )
    return figure


def _draw_steps(axes: Axes, order: Sequence[Comparison], summary: Summary) -> None:
    color = colors(summary.arms)
    n_arms = max(len(summary.arms) - 1, 1)
    place = {comparison.material_id: n for n, comparison in enumerate(order)}
    for comparison in order:
        counts = [n for arm in comparison.arms for _, n in counted_steps([comparison], arm)]
        if counts:
            ends = [min(counts), max(counts)]
            axes.plot(ends, [place[comparison.material_id]] * 2, color="0.8", zorder=1)
    for index, arm in enumerate(summary.arms):
        counted = counted_steps(order, arm)
        # Equal counts share a place: later arms are smaller, so that all stay visible.
        axes.scatter(
            [steps for _, steps in counted],
            [place[comparison.material_id] for comparison, _ in counted],
            s=70 - 45 * index / n_arms,
            color=color[arm],
            label=arm,
            zorder=2,
        )
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("electronic steps, n_total")
    if len(order) <= MAX_LABELLED:
        axes.set_yticks(range(len(order)), [comparison.formula for comparison in order])
    else:
        axes.set_yticks([])
        axes.set_ylabel(f"{len(order)} materials")


def _draw_reductions(axes: Axes, summary: Summary) -> None:
    color = colors(summary.arms)
    arms = {
        name: arm
        for name, arm in summary.arms.items()
        if name != summary.reference and arm.mean_reduction is not None
    }
    for place, (name, arm) in enumerate(reversed(arms.items())):
        mean = 100 * (arm.mean_reduction or 0.0)
        low, high = (100 * b for b in arm.mean_reduction_ci95 or (mean / 100, mean / 100))
        axes.barh(
            place,
            mean,
            height=0.5,
            xerr=[[mean - low], [high - mean]],
            color=color[name],
            ecolor="0.35",
        )
    axes.set_yticks(range(len(arms)), list(reversed(arms)))
    axes.set_xlabel("mean reduction of steps, % (95 % interval)")
