"""Arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Structures = Annotated[
    list[str],
    typer.Argument(help="CIF, POSCAR or JSON files (also .gz, .bz2, .xz), and folders of them."),
]
Executable = Annotated[
    str | None,
    typer.Option(
        help="Command line of the executable, such as gpaw-vasp, instead of the configured one.",
        show_default=False,
    ),
]
Models = Annotated[
    str,
    typer.Option(
        help="Model of the learned densities: a name or a checkpoint; of several with commas each "
        "has its own arms, such as learned@superres."
    ),
]
Model = Annotated[str, typer.Option(help="Name of a model, or a checkpoint.")]
Occupancies = Annotated[
    str,
    typer.Option(
        help="Augmentation occupancies of the learned densities: learned, element-mean, the name "
        "of another model, or a CHGCAR."
    ),
]
Workers = Annotated[
    int, typer.Option(min=0, help="Materials at a time; 0: one per CPU, or 1 with VASP.")
]
MaxAtoms = Annotated[int | None, typer.Option(min=1, help="Leave out structures with more atoms.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Take only the first so many structures.")]
Gamma = Annotated[bool, typer.Option("--gamma", help="Gamma point alone: molecules in boxes.")]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Continue without structures that cannot be used.")
]
