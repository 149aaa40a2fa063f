"""A report on disk: materials.csv, summary.json and report.html."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from mlcharge_flows.io import atomic_write
from mlcharge_flows.reports.page import render_page
from mlcharge_flows.reports.rows import tidy_rows, to_csv
from mlcharge_flows.scf.statistics import summarize

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlcharge_flows.scf.comparison import Comparison


def write_report(
    comparisons: Iterable[Comparison], folder: str | Path, reference: str = "default"
) -> Path:
    """Write the report of a campaign, finished or not, with any number of materials.

    Each file is replaced as a whole: a reader, or a kill, never meets a half-written one.

    Parameters
    ----------
    comparisons
        One per material.
    folder
        Where to write; made if it is not there.
    reference
        Arm to compare with.

    Returns
    -------
    Path
        Of ``report.html``.

    Raises
    ------
    OSError
        The folder cannot be written to.
    """
    campaign = list(comparisons)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    summary = summarize(campaign, reference)
    statistics = json.dumps(summary.model_dump(mode="json"), indent=2, allow_nan=False)
    atomic_write(folder / "materials.csv", to_csv(tidy_rows(campaign, reference)))
    atomic_write(folder / "summary.json", statistics + "\n")
    atomic_write(folder / "report.html", render_page(campaign, summary))
    return folder / "report.html"
