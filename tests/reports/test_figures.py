from __future__ import annotations

import numpy as np
import pytest

from mlcharge_flows.reports import figures, image_files
from mlcharge_flows.reports.image_files import steps_figure
from mlcharge_flows.reports.palette import colors
from mlcharge_flows.scf.electronic_structure import BandPath, ElectronicStructure
from mlcharge_flows.scf.nonscf import FixedDensityErrors, NonSCFComparison
from mlcharge_flows.scf.run import ScfRun
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


def test_arms_with_equal_counts_do_not_cover_each_other(campaign):
    names = list(summarize(campaign).arms)
    shift = figures.apart(campaign, names)
    for comparison in campaign:
        places = set()
        for arm in names:
            for _, steps in figures.counted_steps([comparison], arm):
                places.add((steps, shift[comparison.material_id, arm]))
        counted = sum(bool(figures.counted_steps([comparison], arm)) for arm in names)
        assert len(places) == counted
        assert max(abs(y) for _, y in places) < 0.5  # within its row


@pytest.mark.parametrize("arms", [["default", "learned"], ["learned@orbital", "converged"]])
def test_a_model_has_one_color_beside_any_other_arms(arms):
    known = colors(["learned", "learned+orbitals", "learned/atomic", "default"])
    assert len(set(known.values())) == 4
    for name, color in colors(arms).items():
        assert color == colors([name.replace("@orbital", "")])[name.replace("@orbital", "")]
    assert colors(["learned+orbitals", *arms])["learned+orbitals"] == known["learned+orbitals"]


def test_another_model_takes_no_color_of_the_known_ones():
    names = ["orbital", "charge3net", "charge3net-density", "superres"]
    assert len(set(colors(names).values())) == 4
    assert list(colors(names)) == names


def test_bands_have_a_panel_of_their_difference(monkeypatch):
    distances = np.linspace(0, 1, 21)
    levels = np.stack([-20 + 0 * distances, -2 + distances, 3 + distances, 9 + distances], 1)

    def read_path(folder):
        moved = levels + (0.01 if folder == "learned" else 0.0)
        return BandPath([(distances, moved)], {0.0: "G", 1.0: "X"})

    def read_mesh(folder):
        weights = np.full(21, 1 / 21)
        return ElectronicStructure(np.zeros((21, 3)), weights, levels, 4.0, 1.0)

    monkeypatch.setattr(image_files, "read_band_path", read_path)
    monkeypatch.setattr(image_files, "read_electronic_structure", read_mesh)
    runs = {name: ScfRun(folder=name, n_total=9) for name in ("default", "learned")}
    material = NonSCFComparison(
        material_id="m",
        formula="Si",
        n_atoms=2,
        protocol="p",
        arms=runs,
        band_paths=runs,
        band_path_errors={"learned": FixedDensityErrors()},
    )
    bands, _, errors = image_files.bands_figure(material).axes
    assert bands.get_ylim()[0] == pytest.approx(-20 - levels[:, 1].max() - 1)
    drawn = [line for line in errors.lines if len(line.get_xdata()) == 21]
    assert len(drawn) == 4  # two occupied bands, and two above
    assert all(line.get_ydata() == pytest.approx(10.0) for line in drawn)
