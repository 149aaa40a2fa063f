"""``mlcharge bands``: electronic structure without self-consistency, and its errors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlcharge_flows.cli.options import (
    AsJson,
    CalibrationFile,
    Executable,
    Limit,
    MaxAtoms,
    Models,
    Occupancies,
    RetryFailed,
    SkipBad,
    Structures,
    Workers,
    chosen_arms,
)
from mlcharge_flows.cli.runs import prepare, run_materials, select_structures
from mlcharge_flows.cli.terminal import NOTHING_DONE, exit_with_error, make_console

if TYPE_CHECKING:
    from mlcharge_flows.atomate2.flows.nonscf import CompareNonSCFMaker


def bands(
    context: typer.Context,
    structures: Structures,
    density: Annotated[
        str,
        typer.Option(
            help="Density that is kept fixed: learned, superposition, converged, or another arm of "
            "compare; several with commas."
        ),
    ] = "learned",
    model: Models = "orbital",
    occupancies: Occupancies = "learned",
    calibration: CalibrationFile = None,
    line_density: Annotated[
        float, typer.Option(min=0.5, help="K-points along the band path, per 1/angstrom.")
    ] = 20,
    executable: Executable = None,
    workers: Workers = 0,
    out: Annotated[Path, typer.Option(help="Folder of the runs and of the report.")] = Path(
        "bands"
    ),
    max_atoms: MaxAtoms = None,
    limit: Limit = None,
    skip_bad: SkipBad = False,
    retry_failed: RetryFailed = False,
    as_json: AsJson = False,
    start: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Compute energy, bands, gap, DOS and forces without self-consistency, and their errors.

    Every structure runs self-consistently, for reference, and at each fixed density (ICHARG = 11)
    on the same k-points and along the band path. Finished materials are not run again, nor failed
    ones without --retry-failed: after an interruption, give the same command.

    [bold]Examples[/bold]

        mlcharge bands Si.cif MgO.cif --density superposition --executable gpaw-vasp

        mlcharge bands structures.json.gz --density learned --max-atoms 6 --limit 20
    """
    from mlcharge_flows.cli.report import results_to_show, show_nonscf_report
    from mlcharge_flows.errors import note_renamed

    if start is not None:
        note_renamed("--start", "--density")
        density = start

    def build() -> CompareNonSCFMaker:
        from mlcharge_flows.atomate2.flows.nonscf import CompareNonSCFMaker
        from mlcharge_flows.atomate2.sets.comparison import BandPathSetGenerator

        densities = chosen_arms(density, model, occupancies, calibration)
        maker = CompareNonSCFMaker(initial_densities=densities)
        maker.band_path_maker.input_set_generator = BandPathSetGenerator(line_density=line_density)
        return maker

    console = make_console(as_json=as_json)
    prepared = prepare(
        context,
        console,
        executable,
        build,
        lambda: select_structures(structures, max_atoms, limit),
        workers=workers,
        skip_bad=skip_bad,
    )
    run_materials(console, prepared, out, retry_failed=retry_failed)
    found, left_out = results_to_show(console, out, prepared.materials, prepared.maker)
    if not show_nonscf_report(console, found, out, left_out, as_json=as_json):
        exit_with_error(f"no material could be compared; see {out}/*/flow.log", status=NOTHING_DONE)
