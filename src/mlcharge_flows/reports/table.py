"""Tables: described once, with the same cells in the terminal, in Markdown, CSV and pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.measure import Measurement
from rich.table import Table

from mlcharge_flows.errors import spreadsheet_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from rich.console import Console, ConsoleOptions, RenderResult

T = TypeVar("T")

NOTHING = "–"
"""Shown where there is no value."""


@dataclass(frozen=True)
class Column(Generic[T]):
    """One column of a table of statistics.

    Parameters
    ----------
    head
        Short name.
    meaning
        What it is, in half a sentence.
    cell
        Text of the column for one item.
    """

    head: str
    meaning: str
    cell: Callable[[T], str]


def text_table(columns: Iterable[Column[T]], items: Mapping[str, T]) -> pd.DataFrame:
    """Write items as text, one per row.

    Parameters
    ----------
    columns
        What to show of each item.
    items
        By name.

    Returns
    -------
    pandas.DataFrame
        Index: names; columns: heads.

    Examples
    --------
    >>> table = text_table([Column("length", "letters", lambda text: str(len(text)))], {"a": "abc"})
    >>> print(to_markdown(table))
    |    |   length |
    |:---|---------:|
    | a  |        3 |
    """
    cells = {column.head: [column.cell(item) for item in items.values()] for column in columns}
    return pd.DataFrame(cells, index=pd.Index(list(items), dtype=object), dtype=object)


def to_markdown(table: pd.DataFrame) -> str:
    """Write a table of text in Markdown.

    Parameters
    ----------
    table
        As :func:`text_table` gives it.

    Returns
    -------
    str
        Lines without a final line end.
    """
    escaped = table.rename(index=_escape, columns=_escape).map(_escape)
    align = ["left", *(["right"] * len(table.columns))]
    return str(escaped.to_markdown(disable_numparse=True, colalign=align))


@dataclass(frozen=True, eq=False)
class FittedTable:
    """Table for a terminal: columns that do not fit its width follow below.

    Parameters
    ----------
    table
        Cells of text; the index has the names of the rows.
    title
        Text above.
    caption
        Text below, if any.
    """

    table: pd.DataFrame
    title: str
    caption: str | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        left, title = list(self.table.columns), self.title
        while True:
            n = len(left)
            while n > 1 and self._width(left[:n], console, options) > options.max_width:
                n -= 1
            shown, left = left[:n], left[n:]
            laid_out = self._laid_out(shown, fits=n > 1)
            laid_out.title, title = title, ""
            laid_out.caption = None if left else self.caption
            yield laid_out
            if not left:
                return

    def _width(self, heads: list[str], console: Console, options: ConsoleOptions) -> int:
        unlimited = options.update(width=10**6)
        return Measurement.get(console, unlimited, self._laid_out(heads, fits=True)).maximum

    def _laid_out(self, heads: list[str], *, fits: bool) -> Table:
        """Lay some columns out; their cells are not broken where they fit."""
        laid_out = Table(caption_justify="left", box=SIMPLE_HEAD, pad_edge=False)
        laid_out.add_column("")
        for head in heads:
            laid_out.add_column(head, justify="right", no_wrap=fits)
        for name, *cells in self.table[heads].itertuples():
            laid_out.add_row(name, *cells)
        return laid_out


def to_rich(table: pd.DataFrame, title: str, caption: str | None = None) -> FittedTable:
    """Lay a table of text out for a terminal.

    Parameters
    ----------
    table
        As :func:`text_table` gives it, or transposed.
    title
        Text above.
    caption
        Text below, if any.

    Returns
    -------
    FittedTable
        To be printed by a rich console.
    """
    return FittedTable(table, title, caption)


def record_table(columns: Sequence[str], records: Iterable[Mapping[str, object]]) -> pd.DataFrame:
    """Tabulate values of any type, one record per row.

    Parameters
    ----------
    columns
        Names, in order.
    records
        Value of each column.

    Returns
    -------
    pandas.DataFrame
        Values as they are, None included.
    """
    return pd.DataFrame(list(records), columns=list(columns), dtype=object)


def to_csv(table: pd.DataFrame) -> str:
    r"""Write a table as CSV with a header; None is an empty cell, and no text is a formula.

    Parameters
    ----------
    table
        As :func:`record_table` gives it; the index is left out.

    Returns
    -------
    str
        Lines with a line feed at the end of each.

    Examples
    --------
    >>> to_csv(record_table(["n", "E"], [{"n": 3, "E": -0.1}, {"n": None, "E": 1e-9}]))
    'n,E\n3,-0.1\n,1e-09\n'
    """
    # Column by column as objects: pandas would make integers beside None floats.
    safe = {
        column: pd.Series(map(spreadsheet_text, table[column]), dtype=object) for column in table
    }
    return str(pd.DataFrame(safe).to_csv(index=False, lineterminator="\n"))


def percent(fraction: float | None, digits: int = 1) -> str:
    """Format a fraction as percents.

    Parameters
    ----------
    fraction
        None is shown as a dash.
    digits
        Decimals.

    Returns
    -------
    str
        With a true minus sign.

    Examples
    --------
    >>> percent(4 / 15), percent(-0.02, 0), percent(None)
    ('26.7 %', '−2 %', '–')
    """
    return NOTHING if fraction is None else f"{number(100 * fraction, digits)} %"


def number(value: float | None, digits: int = 0) -> str:
    """Format with a fixed number of decimals and a true minus sign; never minus zero.

    Parameters
    ----------
    value
        None is shown as a dash.
    digits
        Decimals.

    Returns
    -------
    str
        The number.

    Examples
    --------
    >>> number(12.0, 1), number(-0.04, 1), number(-3)
    ('12.0', '0.0', '−3')
    """
    if value is None:
        return NOTHING
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def steps(value: float | None) -> str:
    """Format a count or a median of counts: halves only where there are any.

    Parameters
    ----------
    value
        None is shown as a dash.

    Returns
    -------
    str
        The count.

    Examples
    --------
    >>> steps(15.0), steps(10.5), steps(None)
    ('15', '10.5', '–')
    """
    return number(value, 0 if value is None or value == int(value) else 1)


def count_of(number: int, noun: str) -> str:
    """Write a number of things.

    Parameters
    ----------
    number
        How many.
    noun
        What, in the singular.

    Returns
    -------
    str
        Number and noun.

    Examples
    --------
    >>> count_of(1, "material"), count_of(2, "material")
    ('1 material', '2 materials')
    """
    return f"{number} {noun}{'s' if number != 1 else ''}"


def small(value: float | None) -> str:
    """Format a residual or another number that spans decades.

    Parameters
    ----------
    value
        None is shown as a dash.

    Returns
    -------
    str
        Three digits, or two and a power of ten below 0.01.

    Examples
    --------
    >>> small(0.373), small(0.00018), small(0.0)
    ('0.373', '1.8e-04', '0')
    """
    if value is None:
        return NOTHING
    return f"{value:.3g}" if value == 0 or abs(value) >= 0.01 else f"{value:.1e}"


def interval(bounds: tuple[float, float] | None) -> str:
    """Format an interval of fractions as percents.

    Parameters
    ----------
    bounds
        Lower and upper end; None is shown as a dash.

    Returns
    -------
    str
        Both ends.

    Examples
    --------
    >>> interval((0.31, 0.482)), interval(None)
    ('31.0 to 48.2 %', '–')
    """
    if bounds is None:
        return NOTHING
    return f"{number(100 * bounds[0], 1)} to {number(100 * bounds[1], 1)} %"


def _escape(text: str) -> str:
    return text.replace("|", "\\|")
