"""The campaigns in workflows/ run as they stand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CAMPAIGN = ROOT / "workflows" / "compare_starts" / "campaign.py"


@pytest.mark.gpaw
def test_compare_starts(tmp_path):
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
    assert summary["arms"]["superposition"]["share_equal"] == 1.0
