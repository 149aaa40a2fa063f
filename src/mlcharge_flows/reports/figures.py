"""Interactive figures of the page of a comparison.

Figures have no background and no color of text of their own: the page sets both, light or dark.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import plotly.graph_objects as go
from markupsafe import Markup

from mlcharge_flows.reports.palette import colors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlcharge_flows.scf.comparison import Comparison
    from mlcharge_flows.scf.statistics import Summary

MAX_LABELLED = 60
"""Materials up to which each gets a labeled row, and an entry in the menu of curves."""


def reduction_bars(summary: Summary) -> go.Figure:
    """Draw the mean reduction of every arm with its interval, and the ceiling as a line.

    Parameters
    ----------
    summary
        Statistics of a campaign.

    Returns
    -------
    plotly.graph_objects.Figure
        One bar per arm other than the reference, in percent.
    """
    arms = {
        name: arm
        for name, arm in summary.arms.items()
        if name != summary.reference and arm.mean_reduction is not None
    }
    figure = _figure("mean reduction of electronic steps", height=90 + 44 * len(arms))
    color = colors(summary.arms)
    for name, arm in reversed(arms.items()):
        mean = 100 * (arm.mean_reduction or 0.0)
        low, high = (100 * b for b in arm.mean_reduction_ci95 or (mean / 100, mean / 100))
        figure.add_bar(
            x=[mean],
            y=[name],
            orientation="h",
            width=0.55,
            marker={"color": color[name]},
            error_x={
                "array": [high - mean],
                "arrayminus": [mean - low],
                "color": "#808080",
                "thickness": 2.5,
            },
            hovertemplate=f"{name}: {mean:.1f} % ({low:.1f} to {high:.1f})<extra></extra>",
        )
    if (ceiling := summary.arms.get(summary.ceiling)) and ceiling.mean_reduction is not None:
        figure.add_vline(
            x=100 * ceiling.mean_reduction, line={"dash": "dot", "color": color[summary.ceiling]}
        )
    figure.update_layout(showlegend=False)
    figure.update_xaxes(ticksuffix=" %")
    return figure


def step_boxes(comparisons: Sequence[Comparison], summary: Summary) -> go.Figure:
    """Draw the distribution of ``n_total`` in every arm, one dot per material that counts.

    Parameters
    ----------
    comparisons
        One per material.
    summary
        Their statistics.

    Returns
    -------
    plotly.graph_objects.Figure
        One box per arm.
    """
    figure = _figure("electronic steps, n_total", height=90 + 60 * len(summary.arms))
    color = colors(summary.arms)
    for name in reversed(summary.arms):
        counted = counted_steps(comparisons, name)
        figure.add_box(
            x=[steps for _, steps in counted],
            name=name,
            orientation="h",
            boxpoints="all",
            jitter=0.6,
            pointpos=0,
            marker={"color": color[name], "size": 6, "opacity": 0.8},
            line={"width": 1.5},
            text=[_label(comparison) for comparison, _ in counted],
            hovertemplate="%{text}: %{x} steps<extra>" + name + "</extra>",
        )
    figure.update_layout(showlegend=False)
    figure.update_xaxes(rangemode="tozero")
    return figure


def paired_dots(comparisons: Sequence[Comparison], summary: Summary) -> go.Figure:
    """Draw the steps of all arms of a material on one line, materials ordered by the reference.

    Parameters
    ----------
    comparisons
        One per material.
    summary
        Their statistics.

    Returns
    -------
    plotly.graph_objects.Figure
        One trace of dots per arm.
    """
    order = by_reference(comparisons, summary.reference)
    place = {comparison.material_id: n for n, comparison in enumerate(order)}
    labeled = len(order) <= MAX_LABELLED
    height = 110 + 26 * len(order) if labeled else 640
    figure = _figure("electronic steps, n_total", height)
    color = colors(summary.arms)
    ends_x: list[int | None] = []
    ends_y: list[int | None] = []
    for comparison in order if labeled else ():  # thousands of lines would be one gray area
        counts = [n for arm in comparison.arms for _, n in counted_steps([comparison], arm)]
        if len(counts) > 1:
            ends_x += [min(counts), max(counts), None]
            ends_y += [place[comparison.material_id]] * 2 + [None]
    figure.add_scatter(
        x=ends_x,
        y=ends_y,
        mode="lines",
        line={"color": "rgba(128,128,128,0.45)", "width": 2},
        hoverinfo="skip",
        showlegend=False,
    )
    shift = apart(order, list(summary.arms))
    for name in summary.arms:
        counted = counted_steps(order, name)
        figure.add_scatter(
            x=[steps for _, steps in counted],
            y=[place[c.material_id] + shift[c.material_id, name] for c, _ in counted],
            name=name,
            mode="markers",
            marker={"color": color[name], "size": 9 if labeled else 5},
            text=[_label(comparison) for comparison, _ in counted],
            hovertemplate="%{text}: %{x} steps<extra>" + name + "</extra>",
        )
    figure.update_xaxes(rangemode="tozero")
    figure.update_yaxes(
        tickvals=list(place.values()) if labeled else [],
        ticktext=[_label(comparison) for comparison in order] if labeled else [],
        title=None if labeled else f"{len(order)} materials",
        range=[-0.7, len(order) - 0.3],
        showgrid=False,
        zeroline=False,
    )
    return figure


def convergence_curves(comparisons: Sequence[Comparison], summary: Summary) -> go.Figure:
    """Draw |E - E(last)| per atom over the electronic steps; a menu picks a material.

    Parameters
    ----------
    comparisons
        One per material; the first :data:`MAX_LABELLED` are drawn.
    summary
        Their statistics.

    Returns
    -------
    plotly.graph_objects.Figure
        One trace per run that counts.
    """
    order = sorted(comparisons, key=lambda comparison: comparison.material_id)[:MAX_LABELLED]
    figure = _figure("electronic step", height=440)
    color = colors(summary.arms)
    owners: list[str] = []
    for name in summary.arms:
        for comparison, _ in counted_steps(order, name):
            run = comparison.arms[name]
            last = run.energies[-1] if run.energies else None
            if last is None:
                continue
            # The last step would be log(0); an overflowed energy leaves a gap.
            distance = [
                abs(energy - last) / max(comparison.n_atoms, 1) if energy is not None else None
                for energy in run.energies[:-1]
            ]
            figure.add_scatter(
                x=list(range(1, len(distance) + 1)),
                y=[value or None for value in distance],
                name=name,
                legendgroup=name,
                showlegend=name not in {trace.name for trace in figure.data},
                mode="lines+markers",
                line={"color": color[name], "width": 1.5},
                marker={"size": 5},
                opacity=0.75,
                hovertemplate=f"{_label(comparison)}, step %{{x}}: %{{y:.2e}} eV/atom"
                f"<extra>{name}</extra>",
            )
            owners.append(comparison.material_id)
    figure.update_yaxes(type="log", exponentformat="power", title="|E − E(last)|, eV/atom")
    if owners:
        figure.update_layout(updatemenus=[_menu(order, owners, [t.name for t in figure.data])])
    return figure


def to_html(figure: go.Figure) -> Markup:
    """Write a figure for a page that holds the plotly library once.

    Parameters
    ----------
    figure
        Any figure.

    Returns
    -------
    markupsafe.Markup
        A ``div`` with its script.
    """
    config = {"displaylogo": False, "responsive": True, "displayModeBar": False}
    return Markup(figure.to_html(full_html=False, include_plotlyjs=False, config=config))


def by_reference(comparisons: Sequence[Comparison], reference: str) -> list[Comparison]:
    """Order materials by the steps of the reference.

    Parameters
    ----------
    comparisons
        One per material.
    reference
        Its arm.

    Returns
    -------
    list of Comparison
        Fewest steps first; materials without a count last.
    """
    return sorted(
        comparisons,
        key=lambda comparison: (
            (comparison.arms[reference].n_total if reference in comparison.arms else None)
            or float("inf"),
            comparison.material_id,
        ),
    )


def counted_steps(comparisons: Sequence[Comparison], arm: str) -> list[tuple[Comparison, int]]:
    """Steps of an arm, of the runs that count.

    Parameters
    ----------
    comparisons
        One per material.
    arm
        Its name.

    Returns
    -------
    list of tuple
        Material and ``n_total``.
    """
    runs = ((comparison, comparison.arms.get(arm)) for comparison in comparisons)
    return [(c, run.n_total) for c, run in runs if run and run.n_total and not run.exclusion_reason]


def apart(comparisons: Sequence[Comparison], arms: Sequence[str]) -> dict[tuple[str, str], float]:
    """Shift the dots of arms with equal counts, so that all of them stay visible.

    Parameters
    ----------
    comparisons
        One per material.
    arms
        Names, in the order of the legend.

    Returns
    -------
    dict
        Shift in rows, by material and arm; zero where no other arm has the same count.
    """
    groups: dict[tuple[str, int], list[str]] = {}
    for arm in arms:
        for comparison, steps in counted_steps(comparisons, arm):
            groups.setdefault((comparison.material_id, steps), []).append(arm)
    return {
        (material, arm): 0.7 * (index / (len(equal) - 1) - 0.5) if len(equal) > 1 else 0.0
        for (material, _), equal in groups.items()
        for index, arm in enumerate(reversed(equal))
    }


def _figure(x: str, height: int) -> go.Figure:
    figure = go.Figure()
    figure.update_layout(
        height=height,
        margin={"l": 10, "r": 10, "t": 30, "b": 10},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13, "color": "#808080"},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0},
    )
    grid = "rgba(128,128,128,0.22)"
    figure.update_xaxes(title=x, gridcolor=grid, zerolinecolor=grid, automargin=True)
    figure.update_yaxes(gridcolor=grid, zerolinecolor=grid, automargin=True)
    return figure


def _menu(order: Sequence[Comparison], owners: list[str], names: list[str]) -> dict[str, object]:
    """Drop-down menu: all materials, or one."""
    first = [name not in names[:n] for n, name in enumerate(names)]
    buttons = [
        {
            "label": "all materials",
            "method": "update",
            "args": [{"visible": [True] * len(owners), "showlegend": first}],
        }
    ]
    for comparison in order:
        shown = [owner == comparison.material_id for owner in owners]
        if any(shown):
            args = [{"visible": shown, "showlegend": shown}]
            buttons.append({"label": _label(comparison), "method": "update", "args": args})
    return {"buttons": buttons, "x": 1, "xanchor": "right", "y": 1.0, "yanchor": "bottom"}


def _label(comparison: Comparison) -> str:
    return f"{comparison.formula} ({comparison.material_id})"
