"""The campaigns in workflows/ run as they stand."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from jobflow import SETTINGS, JobStore, run_locally
from maggma.stores import MemoryStore

from mlcharge_flows.atomate2.flows.compare import CompareDensitiesMaker
from mlcharge_flows.atomate2.jobs.comparison import compare
from mlcharge_flows.scf.run import ScfRun

ROOT = Path(__file__).parents[1]
CAMPAIGN = ROOT / "workflows" / "compare_densities" / "campaign.py"


@pytest.mark.gpaw
def test_compare_densities(tmp_path):
    pytest.importorskip("gpaw", reason="needs the gpaw extra")
    silicon = ROOT / "test_files" / "crystals" / "Si.vasp"
    subprocess.run(
        [sys.executable, CAMPAIGN, silicon, "--out", "campaign"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        timeout=600,
    )
    summary = json.loads((tmp_path / "campaign" / "summary.json").read_text())
    assert summary["arms"]["converged"]["median_n_total"] == 6
    assert summary["arms"]["superposition"]["fraction_equal"] == 1.0


def test_the_report_of_submitted_materials_comes_from_the_job_store(tmp_path, monkeypatch):
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    run = ScfRun(folder="", n_total=9, energy=-1.0, converged=True, started_from="atoms")
    protocol = CompareDensitiesMaker().protocol
    for material, settings in (("a", protocol), ("b", protocol), ("c", "another")):
        run_locally(compare(material, "Si", 2, settings, {"default": run}), store=store, log=False)
    monkeypatch.setattr(SETTINGS, "JOB_STORE", store)
    monkeypatch.chdir(tmp_path)
    text = CAMPAIGN.with_name("README.md").read_text(encoding="utf-8")
    (snippet,) = (block for block in text.split("\n\n") if "SETTINGS.JOB_STORE as" in block)
    tree = ast.parse(CAMPAIGN.read_text(encoding="utf-8"))
    imports = [
        ast.unparse(node)
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mlcharge_flows")
    ]
    exec("\n".join([*imports, textwrap.dedent(snippet)]), {"SETTINGS": SETTINGS})
    summary = json.loads((tmp_path / "campaign" / "summary.json").read_text())
    assert summary["n_materials"] == 2
