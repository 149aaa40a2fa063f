"""What the commands that run materials share: preparation, progress, interruption."""

from __future__ import annotations

import signal
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Generic, TypeVar

from mlcharge_flows.cli.steps_watch import watched
from mlcharge_flows.cli.terminal import (
    INTERRUPTED,
    bar_columns,
    exit_with_error,
    print_left_out,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import typer
    from rich.console import Console, RenderableType

    from mlcharge_flows.atomate2.flows.material import MaterialFlowMaker
    from mlcharge_flows.scf.comparison import Comparison
    from mlcharge_flows.structures import Material

AnyMaker = TypeVar("AnyMaker", bound="MaterialFlowMaker")


@dataclass(frozen=True)
class Prepared(Generic[AnyMaker]):
    """Maker and materials of a command whose executable is in use.

    Parameters
    ----------
    maker
        Flow of one material.
    materials
        What to run.
    workers
        Number of materials at a time.
    skip_bad
        Whether to continue without materials that cannot be run.
    """

    maker: AnyMaker
    materials: list[Material]
    workers: int
    skip_bad: bool = False


def prepare(
    context: typer.Context,
    console: Console,
    executable: str | None,
    build: Callable[[], AnyMaker],
    select: Callable[[], tuple[list[Material], list[str]]],
    *,
    workers: int = 0,
    skip_bad: bool = False,
    remedy: str = "nothing was run: correct this, or leave it out with --skip-bad",
) -> Prepared[AnyMaker]:
    """Check executable, models, structures and PAW data before anything runs.

    Whatever is wrong ends the command with one line per problem. Nothing runs without an
    executable that is given or configured.

    Parameters
    ----------
    context
        Of the command: the executable is in use until it ends.
    console
        Where to print.
    executable
        Command line that the user gave, or None.
    build
        Builds the Maker, once the executable is known to exist.
    select
        Reads the structures; also gives a line for each that cannot be used.
    workers
        Number of materials at a time; 0: one per CPU, or 1 with VASP.
    skip_bad
        Whether to continue without structures that cannot be used.
    remedy
        Last line where structures cannot be used.

    Returns
    -------
    Prepared
        Maker, usable materials, number of workers.
    """
    from mlcharge_flows.campaign.local import usable_cpus
    from mlcharge_flows.campaign.request import dropped_properties
    from mlcharge_flows.settings import Settings

    try:
        settings = Settings.for_command(executable)
        settings.check()
        maker = build()
        materials, problems = select()
        if not problems or skip_bad:
            console.print(settings.describe(), markup=False, soft_wrap=True)
            if settings.potcar_library is not None and not settings.potcar_library.exists():
                console.print("Exporting the PAW data sets, once...")
            context.with_resource(settings.activated())
            materials, without_potcar = with_potcars(materials, maker)
            problems += without_potcar
    except ValueError as error:
        exit_with_error(error)
    if not materials:
        exit_with_error(*(problems or ["there is no structure to run"]))
    if problems and not skip_bad:
        exit_with_error(*problems, remedy)
    print_left_out(console, problems)
    dropped = (dropped_properties(material, maker.generator) for material in materials)
    print_left_out(console, filter(None, dropped), "note")
    workers = workers or (usable_cpus() if settings.embedded else 1)
    return Prepared(maker, materials, workers, skip_bad)


def select_structures(
    paths: list[str], max_atoms: int | None, limit: int | None
) -> tuple[list[Material], list[str]]:
    """Read structures and choose the first so many that are small enough.

    Parameters
    ----------
    paths
        Files and folders.
    max_atoms
        Largest number of atoms.
    limit
        Largest number of structures.

    Returns
    -------
    materials : list of Material
        Those chosen.
    problems : list of str
        One line per structure that cannot be used, and one if none is left.
    """
    from mlcharge_flows.structures import read_structures

    materials, problems = read_structures(paths)
    small = [m for m in materials if max_atoms is None or len(m.structure) <= max_atoms]
    if materials and not small:
        problems.append(
            f"no structure is left: --max-atoms {max_atoms} leaves out {len(materials)}"
        )
    return small[:limit], problems


def with_potcars(
    materials: list[Material], maker: MaterialFlowMaker
) -> tuple[list[Material], list[str]]:
    """Choose the materials whose elements all have a PAW data set.

    Parameters
    ----------
    materials
        Any materials.
    maker
        Its input set chooses the data sets.

    Returns
    -------
    materials : list of Material
        Those that can be run.
    problems : list of str
        One line for each other one.
    """
    from mlcharge_flows.sources.potcar_library import elements_without_potcar

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


def run_materials(
    console: Console, prepared: Prepared[AnyMaker], out: Path, *, retry_failed: bool = False
) -> list[Comparison]:
    """Run what is not finished, with a progress bar.

    Parameters
    ----------
    console
        Where the bar goes.
    prepared
        What to run.
    out
        Campaign folder.
    retry_failed
        Whether arms that failed for physical reasons run again, too.

    Returns
    -------
    list of Comparison
        Of all materials, finished now or before. A folder that cannot be used, a full disk and
        Ctrl-C end the command with one line.
    """
    from mlcharge_flows.campaign.local import (
        finished_materials,
        folder_conflicts,
        run_locally,
        unreadable_results,
    )

    maker, materials = prepared.maker, prepared.materials
    if prepared.skip_bad:
        conflicts = folder_conflicts(materials, maker, out)
        print_left_out(console, conflicts.values())
        materials = [material for material in materials if material.id not in conflicts]
        if not materials:
            exit_with_error("no material is left")
    finished = finished_materials(materials, maker, out, retry_failed=retry_failed)
    if finished:
        console.print(f"{len(finished)} of {len(materials)} materials are finished already")
    print_left_out(console, unreadable_results(out), "counted or run again")
    # The end of a batch job is handled like Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        # They begin in this order, so that those that run are the first of them.
        pending = dict.fromkeys(m.id for m in materials if m.id not in finished)
        n_workers = prepared.workers

        def advance(comparison: Comparison) -> None:
            pending.pop(comparison.material_id, None)
            count(comparison)

        with ExitStack() as shown:
            begin, count, show = shown.enter_context(_progress(console, len(pending)))
            if console.is_terminal:
                shown.enter_context(watched(out, lambda: list(pending)[:n_workers], show))
            return run_locally(
                materials, maker, out, n_workers, advance, begin, retry_failed=retry_failed
            )
    except OSError as error:  # a full disk, for one
        exit_with_error(
            f"{error.filename or out}: {error.strerror or error}; what is finished stays"
        )
    except KeyboardInterrupt:
        done = finished_materials(materials, maker, out, retry_failed=retry_failed)
        left = len(materials) - len(done)
        exit_with_error(
            f"interrupted; {left} of {len(materials)} materials are left: give the same command",
            status=INTERRUPTED,
        )


@contextmanager
def _progress(
    console: Console, total: int
) -> Iterator[tuple[Callable[[], None], Callable[[Comparison], None], Callable[[str], None]]]:
    """Bar with rate and remaining time, and the current steps below.

    Yields
    ------
    tuple
        Functions that show the bar, count a result, and show a text below.
    """
    from rich.progress import Progress, TextColumn
    from rich.text import Text

    class Bar(Progress):
        """Bar with a line of text below."""

        below = ""

        def get_renderables(self) -> Iterator[RenderableType]:
            yield from super().get_renderables()
            if self.below:
                yield Text(self.below, style="dim", no_wrap=True, overflow="ellipsis")

    began = monotonic()
    rate = TextColumn("{task.fields[rate]}")
    progress = Bar(*bar_columns(rate), console=console, disable=total == 0)
    task = progress.add_task("materials", total=total, rate="")

    def advance(comparison: Comparison) -> None:
        progress.console.print(steps_line(comparison), markup=False)
        done = progress.tasks[0].completed + 1
        progress.update(task, advance=1, rate=f"{60 * done / (monotonic() - began):.1f}/min")

    def show(text: str) -> None:
        progress.below = text

    try:
        yield progress.start, advance, show
    finally:
        if progress.live.is_started:
            progress.stop()


def steps_line(comparison: Comparison) -> str:
    """Write the electronic steps of each arm of a material, or why an arm does not count.

    Parameters
    ----------
    comparison
        Counted runs of a material.

    Returns
    -------
    str
        One line.

    Examples
    --------
    >>> from mlcharge_flows.scf.comparison import Comparison
    >>> from mlcharge_flows.scf.run import ScfRun
    >>> lost = ScfRun(folder="", failure="no electronic step")
    >>> run = ScfRun(folder="", n_total=9, energy=-1.0, converged=True, started_from="atoms")
    >>> arms = {"default": run, "a": lost}
    >>> steps_line(Comparison(material_id="m", formula="Si", n_atoms=2, protocol="", arms=arms))
    'm Si: default 9 steps; a failed (no electronic step)'
    """
    arms = comparison.arms.items()
    counts = [f"{name} {run.n_total}" for name, run in arms if run.exclusion_reason is None]
    parts = [f"{', '.join(counts)} steps"] if counts else []
    parts += [f"{name} failed ({reason})" for name, run in arms if (reason := run.exclusion_reason)]
    return f"{comparison.material_id} {comparison.formula}: {'; '.join(parts)}"
