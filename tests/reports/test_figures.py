from __future__ import annotations

import pytest

from mlcharge_flows.reports import figures
from mlcharge_flows.reports.image_files import steps_figure
from mlcharge_flows.scf.statistics import summarize


def test_bars_are_the_means(campaign):
    summary = summarize(campaign)
    bars = {bar.y[0]: bar.x[0] for bar in figures.reduction_bars(summary).data}
    assert set(bars) == set(summary.arms) - {"default"}
    for name, height in bars.items():
        assert height == pytest.approx(100 * summary.arms[name].mean_reduction)


@pytest.mark.parametrize("draw", [figures.step_boxes, figures.paired_dots])
def test_only_runs_that_count_are_drawn(campaign, draw):
    summary = summarize(campaign)
    drawn = {trace.name: len(trace.x) for trace in draw(campaign, summary).data if trace.name}
    assert drawn == {name: arm.n_materials for name, arm in summary.arms.items()}


def test_curves_end_before_the_last_step_and_never_reach_zero(campaign):
    summary = summarize(campaign)
    figure = figures.convergence_curves(campaign, summary)
    steps = sorted(n - 1 for name in summary.arms for _, n in figures.counted_steps(campaign, name))
    assert sorted(len(trace.x) for trace in figure.data) == steps
    assert all(y is None or y > 0 for trace in figure.data for y in trace.y)
    assert sum(trace.showlegend for trace in figure.data) == len(summary.arms)


def test_menu_shows_the_curves_of_one_material(campaign):
    figure = figures.convergence_curves(campaign, summarize(campaign))
    every, *single = figure.layout.updatemenus[0].buttons
    assert all(every.args[0]["visible"])
    assert len(single) == len(campaign)
    shown = [sum(button.args[0]["visible"]) for button in single]
    assert sum(shown) == len(figure.data)


def test_large_campaigns_keep_a_readable_height(campaign):
    many = [
        campaign[0].model_copy(update={"material_id": f"m{n}"})
        for n in range(figures.MAX_LABELLED + 40)
    ]
    figure = figures.paired_dots(many, summarize(many))
    assert figure.layout.height < 1000
    assert not figure.layout.yaxis.ticktext


def test_figure_for_documents_is_drawn_for_any_campaign(campaign, tmp_path):
    for comparisons in (campaign, campaign[:1], []):
        path = tmp_path / f"{len(comparisons)}.png"
        steps_figure(comparisons, summarize(comparisons)).savefig(path)
        assert path.read_bytes().startswith(b"\x89PNG")
