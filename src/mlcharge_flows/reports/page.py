"""HTML pages of reports: one set of templates, one way to fill them in."""

from __future__ import annotations

from datetime import datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mlcharge_flows.reports import table

if TYPE_CHECKING:
    from collections.abc import Callable

_FORMATS: dict[str, Callable[..., str]] = {
    "interval": table.interval,
    "number": table.number,
    "percent": table.percent,
    "small": table.small,
    "steps": table.steps,
}
"""Filters of the templates."""


def _printable(value: object) -> object:
    """Text without control characters, such as escapes in the name of a material."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in value)


def render(template: str, **content: object) -> str:
    """Fill in a template of this package.

    Parameters
    ----------
    template
        Its file name.
    **content
        What it shows; text is escaped unless it is marked as markup.

    Returns
    -------
    str
        An HTML page, with the time and the version of the package in it.
    """
    environment = Environment(
        loader=PackageLoader("mlcharge_flows.reports", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    environment.filters |= _FORMATS
    return environment.get_template(template).render(
        written=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        version=version("mlcharge-flows"),
        **content,
    )
