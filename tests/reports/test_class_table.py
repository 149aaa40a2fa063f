from __future__ import annotations

import pytest

from mlcharge_flows.reports.class_table import OF_CONTROL, SHOWN, class_table
from mlcharge_flows.reports.scf_columns import COLUMNS, ENERGIES, MOMENTS
from mlcharge_flows.reports.scf_report import write_report
from mlcharge_flows.scf.material_class import by_class
from mlcharge_flows.scf.statistics import summarize


def test_a_class_of_all_materials_has_the_numbers_of_the_summary(campaign):
    table = class_table({"all": campaign}, "learned")
    arms = summarize(campaign).arms
    for column in COLUMNS:
        if column.head in SHOWN and column.head != MOMENTS:
            assert table.loc["all", column.head] == column.cell(arms["learned"])
        if column.head in OF_CONTROL and column.head != MOMENTS:
            found = table.loc["all", f"{column.head}, superposition"]
            assert found == column.cell(arms["superposition"])
    assert table.loc["all", "materials"] == "9"


def test_columns_that_mean_nothing_are_left_out(campaign):
    halves = {"first": campaign[:6], "second": campaign[6:]}
    assert not [head for head in class_table(halves, "learned") if head.startswith(MOMENTS)]
    for run in campaign[8].arms.values():
        run.spin_polarized, run.total_moment = True, 1.0
    table = class_table(halves, "learned")
    assert table[MOMENTS].tolist() == ["–", "1 of 1"]
    assert table[f"{MOMENTS}, superposition"].tolist() == ["–", "1 of 1"]
    assert f"{ENERGIES}, superposition" not in class_table(halves, "superposition")
    for comparison in campaign:
        del comparison.arms["superposition"]
    assert not [head for head in class_table(halves, "learned") if "superposition" in head]


def test_classes_where_nothing_counts_are_left_out(campaign):
    assert class_table({"lost": [campaign[7]], "some": campaign[:2]}, "learned").index == ["some"]
    assert class_table({"some": campaign[:2]}, "no such arm").empty
    assert class_table({}, "learned").empty


@pytest.mark.parametrize("n_atoms", [2, 9])
def test_the_page_has_the_classes_of_the_learned_arm(campaign, tmp_path, n_atoms):
    for comparison in campaign[:4]:
        comparison.n_atoms = n_atoms
        comparison.arms["default"].band_gap = 1.0
    page = write_report(campaign, tmp_path).read_text()
    section = page.partition("By class of material")[2].partition("<h2>")[0]
    for name in by_class(campaign):
        assert f'<td class="text">{name}</td>' in section
    assert "What learned saves" in section
    for comparison in campaign:
        del comparison.arms["learned"]
    assert "By class of material" not in write_report(campaign, tmp_path).read_text()
