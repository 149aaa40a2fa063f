"""One self-contained page: statistics, how steps were counted, provenance, failures, all runs."""

from __future__ import annotations

from datetime import datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from mlcharge_flows.reports import plots, quantity
from mlcharge_flows.reports.palette import colors
from mlcharge_flows.reports.rows import tidy_rows
from mlcharge_flows.reports.table import COLUMNS
from mlcharge_flows.scf.statistics import ENERGY_TOLERANCE

if TYPE_CHECKING:
    from collections.abc import Sequence

    import plotly.graph_objects as go

    from mlcharge_flows.scf.comparison import Comparison
    from mlcharge_flows.scf.statistics import Summary


def render_page(comparisons: Sequence[Comparison], summary: Summary) -> str:
    """Render the report as one HTML text that needs no other file and no network.

    Parameters
    ----------
    comparisons
        One per material; may be empty.
    summary
        Their statistics.
    """
    environment = Environment(
        loader=PackageLoader("mlcharge_flows.reports", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"q": quantity}
    return environment.get_template("report.html.jinja").render(
        summary=summary,
        columns=COLUMNS,
        colors=colors(summary.arms),
        rows=tidy_rows(comparisons, summary.reference),
        excluded=_excluded(comparisons),
        provenance={arm: _provenance(comparisons, arm) for arm in summary.arms},
        tolerance=ENERGY_TOLERANCE,
        figures=_figures(comparisons, summary),
        max_curves=plots.MAX_LABELLED,
        plotly_js=Markup(get_plotlyjs()),
        written=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        version=version("mlcharge-flows"),
    )


def _figures(comparisons: Sequence[Comparison], summary: Summary) -> dict[str, Markup]:
    if not any(arm.n_materials for arm in summary.arms.values()):
        return {}
    return {
        "reductions": _div(plots.reduction_bars(summary)),
        "pairs": _div(plots.paired_dots(comparisons, summary)),
        "boxes": _div(plots.step_boxes(comparisons, summary)),
        "curves": _div(plots.convergence_curves(comparisons, summary)),
    }


def _div(figure: go.Figure) -> Markup:
    config = {"displaylogo": False, "responsive": True, "displayModeBar": False}
    return Markup(figure.to_html(full_html=False, include_plotlyjs=False, config=config))


def _excluded(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """Every run that does not count, with its reason."""
    return [
        {"comparison": comparison, "arm": arm, "run": run, "reason": reason}
        for comparison in sorted(comparisons, key=lambda comparison: comparison.material_id)
        for arm, run in comparison.arms.items()
        if (reason := run.exclusion_reason)
    ]


def _provenance(comparisons: Sequence[Comparison], arm: str) -> dict[str, int]:
    runs = [comparison.arms[arm] for comparison in comparisons if arm in comparison.arms]
    return {
        "runs": len(runs),
        "given a CHGCAR": sum(run.expected_comment is not None for run in runs),
        "started from a CHGCAR": sum(run.started_from == "chgcar" for run in runs),
        "started from atoms": sum(run.started_from == "atoms" for run in runs),
        "unknown": sum(run.started_from == "unknown" for run in runs),
        "fell back": sum(run.fell_back for run in runs),
        "corrected by custodian": sum(run.corrections > 0 for run in runs),
        "verified": sum(run.verified for run in runs),
    }
