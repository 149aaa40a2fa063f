"""What benchmarks share: options, alternating repeats, ratios with their range, Markdown tables.

Import it before numpy: it keeps a benchmark to one thread unless OMP_NUM_THREADS says otherwise.
"""

from __future__ import annotations

import argparse
import os
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

os.environ.setdefault("OMP_NUM_THREADS", "1")

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence


def parser(doc: str | None, *, repeats: int | None = None) -> argparse.ArgumentParser:
    """Make the parser of a benchmark.

    Parameters
    ----------
    doc
        Docstring of its module; it is the help.
    repeats
        Default of ``--repeats``; no such option if None.

    Returns
    -------
    argparse.ArgumentParser
        To which the benchmark adds what it needs.
    """
    made = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if repeats is not None:
        made.add_argument("--repeats", type=int, default=repeats, help=f"default {repeats}")
    return made


def seconds(action: Callable[[], object], clock: Callable[[], float] = perf_counter) -> float:
    """Time one call; what it returns is freed outside of the measurement.

    Parameters
    ----------
    action
        What is timed.
    clock
        Wall time by default.

    Returns
    -------
    float
        Seconds.
    """
    begin = clock()
    result = action()
    elapsed = clock() - begin
    del result
    return elapsed


def alternate(
    actions: Mapping[str, Callable[[], object]],
    repeats: int,
    clock: Callable[[], float] = perf_counter,
) -> dict[str, list[float]]:
    """Time actions in turns, so that a change of the machine's load meets all of them.

    Parameters
    ----------
    actions
        By name.
    repeats
        Of each.
    clock
        Wall time by default.

    Returns
    -------
    dict of str to list of float
        Seconds of each repeat, by name.
    """
    times: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(repeats):
        for name, action in actions.items():
            times[name].append(seconds(action, clock))
    return times


def ratio(slow: Sequence[float], fast: Sequence[float]) -> str:
    """Render how many times as fast one is as another, repeat by repeat.

    Parameters
    ----------
    slow
        Seconds of one.
    fast
        Seconds of the other, of the same repeats.

    Returns
    -------
    str
        Median and range.
    """
    ratios = sorted(a / b for a, b in zip(slow, fast, strict=True))
    return f"{median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Render median and range.

    Parameters
    ----------
    values
        Numbers.
    digits
        Behind the point.

    Returns
    -------
    str
        Such as ``0.052 (0.051 to 0.078)``.
    """
    low, high = min(values), max(values)
    return f"{median(values):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def print_table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, texts: int = 1) -> None:
    """Print a Markdown table, each row as soon as it is known.

    Parameters
    ----------
    heads
        Titles of the columns.
    rows
        Cells.
    texts
        How many columns, from the left, are texts; the others are numbers.
    """
    print(f"| {' | '.join(heads)} |")
    print("|" + "---|" * texts + "---:|" * (len(heads) - texts))
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)
