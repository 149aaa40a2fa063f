"""``mlcharge compare``: run, count, report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypeVar

import typer

from mlcharge_flows.cli.exit import NOTHING_DONE, exit_with_error
from mlcharge_flows.cli.options import (  # noqa: TC001 - typer needs them at run time
    Gamma,
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
    from collections.abc import Callable

    from rich.console import Console

    from mlcharge_flows.atomate2.flows.compare import CompareDensitiesMaker
    from mlcharge_flows.atomate2.flows.material import MaterialFlowMaker
    from mlcharge_flows.scf.comparison import Comparison
    from mlcharge_flows.sources import InitialDensity
    from mlcharge_flows.structures import Material

    AnyMaker = TypeVar("AnyMaker", bound=MaterialFlowMaker)


def compare(
    context: typer.Context,
    structures: Structures,
    arms: Annotated[
        str,
        typer.Option(
            help="Starts to compare with default, which always runs: superposition, learned, "
            "converged, and their ablations (atomic-occupancies, learned-atomic-occupancies, ..)."
        ),
    ] = "default,superposition,converged",
    model: Models = "orbital",
    occupancies: Occupancies = "learned",
    workers: Workers = 0,
    out: Annotated[Path, typer.Option(help="Folder of the runs and of the report.")] = Path(
        "comparison"
    ),
    max_atoms: MaxAtoms = None,
    limit: Limit = None,
    gamma: Gamma = False,
    nelmdl: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Fixed-density steps at the beginning of every run, whatever its start; VASP: 5.",
            show_default=False,
        ),
    ] = None,
    skip_bad: SkipBad = False,
) -> None:
    """Compare how many electronic steps each start takes, for every structure.

    Finished materials are not run again: after an interruption, give the same command. With more
    arms and the same --out, only those that are new run.

    [bold]Examples[/bold]

        mlcharge compare Si.cif POSCAR --out demo

        mlcharge compare structures.json.gz --max-atoms 6 --limit 12 --workers 4

        mlcharge compare cifs/ --arms superposition,converged,atomic-occupancies

        mlcharge compare cifs/ --arms learned,converged --model orbital

        mlcharge compare cifs/ --arms learned,converged --nelmdl 2 --out short-delay

        mlcharge compare cifs/ --arms learned --model orbital,charge3net-mp --occupancies orbital

        mlcharge compare molecules.json --gamma --arms learned --model molecules.safetensors
    """
    from rich.console import Console

    def make() -> CompareDensitiesMaker:
        from mlcharge_flows.atomate2.flows.compare import CompareDensitiesMaker, comparison_static

        return CompareDensitiesMaker(
            static_maker=comparison_static(gamma=gamma, nelmdl=nelmdl),
            initial_densities=arms_of(arms, model, occupancies),
        )

    console = Console(highlight=False)
    choice = Choice(structures, max_atoms, limit, skip_bad, "compare")
    maker, materials, workers = prepared(context, console, make, choice, workers)
    _run(console, materials, maker, out, workers)


class Choice(NamedTuple):
    """Which structures to run.

    Parameters
    ----------
    structures
        Files and folders.
    max_atoms, limit
        Largest structures, and how many of the first.
    skip_bad
        Whether to go on without what cannot be used.
    purpose
        What is to be done with them, a verb.
    """

    structures: list[str]
    max_atoms: int | None
    limit: int | None
    skip_bad: bool
    purpose: str


def prepared(
    context: typer.Context,
    console: Console,
    make: Callable[[], AnyMaker],
    choice: Choice,
    workers: int,
) -> tuple[AnyMaker, list[Material], int]:
    """Check set-up, structures and PAW data before anything runs; leave with what is wrong.

    Parameters
    ----------
    context
        Of the command: until it ends, the executable is in use.
    console
        Where to say what is left out.
    make
        Makes the Maker, once the set-up is known to be sound.
    choice
        Structures.
    workers
        As asked for; 0 becomes one per CPU, or 1 with VASP.
    """
    from mlcharge_flows.settings import Settings, SetupError

    try:
        settings = Settings.for_command()
        settings.check()
        maker = make()
        materials, problems, n_large = materials_of(
            choice.structures, choice.max_atoms, choice.limit
        )
        if not problems or choice.skip_bad:
            if settings.potcar_library and not settings.potcar_library.exists():
                console.print("Exporting the PAW data sets, once...")
            context.with_resource(settings.activated())
            materials, without = with_data(materials, maker)
            problems += without
    except (ValueError, SetupError) as error:
        exit_with_error(error)
    if not materials:
        if n_large:
            problems.append(
                f"no structure is left: --max-atoms {choice.max_atoms} leaves out {n_large}"
            )
        exit_with_error(*(problems or [f"there is no structure to {choice.purpose}"]))
    if problems and not choice.skip_bad:
        exit_with_error(*problems, "nothing was run: correct this, or leave it out with --skip-bad")
    for problem in problems:
        console.print(f"left out: {problem}", style="yellow", markup=False)
    if workers == 0:
        from mlcharge_flows.campaign.local import usable_cpus

        workers = usable_cpus() if settings.embedded else 1
    return maker, materials, workers


def arms_of(arms: str, models: str, occupancies: str) -> dict[str, InitialDensity]:
    """Initial densities of the arms, as the options name them, with commas.

    Of several models, each has arms of its own, such as ``learned@superres``. A model that cannot
    be loaded is found out before anything runs.
    """
    from mlcharge_flows.models.checkpoint import SUFFIX
    from mlcharge_flows.sources import parse_arms
    from mlcharge_flows.sources.grammar import arm_of_model

    names = [name.strip() for name in models.split(",") if name.strip()]
    if not names:
        raise ValueError("--model: give at least one, such as orbital")
    found: dict[str, InitialDensity] = {}
    parsed = [
        parse_arms(arms.split(","), _absolute(name), _absolute(occupancies)) for name in names
    ]
    for name, densities in zip(names, parsed, strict=True):
        for arm, density in densities.items():
            density.check()
            if all(other[arm] == density for other in parsed):
                found[arm] = density
                continue
            label = Path(name).name.removesuffix(SUFFIX)
            if (own := arm_of_model(arm, label)) in found:
                raise ValueError(f"--model: two are called {label}; rename a file")
            found[own] = density
    return found


def _absolute(name: str) -> str:
    """The same file for jobs, which run in folders of their own; other names as they are."""
    return str(Path(name).absolute()) if Path(name).is_file() else name


def materials_of(
    paths: list[str], max_atoms: int | None, limit: int | None
) -> tuple[list[Material], list[str], int]:
    """Materials, a line for each file that is unusable, and how many materials are too large."""
    from mlcharge_flows.structures import read_structures

    materials, problems = read_structures(paths)
    small = [m for m in materials if max_atoms is None or len(m.structure) <= max_atoms]
    return small[:limit], problems, len(materials) - len(small)


def with_data(
    materials: list[Material], maker: MaterialFlowMaker
) -> tuple[list[Material], list[str]]:
    """Materials of which every element has a PAW data set, and a line for each other one."""
    from mlcharge_flows.sources.run_inputs import elements_without_potcar

    elements = {element for m in materials for element in m.structure.symbol_set}
    missing = elements_without_potcar(elements, maker.generator)
    usable, problems = [], []
    for material in materials:
        if lacking := sorted(missing.intersection(material.structure.symbol_set)):
            problems.append(
                f"{material.source}: {material.id} needs PAW data for {', '.join(lacking)}, "
                "which the POTCAR library does not have"
            )
        else:
            usable.append(material)
    return usable, problems


def _run(
    console: Console,
    materials: list[Material],
    maker: CompareDensitiesMaker,
    out: Path,
    workers: int,
) -> None:
    from mlcharge_flows.campaign.local import results

    compared = run_watched(console, materials, maker, out, workers)
    from mlcharge_flows.cli.report import show_report

    show_report(console, [c for c in results(out) if c.protocol == maker.protocol], out)
    if not any(_compared(comparison, maker.arms) for comparison in compared):
        exit_with_error(f"no material could be compared; see {out}/*/flow.log", status=NOTHING_DONE)


def _compared(comparison: Comparison, asked: list[str]) -> bool:
    """Whether the reference and, if any were asked for, another of these arms count."""
    from mlcharge_flows.scf.comparison import REFERENCE

    runs = {arm: run for arm, run in comparison.arms.items() if arm in asked}
    counted = {arm for arm, run in runs.items() if run.exclusion_reason is None}
    return REFERENCE in counted and len(counted) >= min(2, len(runs))
