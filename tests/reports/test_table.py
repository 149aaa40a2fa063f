from __future__ import annotations

import csv
import io

import pytest
from rich.console import Console

from mlcharge_flows.reports.scf_columns import COLUMNS, WALL_TIME, shown_columns
from mlcharge_flows.reports.scf_report import summary_note, summary_table, terminal_table
from mlcharge_flows.reports.table import record_table, to_csv, to_markdown
from mlcharge_flows.scf.statistics import summarize


def test_markdown_has_one_row_per_arm_and_equal_columns(campaign):
    summary = summarize(campaign)
    lines = to_markdown(summary_table(summary)).splitlines()
    assert len(lines) == 2 + len(summary.arms)
    assert {line.replace("\\|", "").count("|") for line in lines} == {
        len(shown_columns(summary)) + 2
    }
    assert [cell.strip() for cell in lines[3].split("|")[1:3]] == ["learned", "9 of 12"]


def test_terminal_table_shows_the_same_cells(campaign):
    summary = summarize(campaign)
    text = io.StringIO()
    Console(width=120, file=text).print(terminal_table(summary))
    for column in COLUMNS:
        assert column.cell(summary.arms["learned"]) in text.getvalue()


def test_an_empty_campaign_has_a_table():
    assert len(to_markdown(summary_table(summarize([]))).splitlines()) == 2
    terminal_table(summarize([]))


def test_wall_times_stand_only_where_the_control_shows_a_quiet_machine(campaign):
    quiet = summarize(campaign)
    assert quiet.wall_time_noise < 0.1
    assert summary_note(quiet) is None
    assert summary_table(quiet).loc["learned", WALL_TIME].endswith(" %")
    for comparison in campaign:
        comparison.arms["superposition"].wall_time *= 1.2
    busy = summarize(campaign)
    assert busy.wall_time_noise == pytest.approx(0.2, abs=0.05)
    assert set(summary_table(busy)[WALL_TIME]) == {"–"}
    assert summary_table(busy).loc["learned", "CPU time saved"].endswith(" %")
    assert "control" in summary_note(busy)
    for comparison in campaign:
        del comparison.arms["superposition"]
    unknown = summarize(campaign)
    assert unknown.wall_time_noise is None
    assert "no 'superposition' arm" in summary_note(unknown)
    text = io.StringIO()
    Console(width=120, file=text).print(terminal_table(unknown))
    assert "Wall times are not shown" in text.getvalue()


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "+1", "-1+1", "@SUM(A1)", "\t=1", " =1+1"])
def test_no_name_is_a_formula_in_a_csv(name):
    table = record_table(["material", "E"], [{"material": name, "E": -1.5}])
    (row,) = csv.DictReader(io.StringIO(to_csv(table)))
    assert row == {"material": f"'{name}", "E": "-1.5"}


@pytest.mark.parametrize("width", [60, 80, 120])
def test_intervals_are_not_broken_at_any_width(campaign, width):
    summary = summarize(campaign)
    text = io.StringIO()
    Console(width=width, file=text).print(terminal_table(summary))
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    for column in COLUMNS:
        for arm in summary.arms.values():
            assert any(column.cell(arm) in line for line in lines)
