"""``mlcharge dataset``: build, pack, merge and describe data sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mlcharge_flows.cli.dataset_build import build, pseudo_label, recall
from mlcharge_flows.cli.dataset_fetch import fetch_mp
from mlcharge_flows.cli.dataset_files import DATASET, merge_files, open_dataset
from mlcharge_flows.cli.options import AsJson  # noqa: TC001 - typer needs it at run time
from mlcharge_flows.cli.terminal import exit_with_error, require
from mlcharge_flows.errors import one_line

AllowMixed = Annotated[
    bool,
    typer.Option(
        "--allow-mixed",
        help="Take runs of different functionals, DFT+U, charge or LMAXMIX, and spin-polarized "
        "ones whose magnetization is not known.",
    ),
]

app = typer.Typer(name="dataset", no_args_is_help=True)
app.command()(build)
app.command()(pseudo_label)
app.command("fetch-mp")(fetch_mp)
app.command("recall", hidden=True)(recall)


@app.callback()
def _dataset() -> None:
    """Build, pack, merge and describe data sets."""
    require("data sets need", "train", "h5py")


@app.command()
def merge(
    sources: Annotated[list[Path], typer.Argument(help="Data sets, and folders that build wrote.")],
    out: Annotated[Path, typer.Option(help="File to write.")] = Path(DATASET),
    without: Annotated[
        list[str] | None, typer.Option(help="Leave this material out; may be given several times.")
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Continue without files that cannot be read.")
    ] = False,
    allow_mixed: AllowMixed = False,
) -> None:
    """Merge data sets to one; refused if their settings or PAW data sets differ.

    Works on the folder of a build that is still running, too: finished materials are taken.

    [bold]Example[/bold]

        mlcharge dataset merge first/dataset.h5 second-machine --out all.h5
    """
    merge_files(sources, out, without or [], skip_bad=skip_bad, allow_mixed=allow_mixed)


@app.command()
def pack(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders of finished runs, and folders of such folders."),
    ] = None,
    protocol: Annotated[
        str, typer.Option(help="Your name for their settings; another name does not merge.")
    ] = "",
    out: Annotated[Path, typer.Option(help="File to write.")] = Path(DATASET),
    split: Annotated[str, typer.Option(help="What they are for: train, validation.")] = "",
    potcars: Annotated[
        list[Path] | None,
        typer.Option(
            help="Library of POTCARs, for runs with a POTCAR.spec or none: data sets are found by "
            "the TITEL in OUTCAR and what POTCAR.spec says. May be given several times."
        ),
    ] = None,
    job_store: Annotated[
        Path | None,
        typer.Option(
            help="File of a jobflow JobStore (jobflow.yaml): the folders of its VASP jobs."
        ),
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Continue without runs that cannot be used.")
    ] = False,
    allow_mixed: AllowMixed = False,
) -> None:
    """Pack finished runs of VASP; identifiers are the parts of their paths that differ.

    Folders are searched at any depth; files are plain, .gz, .bz2 or .xz. The same crystal with the
    same settings is packed once. With a POTCAR in its folder, or in the library of --potcars, a run
    is packed as its difference from the free atoms. The file then contains the free atoms of the
    POTCAR; mind its license. Without a POTCAR, channels are read from OUTCAR, and the density
    itself is packed. CHGCAR must be the converged density of the run of OUTCAR; of files with
    .relax1 and .relax2, the last are used. METAGGA is read from INCAR or vasprun.xml.

    Runs are read one at a time. After an interruption or an error, the same command continues.

    [bold]Examples[/bold]

        mlcharge dataset pack runs --protocol PBE-520 --out vasp.h5

        mlcharge dataset pack archive --protocol PBE-520 --potcars ~/POT_GGA_PAW_PBE_54 --skip-bad

        mlcharge dataset pack --job-store jobflow.yaml --protocol PBE-520 --skip-bad
    """
    from mlcharge_flows.cli.dataset_files import pack_archive

    if not protocol.strip():
        exit_with_error("--protocol is empty: name the settings of the runs, such as PBE-520")
    if not runs and job_store is None:
        exit_with_error("give folders of runs, or a --job-store")
    for folder in potcars or []:
        if not folder.is_dir():
            exit_with_error(f"--potcars {folder}: there is no such folder")
    pack_archive(
        runs or [],
        out,
        protocol,
        split,
        potcars or [],
        job_store,
        skip_bad=skip_bad,
        allow_mixed=allow_mixed,
    )


@app.command()
def info(
    dataset: Annotated[Path, typer.Argument(help="The data set.")], as_json: AsJson = False
) -> None:
    """Describe the content of a data set.

    [bold]Example[/bold]

        mlcharge dataset info data/dataset.h5
    """
    from mlcharge_flows.training.evaluation import summarize

    facts = summarize(open_dataset(dataset))
    if as_json:
        typer.echo(json.dumps(facts, indent=1, default=str))
        return
    for name, value in facts.items():
        typer.echo(f"{name:<24}{one_line(value, 1000)}")


@app.command()
def split(
    dataset: Annotated[Path, typer.Argument(help="The data set.")],
    only: Annotated[str | None, typer.Option(help="List this split only.")] = None,
) -> None:
    """List the identifiers of a data set with the split of each.

    [bold]Example[/bold]

        mlcharge dataset split data/dataset.h5 --only validation
    """
    from mlcharge_flows.training.origin import canonical_split

    wanted = None if only is None else canonical_split(only)
    splits = open_dataset(dataset).splits()
    if wanted is not None and wanted not in splits.values():
        known = ", ".join(sorted({part or "none" for part in splits.values()}))
        exit_with_error(f"--only {only}: {dataset} holds no such material; its splits are {known}")
    for name, part in splits.items():
        if wanted in (None, part):
            shown = one_line(name)
            typer.echo(shown if only else f"{shown}\t{one_line(part or '-')}")
