"""A report on disk: materials.csv, summary.json and report.html."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

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
    replace_file(folder / "materials.csv", to_csv(tidy_rows(campaign, reference)))
    replace_file(folder / "summary.json", statistics + "\n")
    replace_file(folder / "report.html", render_page(campaign, summary))
    return folder / "report.html"


def replace_file(path: Path, text: str) -> None:
    """Write a text file whole: a reader finds the old one or the new one, never a part.

    Raises
    ------
    OSError
        It cannot be written; the error names `path`.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:  # the user knows nothing of the partial file
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with suppress(OSError):
            partial.unlink()
