"""Progress of a training on the terminal, and its log and curves in the folder."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from mlcharge_flows.training.loop import draw_curves, write_log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from rich.console import Console

    from mlcharge_flows.training.loop import Progress


@contextmanager
def training_progress(
    console: Console, epochs: int, folder: Path
) -> Iterator[Callable[[Progress], None]]:
    """Show a bar over epochs, and a line for each validation.

    Parameters
    ----------
    console
        Where to show it.
    epochs
        How many there will be.
    folder
        Where log.csv and curves.png are kept up to date.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Bar(*columns, console=console) as bar:
        task = bar.add_task("epochs", total=epochs)

        def watch(progress: Progress) -> None:
            row = progress.rows[-1]
            bar.update(task, completed=progress.epoch)
            write_log(folder / "log.csv", progress.rows)
            if "density_left" in row:
                draw_curves(folder / "curves.png", progress.rows)
                training = row["grid" if "grid" in row else "coefficients"]
                left = (
                    f"density {100 * row['density_left']:.1f} % (training {100 * training:.1f} %)"
                )
                if "occupancies_left" in row:
                    left += f", occupancies {100 * row['occupancies_left']:.1f} %"
                bar.console.print(
                    f"epoch {progress.epoch}: left of the superposition's error: "
                    f"{left}; NMAE {row['nmae']:.3f} %"
                )

        yield watch
