from __future__ import annotations

import io

from rich.console import Console

from mlcharge_flows.reports.table import COLUMNS, rich_table, summary_table
from mlcharge_flows.scf.statistics import summarize


def test_markdown_has_one_row_per_arm_and_equal_columns(campaign):
    summary = summarize(campaign)
    lines = summary_table(summary).splitlines()
    assert len(lines) == 2 + len(summary.arms)
    assert {line.replace("\\|", "").count("|") for line in lines} == {len(COLUMNS) + 2}
    assert lines[3].startswith("| learned | 9 of 12 |")


def test_terminal_table_shows_the_same_cells(campaign):
    summary = summarize(campaign)
    text = io.StringIO()
    Console(width=120, file=text).print(rich_table(summary))
    for column in COLUMNS:
        assert column.cell(summary.arms["learned"]) in text.getvalue()


def test_an_empty_campaign_has_a_table():
    assert len(summary_table(summarize([])).splitlines()) == 2
    rich_table(summarize([]))
