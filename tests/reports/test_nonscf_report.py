import csv
import io
import json

import pytest
from rich.console import Console

from mlcharge_flows.reports.nonscf_report import (
    COLUMNS,
    nonscf_summary_table,
    nonscf_terminal_table,
    write_nonscf_report,
)
from mlcharge_flows.scf.comparison import MixedResultsError
from mlcharge_flows.scf.nonscf import FixedDensityErrors, NonSCFComparison, summarize_nonscf
from mlcharge_flows.scf.run import ScfRun

READ = {"started_from": "chgcar", "echoed_comment": "ml", "expected_comment": "ml"}


@pytest.fixture
def campaign():
    """One material that counts, one of which the run at fixed density failed."""

    def material(name, failure):
        default = ScfRun(folder="/gone", n_total=10, wall_time=8.0, started_from="atoms")
        learned = ScfRun(folder="/gone", n_total=6, wall_time=2.0, failure=failure, **READ)
        errors = FixedDensityErrors(
            dE_meV_per_atom=0.25,
            direct_gap=0.0,
            direct_gap_reference=0.0,
            fraction_bands_within=0.5,
            fraction_forces_within=1.0,
            forces_vanish=True,
        )
        compared = {} if failure else {"learned": errors}
        return NonSCFComparison(
            material_id=name,
            formula="Cu",
            n_atoms=1,
            protocol="p",
            arms={"default": default, "learned": learned},
            band_paths={"default": default, "learned": learned},
            errors=compared,
            band_path_errors=compared,
        )

    return [material("b", "not converged: <100> steps"), material("a", None)]


def test_three_files_that_leave_those_of_compare_alone(campaign, tmp_path):
    page = write_nonscf_report(campaign, tmp_path)
    assert page.name == "bands.html"
    assert {path.name for path in tmp_path.iterdir()} == {"bands.csv", "bands.json", "bands.html"}
    found = json.loads((tmp_path / "bands.json").read_text())
    assert found == summarize_nonscf(campaign).model_dump(mode="json")


def test_mixed_settings_are_refused(campaign, tmp_path):
    campaign[0].protocol = "another"
    with pytest.raises(MixedResultsError, match="2 different settings"):
        write_nonscf_report(campaign, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_every_run_is_a_row(campaign, tmp_path):
    write_nonscf_report(campaign, tmp_path)
    with (tmp_path / "bands.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["material_id"], row["arm"], row["failure"]) for row in rows] == [
        ("a", "learned", ""),
        ("b", "learned", "not converged: <100> steps"),
    ]
    assert rows[0]["dE_meV_per_atom"] == "0.25"


def test_the_page_says_why_there_is_no_figure(campaign, tmp_path):
    page = write_nonscf_report(campaign, tmp_path).read_text()
    assert "/gone/vasprun.xml: there is no such file" in page
    assert "b: no bands to draw beside the reference" in page
    assert "&lt;100&gt;" in page


def test_the_table_has_every_quantity(campaign):
    summary = summarize_nonscf(campaign)
    table = nonscf_summary_table(summary)
    assert list(table.columns) == [column.head for column in COLUMNS]
    assert list(table.index) == ["learned"]
    learned = table.loc["learned"]
    assert learned["counted"] == "1 of 2"
    assert learned["direct gaps within 43 meV"] == "100 % (1 metals)"
    assert learned["failures"] == "not converged: 1"
    text = io.StringIO()
    Console(width=120, file=text).print(nonscf_terminal_table(summary))
    assert all(cell in text.getvalue() for cell in learned)


def test_nothing_is_a_report_too(tmp_path):
    assert "0 materials" in write_nonscf_report([], tmp_path).read_text()
