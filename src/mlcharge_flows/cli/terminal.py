"""Messages on the terminal: errors with their exit status, what was left out, progress bars."""

from __future__ import annotations

import logging
import sys
import warnings
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, NoReturn, TypeVar

import typer

from mlcharge_flows.errors import one_line
from mlcharge_flows.file_kinds import not_a_file
from mlcharge_flows.progress_lines import ProgressLines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from rich.console import Console
    from rich.progress import ProgressColumn, Task

    Result = TypeVar("Result")
    Item = TypeVar("Item")

BAD_INPUT = 2
NOTHING_DONE = 1
INTERRUPTED = 130

_LONGEST_LINE = 600


@dataclass
class Verbosity:
    """How much commands print.

    Parameters
    ----------
    quiet
        Whether only errors, JSON, and what inspect, models and dataset show are printed.
    verbose
        Whether log messages, warnings of libraries and the origin of errors are printed.
    """

    quiet: bool = False
    verbose: bool = False

    def set(self, *, quiet: bool, verbose: bool) -> None:
        """Set it for the command that is called.

        Parameters
        ----------
        quiet, verbose
            As the fields.
        """
        self.quiet, self.verbose = quiet, verbose
        if verbose:
            logging.basicConfig(level=logging.INFO, stream=sys.stderr, force=True)
            warnings.simplefilter("default")


VERBOSITY = Verbosity()
"""That of this process."""


def make_console(*, as_json: bool = False) -> Console:
    """Console for what is told beside the results.

    Parameters
    ----------
    as_json
        Whether standard output is for results as JSON: all else goes to standard error.

    Returns
    -------
    rich.console.Console
        It prints nothing with ``--quiet``.
    """
    from rich.console import Console

    return Console(highlight=False, stderr=as_json, quiet=VERBOSITY.quiet)


def exit_with_error(*problems: object, status: int = BAD_INPUT) -> NoReturn:
    """Print each problem as one line on standard error and exit.

    Parameters
    ----------
    problems
        Exceptions or texts; line breaks and control characters are removed.
    status
        Exit status: 2 for bad input, 1 if nothing could be done, 130 after Ctrl-C.

    Raises
    ------
    typer.Exit
        Always.
    """
    if VERBOSITY.verbose and (cause := sys.exception()) is not None:
        logging.getLogger(__name__).info("where it happened", exc_info=cause)
    for problem in problems:
        print(f"mlcharge: {one_line(problem, _LONGEST_LINE)}", file=sys.stderr)
    raise typer.Exit(status)


def check_file(path: Path) -> None:
    """Exit with one line if a path is not that of a file.

    Parameters
    ----------
    path
        What the user gave.
    """
    if reason := not_a_file(path):
        exit_with_error(f"{one_line(path, 200)}: {reason}")


def require(purpose: str, extra: str, *modules: str) -> None:
    """Exit with one line if a package of an optional extra is not installed.

    Parameters
    ----------
    purpose
        Beginning of the line, such as ``data sets need``.
    extra
        Extra of this package that installs it.
    *modules
        Modules that are imported.
    """
    if missing := [module for module in modules if find_spec(module) is None]:
        exit_with_error(f"{purpose} {', '.join(missing)}: pip install 'mlcharge-flows[{extra}]'")


def print_left_out(console: Console, problems: Iterable[str], label: str = "left out") -> None:
    """Print a line for each structure that is left out.

    Parameters
    ----------
    console
        Where to print.
    problems
        One line each.
    label
        Beginning of each line.
    """
    for problem in problems:
        text = one_line(f"{label}: {problem}", _LONGEST_LINE)
        console.print(text, style="yellow", markup=False, soft_wrap=True)


def written(write: Callable[[], Result], target: Path) -> Result:
    """Write files, and exit with one line if the file system refuses.

    Parameters
    ----------
    write
        Writes them.
    target
        Named in the message if the error names no file.

    Returns
    -------
    Any
        What `write` returns.
    """
    try:
        return write()
    except OSError as error:
        exit_with_error(
            f"{error.filename or target}: cannot be written ({error.strerror or error})"
        )


def bar_columns(*more: ProgressColumn) -> list[ProgressColumn]:
    """Columns of a progress bar.

    Parameters
    ----------
    *more
        Columns between the number of finished items and the times.

    Returns
    -------
    list of ProgressColumn
        Description, bar, count, those given, the time that has passed and, where it can be
        estimated, the time that is left.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn
    from rich.text import Text

    class Times(ProgressColumn):
        """Time that has passed, and time that is left."""

        max_refresh = 0.5

        def render(self, task: Task) -> Text:
            passed = task.finished_time if task.finished else task.elapsed
            text = str(timedelta(seconds=int(passed or 0)))
            if not task.finished and task.time_remaining is not None:
                text += f", {timedelta(seconds=int(task.time_remaining))} left"
            return Text(text)

    return [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), *more, Times()]


def tracked(
    items: Iterable[Item], console: Console, total: int, description: str
) -> Iterator[Item]:
    """Iterate with a progress bar that vanishes at the end, or with lines in a log file.

    Parameters
    ----------
    items
        What to iterate over.
    console
        Where the bar is drawn. Where it is no terminal, a line tells the progress, at most once a
        minute and a hundred times in all.
    total
        Number of items.
    description
        What the items are.

    Yields
    ------
    Item
        Each item.
    """
    from rich.progress import Progress

    if not console.is_terminal:
        lines = ProgressLines(description, total)
        for done, item in enumerate(items):
            if line := lines.line(done):
                console.print(line, markup=False, soft_wrap=True)
            yield item
        return
    with Progress(*bar_columns(), console=console, transient=True) as progress:
        yield from progress.track(items, total=total, description=description)
