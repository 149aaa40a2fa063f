"""Figures as image files: the steps of a comparison, and the bands of one material.

They go into documents, and one file per material keeps a page of many materials small. The
interactive figures of a page are in :mod:`mlcharge_flows.reports.figures`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mlcharge_flows.reports.figures import MAX_LABELLED, apart, by_reference, counted_steps
from mlcharge_flows.reports.palette import colors
from mlcharge_flows.scf.comparison import REFERENCE
from mlcharge_flows.scf.electronic_structure import (
    ElectronicStructureError,
    read_band_path,
    read_electronic_structure,
)
from mlcharge_flows.scf.nonscf import N_EMPTY_BANDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

    from mlcharge_flows.scf.comparison import Comparison
    from mlcharge_flows.scf.electronic_structure import BandPath, ElectronicStructure
    from mlcharge_flows.scf.nonscf import NonSCFComparison
    from mlcharge_flows.scf.statistics import Summary

DEEPEST, ABOVE = 30.0, 5.0
"""Window of the bands, eV: valence bands down to so much below the gap, and above it."""


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
    place = {comparison.material_id: n for n, comparison in enumerate(order)}
    for comparison in order:
        counts = [n for arm in comparison.arms for _, n in counted_steps([comparison], arm)]
        if counts:
            ends = [min(counts), max(counts)]
            axes.plot(ends, [place[comparison.material_id]] * 2, color="0.8", zorder=1)
    shift = apart(order, list(summary.arms))
    for arm in summary.arms:
        counted = counted_steps(order, arm)
        axes.scatter(
            [steps for _, steps in counted],
            [place[c.material_id] + 0.8 * shift[c.material_id, arm] for c, _ in counted],
            s=26,
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


def bands_figure(comparison: NonSCFComparison) -> Figure:
    """Draw bands along the band path (left) and densities of states (right) of runs that count.

    The zero of all energies is the top of the reference's occupied bands (a metal's Fermi level),
    so that a rigid shift of a run is visible.

    Parameters
    ----------
    comparison
        One material; its run folders are read.

    Returns
    -------
    matplotlib.figure.Figure
        Not attached to any screen.

    Raises
    ------
    ElectronicStructureError
        No run can be drawn beside the reference, or a run folder is gone.
    """
    arms = [REFERENCE, *comparison.band_path_errors]
    if len(arms) < 2:
        raise ElectronicStructureError(
            f"{comparison.material_id}: no bands to draw beside the reference's"
        )
    mesh = read_electronic_structure(comparison.arms[REFERENCE].folder)
    zero, top = mesh.highest_occupied, ABOVE + (mesh.gap or 0.0)
    figure = Figure(figsize=(8.0, 6.0), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(3, 1), height_ratios=(3, 1))
    bands = figure.add_subplot(grid[0, 0])
    dos = figure.add_subplot(grid[0, 1], sharey=bands)
    errors = figure.add_subplot(grid[1, 0], sharex=bands)
    color = colors(arms)
    reference = read_band_path(comparison.band_paths[REFERENCE].folder)
    for order, arm in enumerate(arms):
        style: dict[str, Any] = {"color": color[arm], "linewidth": 1.1, "zorder": 2}
        if arm == REFERENCE:
            style |= {"linewidth": 2.2, "zorder": 1}
        else:
            style["linestyle"] = ((order - 1) * 3, (4, 2))
        path = reference
        if arm != REFERENCE:
            path = read_band_path(comparison.band_paths[arm].folder)
            _draw_differences(errors, path, reference, mesh, color[arm])
        _draw_bands(bands, path, zero, arm, style)
        if arm == REFERENCE or arm in comparison.errors:
            found = (
                mesh if arm == REFERENCE else read_electronic_structure(comparison.arms[arm].folder)
            )
            if found.dos is not None and found.dos_energies is not None:
                dos.plot(found.dos, found.dos_energies - zero, **style)
    levels = np.concatenate([levels.ravel() for _, levels in reference.segments]) - zero
    bands.set_ylim(float(levels[levels > -DEEPEST].min()) - 1, top)
    bands.set_ylabel("energy, eV")
    bands.set_title(f"{comparison.formula} ({comparison.material_id})", loc="left", fontsize=10)
    bands.tick_params(labelbottom=False)
    dos.set_xlim(left=0)
    dos.set_xlabel("states per eV")
    errors.set_ylabel("difference, meV")
    for axes in (bands, dos, errors):
        axes.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    figure.legend(*bands.get_legend_handles_labels(), loc="outside upper right", ncols=3)
    return figure


def _draw_differences(
    axes: Axes, path: BandPath, reference: BandPath, mesh: ElectronicStructure, color: str
) -> None:
    """Draw what the compared bands differ from the reference's, without a shift, meV."""
    n_bands = mesh.n_occupied + N_EMPTY_BANDS
    for (distances, levels), (_, expected) in zip(path.segments, reference.segments, strict=False):
        if levels.shape[0] == expected.shape[0]:
            n = min(n_bands, levels.shape[1], expected.shape[1])
            difference = 1000 * (levels[:, :n] - expected[:, :n])
            axes.plot(distances, difference, color=color, linewidth=0.9)


def _draw_bands(
    axes: Axes, path: BandPath, zero: float, label: str, style: Mapping[str, Any]
) -> None:
    for distances, levels in path.segments:
        axes.plot(distances, levels - zero, **style, label=[label] + ["_"] * (levels.shape[1] - 1))
        label = "_"  # once in the legend
    names = [name.replace("\\Gamma", "Γ").replace("\\Sigma", "Σ") for name in path.ticks.values()]
    axes.set_xticks(list(path.ticks), names)
    axes.grid(axis="x", color="0.9")
    axes.set_xlim(0, max(path.ticks))
