"""``mlcharge bands``: states straight from a start, beside those of the self-consistent run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlcharge_flows.cli.exit import NOTHING_DONE, exit_with_error
from mlcharge_flows.cli.options import (  # noqa: TC001 - typer needs them at run time
    Limit,
    MaxAtoms,
    Models,
    Occupancies,
    SkipBad,
    Structures,
    Workers,
)
from mlcharge_flows.cli.run_watched import run_watched

if TYPE_CHECKING:
    from rich.console import Console

    from mlcharge_flows.atomate2.flows.nonscf import CompareNonSCFMaker
    from mlcharge_flows.structures import Material


def bands(
    context: typer.Context,
    structures: Structures,
    start: Annotated[
        str,
        typer.Option(
            help="Density that is kept: learned, superposition, converged, .. as the arms of "
            "compare; several with commas."
        ),
    ] = "learned",
    model: Models = "orbital",
    occupancies: Occupancies = "learned",
    line_density: Annotated[
        float, typer.Option(min=0.5, help="K-points along lines of symmetry, per 1/angstrom.")
    ] = 4,
    workers: Workers = 0,
    out: Annotated[Path, typer.Option(help="Folder of the runs and of the report.")] = Path(
        "bands"
    ),
    max_atoms: MaxAtoms = None,
    limit: Limit = None,
    skip_bad: SkipBad = False,
) -> None:
    """Compute energy, bands, gap, DOS and forces without self-consistency, and their errors.

    Every structure runs self-consistently, for reference, and with the density of each start kept
    as it is (ICHARG = 11), on the same k-points and along lines of symmetry. Finished materials
    are not run again: after an interruption, give the same command.

    [bold]Examples[/bold]

        mlcharge bands Si.cif MgO.cif --start superposition --out demo

        mlcharge bands structures.json.gz --start learned --model orbital --max-atoms 6 --limit 20
    """
    from rich.console import Console

    from mlcharge_flows.cli.compare import Choice, arms_of, prepared

    def make() -> CompareNonSCFMaker:
        from mlcharge_flows.atomate2.flows.nonscf import CompareNonSCFMaker
        from mlcharge_flows.atomate2.sets.comparison import BandPathSetGenerator

        maker = CompareNonSCFMaker(initial_densities=arms_of(start, model, occupancies))
        maker.band_path_maker.input_set_generator = BandPathSetGenerator(line_density=line_density)
        return maker

    console = Console(highlight=False)
    choice = Choice(structures, max_atoms, limit, skip_bad, "compute")
    maker, materials, workers = prepared(context, console, make, choice, workers)
    _run(console, materials, maker, out, workers)


def _run(
    console: Console,
    materials: list[Material],
    maker: CompareNonSCFMaker,
    out: Path,
    workers: int,
) -> None:
    from mlcharge_flows.campaign.local import results
    from mlcharge_flows.cli.nonscf_report import show_nonscf_report

    run_watched(console, materials, maker, out, workers)
    done = [c for c in results(out) if c.protocol == maker.protocol]
    if not show_nonscf_report(console, done, out):
        exit_with_error(f"no material could be compared; see {out}/*/flow.log", status=NOTHING_DONE)
