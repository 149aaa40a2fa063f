"""Files of data sets for the commands: opened, merged and written, or one line why not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from mlcharge_flows.cli.terminal import exit_with_error, make_console, print_left_out, written

if TYPE_CHECKING:
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
        Whether runs may differ in functional, DFT+U, spin polarization, charge and LMAXMIX.
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
