"""A report of runs at fixed density on disk: bands.csv, bands.json, bands.html, and figures."""

from __future__ import annotations

import json
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined

from mlcharge_flows.io import atomic_path, atomic_write
from mlcharge_flows.reports import quantity
from mlcharge_flows.reports.bands_figure import bands_figure
from mlcharge_flows.reports.nonscf_table import LINES, nonscf_csv, nonscf_rows
from mlcharge_flows.scf.electronic_structure import ElectronicStructureError
from mlcharge_flows.scf.nonscf import summarize_nonscf

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlcharge_flows.scf.nonscf import NonSCFComparison

FIGURE = "bands.png"
"""The figure of one material, in its folder."""


def write_nonscf_report(comparisons: Iterable[NonSCFComparison], folder: str | Path) -> Path:
    """Write the report of what is finished; figures that are there already are kept.

    Parameters
    ----------
    comparisons
        One per material; each has a folder of its name.
    folder
        Where to write.

    Returns
    -------
    Path
        Of ``bands.html``.

    Raises
    ------
    OSError
        The folder cannot be written to.
    """
    campaign, folder = sorted(comparisons, key=lambda one: one.material_id), Path(folder)
    summary = summarize_nonscf(campaign)
    statistics = json.dumps(summary.model_dump(mode="json"), indent=2, allow_nan=False)
    atomic_write(folder / "bands.csv", nonscf_csv(campaign))
    atomic_write(folder / "bands.json", statistics + "\n")
    environment = Environment(
        loader=PackageLoader("mlcharge_flows.reports", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("bands.html.jinja").render(
        summary=summary,
        lines=LINES,
        rows=nonscf_rows(campaign),
        figures={one.material_id: _draw(one, folder) for one in campaign},
        failures=[
            (one, arm, why)
            for one in campaign
            for arm in one.arms
            if (why := one.exclusion_reason(arm))
        ],
        q=quantity,
        written=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        version=version("mlcharge-flows"),
    )
    atomic_write(folder / "bands.html", page)
    return folder / "bands.html"


def _draw(comparison: NonSCFComparison, folder: Path) -> tuple[str | None, str | None]:
    """Path of the figure of a material relative to the folder, or why there is none."""
    path = folder / comparison.material_id / FIGURE
    if not path.is_file():
        try:
            figure = bands_figure(comparison)
        except ElectronicStructureError as error:
            return None, str(error)
        path.parent.mkdir(exist_ok=True)
        with atomic_path(path) as partial:
            figure.savefig(partial, dpi=110, format="png")
    return f"{comparison.material_id}/{FIGURE}", None
