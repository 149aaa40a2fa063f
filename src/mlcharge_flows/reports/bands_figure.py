"""Bands and densities of states at fixed densities, over those of the self-consistent run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from mlcharge_flows.reports.palette import colors
from mlcharge_flows.scf.comparison import REFERENCE
from mlcharge_flows.scf.electronic_structure import (
    ElectronicStructureError,
    read_band_path,
    read_electronic_structure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mlcharge_flows.scf.electronic_structure import BandPath
    from mlcharge_flows.scf.nonscf import NonSCFComparison

BELOW, ABOVE = 10.0, 5.0
"""Window of the plot below and above the gap, eV."""


def bands_figure(comparison: NonSCFComparison) -> Figure:
    """Draw bands along lines (left) and densities of states (right) of all runs that count.

    All energies are from the top of the reference's occupied bands (a metal's Fermi level): a rigid
    shift of a run is seen as one.

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
    figure = Figure(figsize=(8.0, 4.4), layout="constrained")
    bands, dos = figure.subplots(1, 2, width_ratios=(3, 1), sharey=True)
    color = {**colors(arms), REFERENCE: "0.25"}
    for order, arm in enumerate(arms):
        style = {"color": color[arm], "linewidth": 2.2 if arm == REFERENCE else 1.1}
        style["linestyle"] = "-" if arm == REFERENCE else ((order - 1) * 3, (4, 2))
        _draw_bands(bands, read_band_path(comparison.band_paths[arm].folder), zero, arm, style)
        if arm == REFERENCE or arm in comparison.errors:
            found = (
                mesh if arm == REFERENCE else read_electronic_structure(comparison.arms[arm].folder)
            )
            if found.dos is not None and found.dos_energies is not None:
                dos.plot(found.dos, found.dos_energies - zero, **style)
    lowest = max(-BELOW, float(mesh.eigenvalues.min()) - zero - 1)
    bands.set_ylim(lowest, top)
    bands.set_ylabel("energy, eV")
    bands.set_title(f"{comparison.formula} ({comparison.material_id})", loc="left", fontsize=10)
    dos.set_xlim(left=0)
    dos.set_xlabel("states per eV")
    for axes in (bands, dos):
        axes.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    figure.legend(*bands.get_legend_handles_labels(), loc="outside upper right", ncols=3)
    return figure


def _draw_bands(axes: Axes, lines: BandPath, zero: float, label: str, style: dict) -> None:
    for distances, levels in lines.segments:
        axes.plot(distances, levels - zero, **style, label=[label] + ["_"] * (levels.shape[1] - 1))
        label = "_"  # once in the legend
    names = [name.replace("\\Gamma", "Γ").replace("\\Sigma", "Σ") for name in lines.ticks.values()]
    axes.set_xticks(list(lines.ticks), names)
    axes.grid(axis="x", color="0.9")
    axes.set_xlim(0, max(lines.ticks))
