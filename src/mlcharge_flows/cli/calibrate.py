"""``mlcharge calibrate``: make a model valid for the cutoff and PAW data sets of an archive."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlcharge_flows.cli.options import Model  # noqa: TC001 - typer needs it at run time
from mlcharge_flows.cli.terminal import (
    check_file,
    exit_with_error,
    make_console,
    print_left_out,
    require,
    tracked,
    written,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.models.calibration import Calibration


def calibrate(
    archive: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folders of finished runs, and folders of such folders; or data sets of "
            "mlcharge dataset pack."
        ),
    ] = None,
    model: Model = "orbital",
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("calibration.json"),
    encut: Annotated[
        float | None,
        typer.Option(help="Use the runs with this cutoff, eV; by default the most frequent."),
    ] = None,
    potcars: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder with POTCARs of the model's PAW data sets, and of the runs if these have "
            "none or are packed. The partial waves of both convert the occupancies. May be given "
            "several times; the POTCAR library is searched, too."
        ),
    ] = None,
    potcar: Annotated[
        Path | None,
        typer.Option(help="Without an archive: POTCAR of the runs, to convert occupancies."),
    ] = None,
) -> None:
    """Calibrate a model with finished runs at another cutoff, or with other PAW data sets.

    Fits for each element a spherical change of the density without charge, and constants of the
    occupancies, in closed form. One run per element gives most of the improvement, up to three are
    useful. An element that the model does not know needs three runs. Constants that are not
    significant are left out. The errors of runs that were left out of the fit are printed and
    stored, as fractions of the superposition's error. Runs with ISPIN = 2 in folders also give the
    magnetization of their elements: a spin density per Bohr magneton, and the sizes of the moments.
    MAGMOM gives the order and signs of the moments.

    A model of the density alone (charge3net, superres) gets occupancies that follow linearly from
    the density, in place of the constants of the occupancies. Four to six runs per element are
    useful, most of them of crystals that are not cubic.

    Give the file as --calibration to predict, compare and bands, as calibration in a SPEC.yaml, or
    to start_from_predicted_density.

    [bold]Examples[/bold]

        mlcharge calibrate archive/ --out pbe54-520.json

        mlcharge calibrate archive/ --model charge3net-mp --out charge3net-mp.json

        mlcharge calibrate --potcar POTCAR --potcars model-potcars --out converted.json
    """
    require("data sets need", "train", "h5py")
    require("models need", "models", "torch", "e3nn", "safetensors")
    from mlcharge_flows.models.calibration import write_calibration
    from mlcharge_flows.sources import known_models
    from mlcharge_flows.training.archive import Archive
    from mlcharge_flows.training.calibrate import Calibrator, carried_only
    from mlcharge_flows.vasp.potcar import PotcarSearch

    console = make_console()
    if bool(archive) == (potcar is not None):
        exit_with_error("give the folders of an archive, or a --potcar without an archive")
    loaded, library = known_models().load(model), PotcarSearch(_folders(potcars))
    if potcar is not None:
        calibration = carried_only(loaded, _datasets(potcar), library)
    else:
        missing = [path for path in archive or [] if not path.exists()]
        if missing:
            exit_with_error(f"{missing[0]}: there is no such folder or data set")
        runs, calibrator = Archive(archive or [], library), Calibrator(loaded, library)
        for sample in tracked(runs, console, len(runs), "runs"):
            if sample is not None:
                calibrator.add(sample)
        try:
            calibration = calibrator.fit(encut)
        finally:
            problems = runs.problems + calibrator.problems
            print_left_out(console, problems)
            print_left_out(console, calibrator.notes, "note")
        if problems:
            console.print(f"{len(problems)} of {len(runs)} runs were left out")
    written(lambda: write_calibration(out, calibration), out)
    _show(console, calibration)
    console.print(f"{out}: {_summary(calibration)}", markup=False, soft_wrap=True)


def _folders(potcars: list[Path] | None) -> list[Path]:
    """Folders of POTCARs: those given, and those of the settings."""
    from mlcharge_flows.settings import Settings

    for folder in potcars or []:
        if not folder.is_dir():
            exit_with_error(f"--potcars {folder}: there is no such folder")
    return [*(potcars or []), *Settings().dataset_folders]


def _datasets(potcar: Path) -> dict[str, PawDataset]:
    from mlcharge_flows.vasp.potcar import datasets_by_element, read_potcar

    check_file(potcar)
    return datasets_by_element(read_potcar(potcar))


def _show(console: Console, calibration: Calibration) -> None:
    """Print a table of the elements, and one of the runs."""
    for part, title in (
        (calibration.elements, "constants of elements; error left in runs that were not fitted"),
        (calibration.alone, "constants alone, for crystals with elements unknown to the model"),
    ):
        if not part:
            continue
        heads = ["hash", "runs", "density", "occupancies", "kept"]
        has_response = any(mine.response for mine in part.values())
        table = _table(title, "PAW data set", *heads, *["of converged"] * has_response)
        for symbol, mine in part.items():
            kept = f"{mine.density_significance:.0%}, {mine.occupancies_significance:.0%}"
            left = (_percent(mine.density_left), _percent(mine.occupancies_left))
            response = [_percent(mine.response_left)] * has_response
            hashed = mine.fingerprint[:8]
            table.add_row(symbol, mine.titel, hashed, str(mine.n_runs), *left, kept, *response)
        console.print(table)
        if has_response:
            console.print(
                "of converged: error of the occupancies that follow from the converged density "
                f"(damping {calibration.ridge:g})",
                soft_wrap=True,
            )
    if calibration.magnetization:
        title = "magnetization; error left in runs not fitted, relative to superposed MAGMOM"
        heads = ["hash", "runs", "moments, muB", "density", "occupancies"]
        table = _table(title, "PAW data set", *heads)
        for symbol, its in calibration.magnetization.items():
            moments = its.all_moments
            size = f"{moments.mean:.2f} ± {moments.spread:.2f}"
            left = (_percent(its.density_left), _percent(its.occupancies_left))
            table.add_row(symbol, its.titel, its.fingerprint[:8], str(moments.n_runs), size, *left)
        console.print(table)
    if calibration.runs:
        title = "error left in each run, with its formula left out of the fit"
        table = _table(title, "run", "density", "calibrated", "occupancies", "calibrated")
        for run in calibration.runs:
            errors = (
                run.density_before,
                run.density_left,
                run.occupancies_before,
                run.occupancies_left,
            )
            table.add_row(run.formula, run.name, *(_percent(error) for error in errors))
        console.print(table)


def _table(title: str, first: str, *heads: str) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column("", no_wrap=True)
    table.add_column(first, overflow="fold")
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    return table


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.1f} %"


def _summary(calibration: Calibration) -> str:
    from statistics import median

    settings = [f"{calibration.encut:g} eV" if calibration.encut else "any cutoff"]
    settings += [word for word in (calibration.prec, calibration.functional) if word]
    text = f"{', '.join(settings)}, {len(calibration.elements | calibration.alone)} elements"
    if not calibration.runs:
        return f"{text}, no runs: occupancies are converted, nothing is fitted"
    n = len(calibration.runs)
    before, left = (
        "/".join(
            f"{100 * median(getattr(run, f'{part}_{name}') for run in calibration.runs):.1f}"
            for part in ("density", "occupancies")
        )
        for name in ("before", "left")
    )
    return (
        f"{text}, {n} run{'s'[: n > 1]}; error of density/occupancies in runs that were "
        f"left out, in percent of the superposition's (median): {before} before, {left} after"
    )
