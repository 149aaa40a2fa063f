"""The base of all exceptions of the package, and errors rendered as one line."""

from __future__ import annotations

import sys
from functools import cache


class MlchargeError(Exception):
    """Something that a user can mend; the message is one line: what, where, and what to do.

    Commands print the message and exit with status 2; everything else is a fault of the program.

    Attributes
    ----------
    problems
        A line for each problem where there are several; commands print these instead.
    """

    problems: tuple[str, ...] = ()


def one_line(error: object, limit: int = 300) -> str:
    r"""Render an error, or any text, as one line without control characters.

    Parameters
    ----------
    error
        Exception or text.
    limit
        Longest result, in characters; longer ones end in an ellipsis.

    Returns
    -------
    str
        The text; the name of the exception's class where it has none.

    Examples
    --------
    >>> one_line(ValueError("two\n lines"))
    'two lines'
    >>> one_line(KeyError())
    'KeyError'
    """
    words = str(error).split()
    text = "".join(c if c.isprintable() else "?" for c in " ".join(words))
    if isinstance(error, BaseException):
        text = text or type(error).__name__
    return text if len(text) <= limit else text[: limit - 3] + "..."


def spreadsheet_text(value: object) -> object:
    """Render a cell of a CSV so that no spreadsheet takes text for a formula.

    Parameters
    ----------
    value
        A number, None or text, such as the name of a material.

    Returns
    -------
    object
        The value; text that begins like a formula has an apostrophe before it.

    References
    ----------
    OWASP, CSV injection, https://owasp.org/www-community/attacks/CSV_Injection.

    Examples
    --------
    >>> spreadsheet_text("=1+1"), spreadsheet_text("Si"), spreadsheet_text(-1.5)
    ("'=1+1", 'Si', -1.5)
    """
    is_formula = isinstance(value, str) and value.lstrip(" ").startswith(tuple("=+-@\t\r\n"))
    return f"'{value}" if is_formula else value


@cache
def note_renamed(old: str, new: str) -> None:
    """Say once on standard error that a word, key or option of the first release has a new name.

    Parameters
    ----------
    old
        What was given; it still works.
    new
        What to write.
    """
    print(f"mlcharge: {one_line(old)} is now {one_line(new)}", file=sys.stderr)


@cache
def note(text: str) -> None:
    """Say once on standard error what a user should know; nothing is wrong.

    Parameters
    ----------
    text
        What to say; it becomes one line.
    """
    print(f"mlcharge: {one_line(text, 600)}", file=sys.stderr)
