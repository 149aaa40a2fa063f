"""``mlcharge dataset fetch-mp``: public charge densities of Materials Project."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlcharge_flows.cli.options import Limit  # noqa: TC001 - typer needs it at run time
from mlcharge_flows.cli.terminal import (
    NOTHING_DONE,
    exit_with_error,
    make_console,
    print_left_out,
    tracked,
)


def fetch_mp(
    materials: Annotated[
        list[str], typer.Argument(help="Identifiers such as mp-149, or text files of them.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("mp"),
    tasks: Annotated[
        Path | None,
        typer.Option(
            help="JSON: the task of each material; by default the latest static GGA task."
        ),
    ] = None,
    limit: Limit = None,
) -> None:
    r"""Fetch charge densities of Materials Project, with the documents of their tasks.

    Needs mp-api (pip install 'mlcharge-flows\[mp]') and a key, in MP_API_KEY or in pymatgen's
    settings. What is there is not fetched again: after an interruption, give the same command.

    Then pack the folder, or calibrate with it. Both need the POTCARs that the tasks name.

    [bold]Examples[/bold]

        mlcharge dataset fetch-mp mp-149 mp-1265 --out mp

        mlcharge dataset pack mp --protocol MP --potcars ~/potcars --skip-bad --out mp.h5

        mlcharge calibrate mp --potcars ~/potcars --out mp.json
    """
    from mlcharge_flows.campaign.materials_project import open_rester, task_of_each
    from mlcharge_flows.campaign.public_densities import fetch_densities, read_identifiers

    console = make_console()
    names = read_identifiers(materials)[:limit]
    chosen = None if tasks is None else task_of_each(tasks)
    problems: list[str] = []
    with open_rester() as rester:
        fetched = fetch_densities(names, rester, out, chosen)
        for name, reason in tracked(fetched, console, len(names), "densities"):
            if reason:
                problems.append(f"{name}: {reason}")
    print_left_out(console, problems)
    if len(problems) == len(names):
        exit_with_error("no density was fetched", status=NOTHING_DONE)
    console.print(f"{len(names) - len(problems)} of {len(names)} densities in {out}", markup=False)
