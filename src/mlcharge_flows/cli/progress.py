"""Progress of a campaign on the terminal, with rate and time left."""

from __future__ import annotations

from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

    from mlcharge_flows.scf.comparison import Comparison


@contextmanager
def campaign_progress(
    console: Console, total: int
) -> Iterator[tuple[Callable[[], None], Callable[[Comparison], None]]]:
    """Show a bar, and one line for each finished material.

    Gives two functions: the first shows the bar, the second is to be called for each material.

    Parameters
    ----------
    console
        Where to show it.
    total
        Materials to run.
    """
    began = monotonic()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    progress = Progress(*columns, console=console, disable=total == 0)
    task = progress.add_task("materials", total=total, rate="")

    def advance(comparison: Comparison) -> None:
        progress.console.print(line(comparison), markup=False)
        done = progress.tasks[0].completed + 1
        rate = f"{60 * done / (monotonic() - began):.1f}/min"
        progress.update(task, advance=1, rate=rate)

    try:
        yield progress.start, advance
    finally:
        if progress.live.is_started:
            progress.stop()


def line(comparison: Comparison) -> str:
    """Write the steps of each arm of a material, or why an arm does not count.

    Examples
    --------
    >>> from mlcharge_flows.scf.comparison import Comparison
    >>> from mlcharge_flows.scf.run import ScfRun
    >>> lost = ScfRun(folder="", failure="no electronic step")
    >>> line(Comparison(material_id="mp-1", formula="Si", n_atoms=2, protocol="", arms={"a": lost}))
    'mp-1 Si: a failed (no electronic step)'
    """
    arms = (
        f"{name} {run.n_total}"
        if run.exclusion_reason is None
        else f"{name} failed ({run.exclusion_reason})"
        for name, run in comparison.arms.items()
    )
    return f"{comparison.material_id} {comparison.formula}: {', '.join(arms)}"
