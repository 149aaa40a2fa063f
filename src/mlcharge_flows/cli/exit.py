"""How a command ends when it cannot go on: one line per problem, and an exit status."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

BAD_INPUT = 2
NOTHING_DONE = 1
INTERRUPTED = 130


def exit_with_error(*problems: object, status: int = BAD_INPUT) -> NoReturn:
    """Print each problem as one line on standard error and exit.

    Parameters
    ----------
    problems
        What is wrong; line breaks are taken out.
    status
        Exit status: 2 for bad input, 1 if nothing could be done, 130 after Ctrl-C.
    """
    for problem in problems:
        print(f"mlcharge: {' '.join(str(problem).split())}", file=sys.stderr)
    raise typer.Exit(status)
