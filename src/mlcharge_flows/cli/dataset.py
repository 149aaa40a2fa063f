"""``mlcharge dataset``: build, pack, merge and look at data sets."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlcharge_flows.cli.exit import NOTHING_DONE, exit_with_error
from mlcharge_flows.cli.options import (  # noqa: TC001 - typer needs them at run time
    Gamma,
    Limit,
    SkipBad,
    Structures,
    Workers,
)
from mlcharge_flows.cli.run_watched import run_watched

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console

    from mlcharge_flows.atomate2.flows.dataset import DensitySampleMaker
    from mlcharge_flows.structures import Material
    from mlcharge_flows.training.dataset import DensityDataset

DATASET = "dataset.h5"

app = typer.Typer(name="dataset", no_args_is_help=True)


@app.callback()
def _dataset() -> None:
    """Build, pack, merge and look at data sets."""
    if find_spec("h5py") is None:
        exit_with_error("data sets need h5py: pip install 'mlcharge-flows[train]'")


@app.command()
def build(
    context: typer.Context,
    structures: Structures,
    out: Annotated[Path, typer.Option(help="Folder of the runs and of dataset.h5.")] = Path(
        "dataset"
    ),
    workers: Workers = 0,
    exclude: Annotated[
        list[str] | None,
        typer.Option(help="Structures whose identifiers never enter, such as a test set."),
    ] = None,
    extend: Annotated[
        list[Path] | None,
        typer.Option(help="Data sets to be merged with: what they lack most comes first."),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Take only this split of the file: train, validation.")
    ] = None,
    every: Annotated[
        int, typer.Option(min=1, help="Take every so many, to share the work of machines.")
    ] = 1,
    offset: Annotated[int, typer.Option(min=0, help="The first of them: 0, 1, ..")] = 0,
    limit: Limit = None,
    test: Annotated[
        bool,
        typer.Option("--test", help="Take structures marked test, too: to evaluate, not to train."),
    ] = False,
    gamma: Gamma = False,
    skip_bad: SkipBad = False,
    again: Annotated[
        bool, typer.Option("--again", help="Run those that failed before once more.")
    ] = False,
    keep_files: Annotated[
        bool, typer.Option("--keep-files", help="Keep CHGCAR, OUTCAR, .. of every run.")
    ] = False,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="The same densities by a cheaper cycle; steps are not recorded."
        ),
    ] = False,
) -> None:
    """Run every structure from atoms, as compare does, and pack what converged.

    In a fixed order: every pair of elements early, cheap materials first. Finished materials are
    not run again, nor failed ones unless asked for: after an interruption, give the same command.
    With --quick, a cheaper cycle from the shipped model's start: samples that merge with others.

    [bold]Examples[/bold]

        mlcharge dataset build train.json.gz --exclude test.json.gz --out data --limit 1000

        mlcharge dataset build train.json.gz --every 2 --offset 1 --out second-machine

        mlcharge dataset build train.json.gz --extend data/dataset.h5 --limit 300 --out more

        mlcharge dataset build molecules.json --gamma --out molecules
    """
    from rich.console import Console

    from mlcharge_flows.atomate2.flows.compare import comparison_static
    from mlcharge_flows.atomate2.flows.dataset import DensitySampleMaker
    from mlcharge_flows.campaign.build_order import build_order
    from mlcharge_flows.cli.compare import with_data
    from mlcharge_flows.settings import Settings, SetupError

    console = Console(highlight=False)
    try:
        settings = Settings.for_command()
        settings.check()
        maker = DensitySampleMaker(
            static_maker=comparison_static(gamma=gamma), keep_files=keep_files, fast_scf=quick
        )
        allowed, problems = _allowed(console, structures, exclude or [], test)
        there = {name for path in extend or [] for name in _open(path).splits()}
        chosen = [m for m in build_order(allowed, there) if split is None or m.split == split]
        chosen = chosen[offset::every][:limit]
        context.with_resource(settings.activated())
        chosen, without = with_data(chosen, maker)
        problems += without
    except (ValueError, SetupError) as error:
        exit_with_error(error)
    if problems and not skip_bad:
        exit_with_error(*problems, "nothing was run: correct this, or leave it out with --skip-bad")
    for problem in problems:
        console.print(f"left out: {problem}", style="yellow", markup=False)
    if not chosen:
        exit_with_error("there is no structure to run")
    if workers == 0:
        from mlcharge_flows.campaign.local import usable_cpus

        workers = usable_cpus() if settings.embedded else 1
    _run(console, chosen, maker, out, workers, again)


def _allowed(
    console: Console, paths: list[str], exclude: list[str], test: bool
) -> tuple[list[Material], list[str]]:
    """Structures that may enter a data set; of a test set only if it is to be one."""
    from mlcharge_flows.structures import read_structures

    console.print("Reading the structures...")
    materials, problems = read_structures(paths)
    forbidden, unreadable = read_structures(exclude)
    if unreadable:
        raise ValueError(f"--exclude: {unreadable[0]}")
    names = {material.id for material in forbidden}
    allowed = [m for m in materials if m.id not in names and (test or m.split != "test")]
    if len(allowed) < len(materials):
        console.print(f"{len(materials) - len(allowed)} structures are excluded")
    for material in allowed:
        material.structure.properties.update(split=material.split, source=material.source.name)
    return allowed, problems


def _run(
    console: Console,
    materials: list[Material],
    maker: DensitySampleMaker,
    out: Path,
    workers: int,
    again: bool,
) -> None:
    from mlcharge_flows.campaign.local import RESULT, finished
    from mlcharge_flows.scf.comparison import REFERENCE

    if again:
        for name, comparison in finished(materials, maker, out).items():
            if comparison.arms[REFERENCE].exclusion_reason is not None:
                (out / name / RESULT).unlink()
    done = run_watched(console, materials, maker, out, workers)
    failures = [c for c in done if c.arms[REFERENCE].exclusion_reason is not None]
    if failures:
        console.print(f"{len(failures)} materials failed; the cause is in their comparison.json")
    if len(failures) == len(done):
        exit_with_error(f"no material could be packed; see {out}/*/flow.log", status=NOTHING_DONE)
    _join([out], out / DATASET)


@app.command()
def recall(
    context: typer.Context,
    structures: Structures,
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("recalled.h5"),
    model: Annotated[str, typer.Option(help="Name of a model, or a checkpoint.")] = "orbital",
    gamma: Gamma = False,
    skip_bad: SkipBad = False,
) -> None:
    """Write down what a model has learned of the materials that it was trained on.

    For a further stage of its training where its data set is no longer at hand: merged with runs
    of other materials, such samples keep it from forgetting. Validation never uses them.

    [bold]Example[/bold]

        mlcharge dataset recall earlier.json.gz --out recalled.h5

        mlcharge dataset merge data/dataset.h5 recalled.h5 --out all.h5
    """
    from rich.console import Console
    from rich.progress import track

    from mlcharge_flows.atomate2.flows.compare import comparison_static
    from mlcharge_flows.atomate2.flows.dataset import DensitySampleMaker
    from mlcharge_flows.atomate2.jobs.pack import pseudo_label
    from mlcharge_flows.models.model import ModelError
    from mlcharge_flows.settings import Settings, SetupError
    from mlcharge_flows.sources import SourceError
    from mlcharge_flows.sources.learned import Learned
    from mlcharge_flows.training.dataset import write_dataset

    console = Console(highlight=False)
    maker = DensitySampleMaker(static_maker=comparison_static(gamma=gamma))
    try:
        context.with_resource(Settings.for_command().activated())
        Learned(model).check(augmentation=True)
        materials, problems = _allowed(console, structures, [], test=False)
    except (ModelError, SetupError, ValueError) as error:
        exit_with_error(error)
    samples = []
    for material in track(materials, "materials", console=console):
        generator = maker.static_maker.input_set_generator
        try:
            samples.append(pseudo_label(material, generator, maker.protocol, model))
        except SourceError as error:
            problems.append(f"{material.source}: {material.id}: {error}")
    if problems and not skip_bad:
        exit_with_error(
            *problems, "nothing was written: correct this, or leave it out with --skip-bad"
        )
    for problem in problems:
        console.print(f"left out: {problem}", style="yellow", markup=False)
    _written(out, lambda: write_dataset(out, samples))


@app.command()
def merge(
    sources: Annotated[list[Path], typer.Argument(help="Data sets, and folders that build wrote.")],
    out: Annotated[Path, typer.Option(help="File to write.")] = Path(DATASET),
    without: Annotated[
        list[str] | None, typer.Option(help="Leave this material out; may be given several times.")
    ] = None,
) -> None:
    """Join data sets to one; refused if they are of different settings or PAW data sets.

    Works on the folder of a build that is still running, too: what is finished is taken.

    [bold]Example[/bold]

        mlcharge dataset merge first/dataset.h5 second-machine --out all.h5
    """
    _join(sources, out, without or [])


def _join(sources: list[Path], out: Path, without: Sequence[str] = ()) -> None:
    from mlcharge_flows.atomate2.flows.dataset import sample_files
    from mlcharge_flows.training.dataset import merge_datasets

    files: list[Path] = []
    for source in sources:
        found = list(sample_files(source)) if source.is_dir() else [source]
        if not found:
            exit_with_error(f"{source}: there is no sample in this folder")
        files += found
    _written(out, lambda: merge_datasets(files, out, without))


def _written(out: Path, write: Callable[[], DensityDataset]) -> None:
    """Write a data set, and tell its size or why there is none."""
    from mlcharge_flows.training.dataset import DatasetError

    try:
        store = write()
    except DatasetError as error:
        exit_with_error(error)
    except OSError as error:
        exit_with_error(f"{out}: cannot be written ({error.strerror or error})")
    typer.echo(f"{len(store)} materials in {out}, {out.stat().st_size / 1e6:.2f} MB")


@app.command()
def pack(
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs.")],
    protocol: Annotated[
        str, typer.Option(help="Your name for their settings; another name does not merge.")
    ],
    out: Annotated[Path, typer.Option(help="File to write.")] = Path(DATASET),
    split: Annotated[str, typer.Option(help="What they are for: train, validation.")] = "",
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Go on without runs that cannot be used.")
    ] = False,
) -> None:
    """Pack finished runs of VASP; identifiers are the names of the folders.

    With a POTCAR beside its CHGCAR, a run is packed as its difference from the atoms, which then
    are in the file, too: mind the licence of the POTCAR. Without one, channels come from OUTCAR,
    and the density is packed whole.

    [bold]Example[/bold]

        mlcharge dataset pack runs/* --protocol PBE-520 --out vasp.h5
    """
    from mlcharge_flows.training.dataset import write_dataset
    from mlcharge_flows.training.finished_run import RunError, read_finished_run
    from mlcharge_flows.training.sample import Origin

    packed, problems = [], []
    for folder in runs:
        name = folder.resolve().name
        try:
            packed.append(read_finished_run(folder, Origin(name, protocol, str(folder), split)))
        except RunError as error:
            problems.append(str(error))
    if problems and not skip_bad:
        exit_with_error(
            *problems, "nothing was packed: correct this, or leave it out with --skip-bad"
        )
    _written(out, lambda: write_dataset(out, packed))


@app.command()
def info(store: Annotated[Path, typer.Argument(help="The data set.")]) -> None:
    """Show what a data set holds.

    [bold]Example[/bold]

        mlcharge dataset info data/dataset.h5
    """
    from mlcharge_flows.training.summary import summarize

    for name, value in summarize(_open(store)).items():
        typer.echo(f"{name:<24}{value}")


@app.command()
def split(
    store: Annotated[Path, typer.Argument(help="The data set.")],
    only: Annotated[str | None, typer.Option(help="Names of this split alone.")] = None,
) -> None:
    """List the identifiers of a data set with the split of each.

    [bold]Example[/bold]

        mlcharge dataset split data/dataset.h5 --only validation
    """
    for name, part in _open(store).splits().items():
        if only is None:
            typer.echo(f"{name}\t{part or '-'}")
        elif part == only:
            typer.echo(name)


def _open(path: Path) -> DensityDataset:
    from mlcharge_flows.training.dataset import DatasetError, DensityDataset

    try:
        return DensityDataset(path)
    except DatasetError as error:
        exit_with_error(error)
