"""``mlcharge dataset build`` and ``pseudo-label``: the commands that make samples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlcharge_flows.cli.dataset_files import DATASET, merge_files, open_dataset, write_and_describe
from mlcharge_flows.cli.options import (
    Cutoff,
    Executable,
    Gamma,
    IncarTags,
    KPoints,
    Limit,
    Model,
    RetryFailed,
    SkipBad,
    Spin,
    StaticMaker,
    Structures,
    Workers,
    chosen_static,
    parse_shard,
)
from mlcharge_flows.cli.runs import Prepared, prepare, run_materials
from mlcharge_flows.cli.terminal import (
    NOTHING_DONE,
    exit_with_error,
    make_console,
    print_left_out,
    require,
    tracked,
)

if TYPE_CHECKING:
    from rich.console import Console

    from mlcharge_flows.atomate2.flows.dataset import DensitySampleMaker
    from mlcharge_flows.structures import Material


def build(
    context: typer.Context,
    structures: Structures,
    out: Annotated[Path, typer.Option(help="Folder of the runs and of dataset.h5.")] = Path(
        "dataset"
    ),
    executable: Executable = None,
    workers: Workers = 0,
    exclude: Annotated[
        list[str] | None,
        typer.Option(help="Structures whose identifiers are left out, such as a test set."),
    ] = None,
    complement: Annotated[
        list[Path] | None,
        typer.Option(
            help="Data sets to merge with: their materials are left out, what they lack is first."
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Take only this split of the file: train, validation.")
    ] = None,
    shard: Annotated[
        str,
        typer.Option(help="Part I of N parts of the materials, to share them among machines."),
    ] = "1/1",
    limit: Limit = None,
    test: Annotated[
        bool,
        typer.Option("--test", help="Also take structures marked test, for an evaluation set."),
    ] = False,
    spin: Spin = False,
    maker: StaticMaker = None,
    incar: IncarTags = None,
    encut: Cutoff = None,
    kpoints: KPoints = None,
    gamma: Gamma = False,
    skip_bad: SkipBad = False,
    retry_failed: RetryFailed = False,
    keep_files: Annotated[
        bool, typer.Option("--keep-files", help="Keep CHGCAR, OUTCAR, .. of every run.")
    ] = False,
    fast_scf: Annotated[
        bool,
        typer.Option(
            "--fast-scf",
            help="Use a cheaper SCF to the same densities; its steps are not recorded.",
        ),
    ] = False,
    quick: Annotated[bool, typer.Option("--quick", hidden=True)] = False,
    again: Annotated[bool, typer.Option("--again", hidden=True)] = False,
    every: Annotated[int | None, typer.Option(min=1, hidden=True)] = None,
    offset: Annotated[int, typer.Option(min=0, hidden=True)] = 0,
    extend: Annotated[list[Path] | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run every structure from free atoms, as compare does, and pack the converged runs.

    The order is fixed: cheap materials first, and every pair of elements early. Finished materials
    are not run again; --retry-failed runs failed ones again. After an interruption, give the same
    command. --fast-scf uses a cheaper SCF from the density of the default model; its samples merge
    with others. --spin runs spin-polarized, and the samples have magnetizations; --maker, --incar,
    --encut and --kpoints are those of compare.

    [bold]Examples[/bold]

        mlcharge dataset build train.json.gz --exclude test.json.gz --out data --limit 1000

        mlcharge dataset build train.json.gz --shard 2/2 --out second-machine

        mlcharge dataset build train.json.gz --complement data/dataset.h5 --limit 300 --out more

        mlcharge dataset build molecules.json --gamma --out molecules

        mlcharge dataset build magnetic.json.gz --spin --out spin
    """
    from mlcharge_flows.errors import note_renamed

    shard = shard if every is None else f"{offset + 1}/{every}"
    for old, new, given in (
        ("--quick", "--fast-scf", quick),
        ("--again", "--retry-failed", again),
        ("--extend", "--complement", extend),
        ("--every, --offset", f"--shard {shard}", every),
    ):
        if given:
            note_renamed(old, new)
    part, parts = parse_shard(shard)

    def make() -> DensitySampleMaker:
        from mlcharge_flows.atomate2.flows.dataset import DensitySampleMaker

        return DensitySampleMaker(
            static_maker=chosen_static(maker, incar, kpoints, encut, gamma=gamma, spin=spin),
            keep_files=keep_files,
            fast_scf=fast_scf or quick,
        )

    def select() -> tuple[list[Material], list[str]]:
        from mlcharge_flows.campaign.build_order import build_order

        allowed, problems = _allowed(console, structures, exclude or [], test)
        data_sets = [*(complement or []), *(extend or [])]
        present = {name for path in data_sets for name in open_dataset(path).splits()}
        if split is not None and split not in (known := sorted({m.split for m in allowed})):
            marked = ", ".join(name or "none" for name in known)
            raise ValueError(f"--split {split}: no structure is marked so; their splits: {marked}")
        ordered = [m for m in build_order(allowed, present) if split is None or m.split == split]
        return ordered[part - 1 :: parts][:limit], problems

    console = make_console()
    prepared = prepare(
        context, console, executable, make, select, workers=workers, skip_bad=skip_bad
    )
    _run(console, prepared, out, retry_failed or again)


