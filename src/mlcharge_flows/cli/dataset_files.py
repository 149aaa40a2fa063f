"""Files of data sets for the commands: opened, merged and written, or one line why not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from mlcharge_flows.cli.terminal import (
    exit_with_error,
    make_console,
    print_left_out,
    tracked,
    written,
)

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from mlcharge_flows.training.dataset import DensityDataset

DATASET = "dataset.h5"
"""Name of a data set in the folder of its runs."""


def merge_files(
    sources: list[Path],
    out: Path,
    without: Sequence[str] = (),
    *,
    skip_bad: bool = False,
    allow_mixed: bool = False,
) -> None:
    """Merge data sets and print the size of the whole, or exit with the reason why there is none.

    Parameters
    ----------
    sources
        Data sets, and folders in which samples were built.
    out
        File to write.
    without
        Identifiers to leave out.
    skip_bad
        Whether to continue without files that cannot be read.
    allow_mixed
        Whether runs may differ in functional, DFT+U, charge, LMAXMIX, and in ISPIN where the
        magnetization is not known.
    """
    from mlcharge_flows.atomate2.flows.dataset import sample_files
    from mlcharge_flows.training.dataset import DatasetError, DensityDataset, merge_datasets

    files: list[Path] = []
    names: set[str] = set()
    problems: list[str] = []
    for source in sources:
        found = list(sample_files(source)) if source.is_dir() else [source]
        if not found:
            problems.append(f"{source}: there is no sample in this folder")
        for file in found:
            try:
                dataset = DensityDataset(file)
                files.append(dataset.path)
                names.update(dataset.ids)
            except DatasetError as error:
                problems.append(str(error))
    if problems and not (skip_bad and files):
        exit_with_error(*problems, "nothing was merged: --skip-bad leaves out what is unreadable")
    print_left_out(make_console(), problems)
    if unknown := [name for name in without if name not in names]:
        exit_with_error(f"--without {unknown[0]}: no data set holds this material; remove it")
    write_and_describe(out, lambda: merge_datasets(files, out, without, allow_mixed=allow_mixed))


def pack_archive(
    runs: Sequence[Path],
    out: Path,
    protocol: str,
    split: str,
    potcars: Sequence[Path],
    job_store: Path | None,
    *,
    skip_bad: bool,
    allow_mixed: bool,
) -> None:
    """Pack an archive and print the size of the data set, or exit with the reasons why not.

    Parameters
    ----------
    runs
        Folders of runs.
    out
        File to write.
    protocol
        Name of the settings of all runs.
    split
        Split of the samples.
    potcars
        Folders of POTCARs, for runs without one.
    job_store
        File of a jobflow JobStore whose jobs are packed, too.
    skip_bad
        Whether to continue without runs that cannot be used.
    allow_mixed
        Whether runs may differ in functional, DFT+U, charge, LMAXMIX, and in ISPIN where the
        magnetization is not known.
    """
    from mlcharge_flows.training.archive import Archive, count_reasons
    from mlcharge_flows.training.packing import Packing
    from mlcharge_flows.vasp.potcar import PotcarSearch

    console = make_console(as_json=True)
    folders = list(runs)
    if job_store is not None:
        from mlcharge_flows.training.job_store import run_folders

        folders += run_folders(job_store)
    library = PotcarSearch(potcars) if potcars else None
    archive = Archive(folders, library, protocol=protocol, split=split)
    packing = Packing(archive, out, protocol=protocol, split=split, potcars=str(list(potcars)))
    for _ in tracked(packing.run(), console, len(archive), "runs"):
        pass
    if packing.n_known:
        console.print(f"{packing.n_known} of {len(archive)} runs had been read before")
    problems = packing.problems
    if problems and not skip_bad:
        remedy = "nothing was packed: correct this, or leave it out with --skip-bad"
        if len(problems) == len(archive):
            packing.remove_parts()
        exit_with_error(*problems, *_counts(count_reasons(problems), len(archive)), remedy)
    left_out = problems if skip_bad else None
    try:
        write_and_describe(out, lambda: packing.write(allow_mixed=allow_mixed, left_out=left_out))
    finally:
        print_left_out(console, problems)
        for line in _counts(count_reasons(problems), len(archive)):
            console.print(line, markup=False, soft_wrap=True)


def _counts(reasons: Counter[str], n_runs: int) -> list[str]:
    """Line with the number of runs that were left out, by reason."""
    if reasons.total() < 2:  # the one line says it
        return []
    listed = ", ".join(f"{n}: {reason}" for reason, n in reasons.most_common())
    return [f"{reasons.total()} of {n_runs} runs cannot be used ({listed})"]


def write_and_describe(out: Path, write: Callable[[], DensityDataset]) -> None:
    """Write a data set and print its size, or exit with the reason why there is none.

    Parameters
    ----------
    out
        File that is written.
    write
        Writes it.
    """
    dataset = written(write, out)
    typer.echo(f"{len(dataset)} materials in {out}, {out.stat().st_size / 1e6:.2f} MB")


def open_dataset(path: Path) -> DensityDataset:
    """Open a data set; the command ends with the reason if it is none.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    DensityDataset
        The data set.
    """
    from mlcharge_flows.training.dataset import DensityDataset

    return DensityDataset(path)
