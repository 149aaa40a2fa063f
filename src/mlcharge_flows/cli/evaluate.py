"""``mlcharge evaluate``: errors of a model on an evaluation set."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict
from math import isnan
from pathlib import Path  # noqa: TC003 - typer needs it at run time
from typing import TYPE_CHECKING, Annotated

import typer

from mlcharge_flows.cli.options import (  # noqa: TC001 - typer needs it at run time
    AsJson,
    Model,
)
from mlcharge_flows.cli.terminal import (
    exit_with_error,
    make_console,
    print_left_out,
    require,
    tracked,
    written,
)
from mlcharge_flows.errors import spreadsheet_text

if TYPE_CHECKING:
    from mlcharge_flows.training.error_fit import Reliability
    from mlcharge_flows.training.evaluation import MaterialErrors


def evaluate(
    data: Annotated[Path, typer.Argument(help="Data set of materials to predict.")],
    model: Model = "orbital",
    table: Annotated[
        Path | None, typer.Option("--csv", help="Write one line per material to this file.")
    ] = None,
    reliability: Annotated[
        Path | None,
        typer.Option(help="Draw found against expected errors in this file (.png, .svg, .pdf)."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Predict every material of a data set, and report the errors of density and occupancies.

    The fraction of the superposition's error that a prediction removes, from the density and from
    the occupancies, determines how many electronic steps it saves. Nothing is run.

    [bold]Example[/bold]

        mlcharge dataset build test.json.gz --out test

        mlcharge evaluate test/dataset.h5 --model orbital --csv test.csv
    """
    require("data sets need", "train", "h5py")
    require("models need", "models", "torch", "e3nn", "safetensors")
    from rich.table import Table

    from mlcharge_flows.sources import known_models
    from mlcharge_flows.training import evaluation
    from mlcharge_flows.training.dataset import DensityDataset

    console = make_console(as_json=as_json)
    rows: list[MaterialErrors] = []
    store = DensityDataset(data)
    loaded = known_models().load(model)
    refused = []
    for sample in tracked(store, console, len(store), "predicting"):
        try:
            loaded.domain.check(sample.crystal, sample.shape)
            rows.append(evaluation.evaluate(loaded.model, sample))
        except ValueError as error:
            refused.append(f"{sample.id}: {error}")
    print_left_out(console, refused, "not predicted")
    if not rows:
        exit_with_error(f"{data}: the model {loaded.card.name} predicted no material of it")
    if table is not None:
        written(lambda: _write_csv(table, rows), table)
    known = evaluation.reliability(rows)
    if reliability is not None:
        if known is None:
            exit_with_error(f"--reliability: the model {loaded.card.name} expects no errors")
        written(lambda: _draw(reliability, known), reliability)
    if as_json:
        grouped = evaluation.classes(rows, loaded.card.data.per_element)
        found = {name: _numbers(evaluation.summary(members)) for name, members in grouped.items()}
        typer.echo(json.dumps(found, indent=1))
        return
    shown = Table(title=f"{loaded.card.name} on {data.name}", title_justify="left")
    shown.add_column("class", no_wrap=True)
    for heading in ("n", "atoms", "model", "mean", "density", "occupancies"):
        shown.add_column(heading, justify="right")
    for name, members in evaluation.classes(rows, loaded.card.data.per_element).items():
        summary = evaluation.summary(members)
        shown.add_row(
            name,
            str(len(members)),
            f"{summary['baseline_nmae_median']:.2f} %",
            f"{summary['nmae_median']:.3f} %",
            f"{summary['nmae_mean']:.3f} %",
            f"{100 * summary['density_removed']:.1f} %",
            "-"
            if isnan(summary["occupancies_removed"])
            else f"{100 * summary['occupancies_removed']:.1f} %",
        )
    console.print(shown)
    console.print(
        "atoms, model: median NMAE of superposed atoms and of the prediction, mean: its mean; "
        "density, occupancies: median fraction of the superposition's error that is removed. "
        f"{evaluation.summary(rows)['seconds_median']:.3f} s per material "
        "(median)."
    )
    if known is not None:
        console.print(f"expected errors, {known.summary}")
    if (every := evaluation.summary(rows)).get("magnetic"):
        own, alone = (
            f"{100 * every[f'{grid}_removed']:.1f} % and {100 * every[f'{rest}_removed']:.1f} %"
            for grid, rest in (
                ("magnetization", "spin_occupancies"),
                ("closed_form", "closed_form_occupancies"),
            )
        )
        console.print(
            f"magnetization of {every['magnetic']} materials: {own} of the error of what VASP "
            f"superposes for MAGMOM is removed (grid, occupancies; median), {alone} without the "
            "network."
        )


def _numbers(summary: dict[str, float]) -> dict[str, float | None]:
    """JSON has no NaN, which stands for what a model does not predict."""
    return {name: None if isnan(value) else value for name, value in summary.items()}


def _draw(path: Path, known: Reliability) -> None:
    from mlcharge_flows.reports.reliability import reliability_figure

    reliability_figure(*known.columns).savefig(path, dpi=150)


def _write_csv(path: Path, rows: list[MaterialErrors]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(asdict(rows[0])))
        writer.writeheader()
        for row in rows:
            cells = asdict(row) | {"symbols": " ".join(row.symbols)}
            writer.writerow({name: spreadsheet_text(cell) for name, cell in cells.items()})
