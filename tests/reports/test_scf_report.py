from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser

import pytest

from mlcharge_flows.reports.scf_report import write_report
from mlcharge_flows.scf.comparison import Comparison, MixedResultsError
from mlcharge_flows.scf.run import ScfRun
from mlcharge_flows.scf.statistics import summarize


class Text(HTMLParser):
    """Visible words, and whether every tag that was opened is closed."""

    VOID = ("meta", "br", "link", "input", "img")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.words.append(data)

    def __str__(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_three_files_and_nothing_else(campaign, tmp_path):
    page = write_report(campaign, tmp_path / "new" / "report")
    assert page.name == "report.html"
    assert sorted(path.name for path in page.parent.iterdir()) == [
        "materials.csv",
        "report.html",
        "summary.json",
    ]


def test_summary_json_is_the_summary(campaign, tmp_path):
    write_report(campaign, tmp_path)

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    found = json.loads((tmp_path / "summary.json").read_text(), parse_constant=refuse)
    assert found == summarize(campaign).model_dump(mode="json")
    assert found["arms"]["learned"]["failures"] == {
        "fell back to atoms": 1,
        "corrected by custodian": 1,
        "did not finish": 1,
    }


def test_materials_csv_has_one_row_per_run(campaign, tmp_path):
    write_report(campaign, tmp_path)
    with (tmp_path / "materials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(len(comparison.arms) for comparison in campaign)
    assert len({(row["material_id"], row["arm"]) for row in rows}) == len(rows)
    learned = [row for row in rows if row["arm"] == "learned"]
    counted = [float(row["reduction"]) for row in learned if row["reduction"]]
    arm = summarize(campaign).arms["learned"]
    assert sum(counted) / len(counted) == pytest.approx(arm.mean_reduction)
    (killed,) = (row for row in learned if row["failure"])
    assert killed["n_total"] == killed["energy"] == ""


def test_page_says_what_it_must(campaign, tmp_path):
    html = write_report(campaign, tmp_path).read_text()
    text = str(Text(html))
    for words in (
        *(
            "How steps were counted",
            "Verification of the initial density",
            "Runs that do not count",
            "All runs",
        ),
        *("ratio of medians", "mean reduction", "95 % interval", "of ceiling", "first rms(c)"),
        *("WARNING: dimensions on CHGCAR file are different", "/campaign/TiZn3/learned"),
        *(comparison.formula for comparison in campaign),
    ):
        assert words in text
    assert html.count('class="plotly-graph-div"') == 4


def test_page_needs_no_network(campaign, tmp_path):
    html = write_report(campaign, tmp_path).read_text()
    assert not re.search(r"""<(?:script|link|img)[^>]*\b(?:src|href)=""", html)
    assert html.count("plotly.js v") == 1  # the library itself, once


def test_zero_materials_make_a_page(tmp_path):
    html = write_report([], tmp_path).read_text()
    assert "No material has finished yet" in str(Text(html))
    assert "Plotly.newPlot" not in html
    assert json.loads((tmp_path / "summary.json").read_text())["arms"] == {}


def test_nothing_that_counts_makes_a_page_with_the_reasons(tmp_path):
    lost = ScfRun(folder="/lost", failure="missing: no folder /lost")
    comparison = Comparison(
        material_id="m",
        formula="Si",
        n_atoms=2,
        protocol="p",
        arms={"default": lost, "learned": lost},
    )
    text = str(Text(write_report([comparison], tmp_path).read_text()))
    assert "missing: no folder /lost" in text
    assert "No material counts" in text


def test_a_growing_campaign_can_be_reported_at_any_time(campaign, tmp_path):
    for n in (1, 2, len(campaign)):
        write_report(campaign[:n], tmp_path)
        assert json.loads((tmp_path / "summary.json").read_text())["n_materials"] == n


def test_names_are_text_and_never_markup(campaign, tmp_path):
    campaign[0].formula = "<script>alert(1)</script>"
    campaign[1].material_id = "x\x1b]2;title\x07\x1b[2J"
    html = write_report(campaign, tmp_path).read_text()
    assert "<script>alert" not in html
    assert "x?]2;title??[2J" in html
    assert "\x1b" not in html


def test_a_material_without_ions_has_no_difference_of_energies(campaign, tmp_path):
    campaign[0].n_atoms = 0
    assert campaign[0].energy_difference("learned", "default") is None
    write_report(campaign, tmp_path)


def test_mixed_settings_are_refused(campaign, tmp_path):
    """From Python as by the commands, and before anything is written."""
    campaign[0].protocol = "another"
    for report in (lambda: write_report(campaign, tmp_path / "new"), lambda: summarize(campaign)):
        with pytest.raises(MixedResultsError, match="2 different settings, which cannot be comp"):
            report()
    campaign[0].protocol = campaign[1].protocol
    campaign[0].models = {"learned": "another checkpoint"}
    with pytest.raises(MixedResultsError, match="2 different checkpoints of 'learned'"):
        write_report(campaign, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_failed_report_leaves_the_old_one(campaign, tmp_path, monkeypatch):
    page = write_report(campaign[:2], tmp_path)
    before = page.read_text()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(OSError, match="No space left") as error:
        write_report(campaign, tmp_path)
    assert error.value.filename == str(tmp_path / "materials.csv")
    assert page.read_text() == before
    assert len(list(tmp_path.iterdir())) == 3


def test_a_slowdown_is_not_called_fewer_steps(campaign, tmp_path):
    for comparison in campaign:
        run, default = comparison.arms["learned"], comparison.arms["default"]
        if run.n_total:
            run.n_total = default.n_total + 2
    text = str(Text(write_report(campaign, tmp_path).read_text()))
    assert re.search(r"learned \d+\.\d % more steps on average", text)


def test_the_page_names_program_settings_and_models(campaign, tmp_path):
    for comparison in campaign:
        for arm, run in comparison.arms.items():
            run.execution = {"version": "vasp.6.4.2"}
            run.encut, run.functional, run.spin_polarized = 350.0, "GGA = PE", False
            run.model = "orbital 0123abcd" if arm == "learned" else None
    text = str(Text(write_report(campaign, tmp_path).read_text()))
    facts = ("program: vasp.6.4.2", "ENCUT: 350 eV", "functional: GGA = PE", "spin: ISPIN = 1")
    for fact in (*facts, "protocol: 9b1d", "model of learned: orbital 0123abcd"):
        assert fact in text