def _allowed(
    console: Console, paths: list[str], exclude: list[str], test: bool
) -> tuple[list[Material], list[str]]:
    """Structures that may enter a data set; those of a test set only on demand."""
    from mlcharge_flows.structures import StructureError, read_structures

    console.print("Reading the structures...")
    materials, problems = read_structures(paths)
    forbidden, unreadable = read_structures(exclude)
    if unreadable:
        raise StructureError(f"--exclude: {unreadable[0]}")
    names = {material.id for material in forbidden}
    allowed = [m for m in materials if m.id not in names and (test or m.split != "test")]
    if len(allowed) < len(materials):
        console.print(f"{len(materials) - len(allowed)} structures are excluded")
    for material in allowed:
        material.structure.properties.update(split=material.split, source=material.source.name)
    return allowed, problems


def _run(console: Console, prepared: Prepared[DensitySampleMaker], out: Path, retry: bool) -> None:
    from mlcharge_flows.scf.comparison import REFERENCE

    done = run_materials(console, prepared, out, retry_failed=retry)
    n_failed = sum(c.arms[REFERENCE].exclusion_reason is not None for c in done)
    if n_failed:
        console.print(f"{n_failed} materials failed; the cause is in their comparison.json")
    if n_failed == len(done):
        exit_with_error(f"no material could be packed; see {out}/*/flow.log", status=NOTHING_DONE)
    # A file that is broken costs its sample alone. All runs are of one Maker, which chooses DFT+U.
    merge_files([out], out / DATASET, skip_bad=True, allow_mixed=True)


def pseudo_label(
    context: typer.Context,
    structures: Structures,
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("pseudo-labels.h5"),
    model: Model = "orbital",
    executable: Executable = None,
    gamma: Gamma = False,
    skip_bad: SkipBad = False,
) -> None:
    """Write a model's predictions of the materials that it was trained on as samples.

    For a further stage of its training where its data set is no longer available: merged with runs
    of other materials, pseudo-labeled samples prevent forgetting. Validation never uses them.

    [bold]Example[/bold]

        mlcharge dataset pseudo-label earlier.json.gz --out pseudo-labels.h5
    """
    from mlcharge_flows.atomate2.jobs.pack import pseudo_label as predict_sample
    from mlcharge_flows.sources import SourceError
    from mlcharge_flows.training.dataset import write_dataset

    require("models need", "models", "torch", "e3nn", "safetensors")

    def make() -> DensitySampleMaker:
        from mlcharge_flows.atomate2.flows.compare import comparison_static
        from mlcharge_flows.atomate2.flows.dataset import DensitySampleMaker
        from mlcharge_flows.sources import Learned

        Learned(model).check(augmentation=True)
        return DensitySampleMaker(static_maker=comparison_static(gamma=gamma))

    console = make_console()
    remedy = "nothing was written: correct this, or leave it out with --skip-bad"
    prepared = prepare(
        context,
        console,
        executable,
        make,
        lambda: _allowed(console, structures, [], test=False),
        skip_bad=skip_bad,
        remedy=remedy,
    )
    maker, samples, problems = prepared.maker, [], []
    chosen = prepared.materials
    for material in tracked(chosen, console, len(chosen), "materials"):
        try:
            samples.append(predict_sample(material, maker.generator, maker.protocol, model))
        except SourceError as error:
            problems.append(f"{material.source}: {material.id}: {error}")
    if problems and not skip_bad:
        exit_with_error(*problems, remedy)
    print_left_out(console, problems)
    write_and_describe(out, lambda: write_dataset(out, samples))


def recall(
    context: typer.Context,
    structures: Structures,
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("pseudo-labels.h5"),
    model: Model = "orbital",
    gamma: Gamma = False,
    skip_bad: SkipBad = False,
) -> None:
    """Former name of pseudo-label."""
    from mlcharge_flows.errors import note_renamed

    note_renamed("mlcharge dataset recall", "mlcharge dataset pseudo-label")
    pseudo_label(context, structures, out, model, None, gamma, skip_bad)
