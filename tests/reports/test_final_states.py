from __future__ import annotations

import io

import pytest
from rich.console import Console

from mlcharge_flows.reports.final_states import MOST_NAMED, states_notes
from mlcharge_flows.reports.scf_columns import ENERGIES, MOMENTS, shown_columns
from mlcharge_flows.reports.scf_report import summary_table, terminal_table, write_report
from mlcharge_flows.scf.statistics import summarize


@pytest.fixture
def magnetic(campaign):
    """The same campaign with spin: two learned runs and one of the control end elsewhere."""
    for comparison in campaign:
        for run in comparison.arms.values():
            run.spin_polarized, run.total_moment = True, 4.4
            run.ion_moments, run.ion_elements = [2.2, 2.2], ["Fe", "Fe"]
    for number in (0, 1):
        run = campaign[number].arms["learned"]
        run.ion_moments, run.total_moment = [2.2, -2.2], 0.0
        run.energy -= 0.2
    campaign[3].arms["superposition"].energy += 0.1
    return campaign


def test_without_spin_no_column_has_moments(campaign, tmp_path):
    summary = summarize(campaign)
    assert MOMENTS not in summary_table(summary)
    assert summary_table(summary).loc["learned", ENERGIES] == "100 / 0 / 0 %"
    assert MOMENTS not in write_report(campaign, tmp_path).read_text()


def test_arms_stand_beside_the_control(magnetic, tmp_path):
    summary = summarize(magnetic)
    assert [column.head for column in shown_columns(summary)] == [*summary_table(summary)]
    table = summary_table(summary)
    assert table.loc["learned", [ENERGIES, MOMENTS]].tolist() == ["78 / 22 / 0 %", "7 of 9"]
    assert table.loc["superposition", [ENERGIES, MOMENTS]].tolist() == ["91 / 0 / 9 %", "11 of 11"]
    assert table.loc["default", [ENERGIES, MOMENTS]].tolist() == ["100 / 0 / 0 %", "12 of 12"]
    page = write_report(magnetic, tmp_path).read_text()
    for words in ("(superposition: 11 of 11)", "(same in superposition: 91 %)"):
        assert words in page
    text = io.StringIO()
    Console(width=200, file=text).print(terminal_table(summary))
    assert MOMENTS in text.getvalue()
    assert "control arm" in text.getvalue()


def test_notes_name_the_materials_and_what_the_control_shows(magnetic, tmp_path):
    by_arm = {line.split("'")[1]: line for line in states_notes(summarize(magnetic))}
    assert set(by_arm) == {"learned", "superposition", "converged"}
    learned = by_arm["learned"]
    assert learned.startswith("2 of 9 materials in 'learned' ended in another state than in")
    assert "(control arm 'superposition': 1 of 11)" in learned
    assert "Si (mp-100: dE −100.0 meV/atom, moments differ by 4.40" in learned
    assert "moment of the cell 0.00, not 4.40 Bohr magnetons" in learned
    assert "by chance" not in learned
    for comparison in magnetic:
        del comparison.arms["superposition"]
    (learned, *_) = states_notes(summarize(magnetic))
    assert "how many do so by chance is not known" in learned


def test_a_note_names_a_few_materials_and_counts_the_others(magnetic):
    for comparison in magnetic:
        comparison.arms["learned"].energy = -1e3
    summary = summarize(magnetic)
    (line,) = (line for line in states_notes(summary) if "'learned'" in line)
    assert line.count("meV/atom") == MOST_NAMED
    assert line.endswith(f"; and {summary.arms['learned'].n_materials - MOST_NAMED} more.")
