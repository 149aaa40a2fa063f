"""``mlcharge models coverage``: how many structures of a list a model serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from mlcharge_flows.cli.options import (  # noqa: TC001 - typer needs them at run time
    AsJson,
    Model,
    SkipBad,
    Structures,
)
from mlcharge_flows.cli.terminal import exit_with_error, make_console, print_left_out, tracked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlcharge_flows.sources.coverage import Coverage

N_SHOWN = 5
"""Refused geometries that are printed; --json has all."""


def coverage(
    structures: Structures,
    model: Model = "orbital",
    as_json: AsJson = False,
    skip_bad: SkipBad = False,
) -> None:
    """Count the structures of a list that a model serves, and why it refuses the others.

    Elements, charge, and distances, volume and coordination are compared. Nothing is run or
    predicted. PAW data sets belong to runs: predict --potcar compares them.

    [bold]Examples[/bold]

        mlcharge models coverage structures.json.gz

        mlcharge models coverage cifs/ --model my.safetensors --json
    """
    from mlcharge_flows.sources import known_models
    from mlcharge_flows.sources.coverage import Coverage
    from mlcharge_flows.structures import read_structures

    loaded = known_models().load(model)
    materials, problems = read_structures(structures)
    if problems and not skip_bad:
        exit_with_error(
            *problems, "nothing was counted: correct this, or leave it out with --skip-bad"
        )
    console = make_console(as_json=as_json)
    print_left_out(console, problems)
    if not materials:
        exit_with_error("there is no structure to compare with the model")
    found = Coverage.of(loaded.domain, tracked(materials, console, len(materials), "structures"))
    if as_json:
        typer.echo(found.model_dump_json(indent=1))
        return
    for line in _lines(found):
        typer.echo(line)


def _lines(found: Coverage) -> Iterator[str]:
    """What is printed without ``--json``."""
    yield (
        f"{found.model} serves {found.n_served} of {found.n_structures} structures "
        f"({100 * found.n_served / found.n_structures:.1f} %)"
    )
    elements = ", ".join(f"{symbol} {n}" for symbol, n in found.unknown_elements.items())
    yield f"{'elements':<10}{found.n_unknown:>6}" + (f"  {elements}" if elements else "")
    yield f"{'charge':<10}{found.n_charged:>6}"
    yield f"{'geometry':<10}{len(found.geometry):>6}"
    for name, reason in list(found.geometry.items())[:N_SHOWN]:
        yield f"{'':<18}{name}: {reason}"
    if (more := len(found.geometry) - N_SHOWN) > 0:
        yield f"{'':<18}and {more} more: --json lists all"
