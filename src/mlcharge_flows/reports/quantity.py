"""Numbers as a reader of the report sees them."""

from __future__ import annotations

NOTHING = "–"
"""Shown where there is no value."""


def percent(fraction: float | None, digits: int = 1) -> str:
    """Format a fraction as percents.

    Examples
    --------
    >>> percent(4 / 15), percent(-0.02, 0), percent(None)
    ('26.7 %', '−2 %', '–')
    """
    return NOTHING if fraction is None else f"{number(100 * fraction, digits)} %"


def number(value: float | None, digits: int = 0) -> str:
    """Format with a fixed number of decimals and a true minus sign; never minus zero.

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

    Examples
    --------
    >>> steps(15.0), steps(10.5), steps(None)
    ('15', '10.5', '–')
    """
    return number(value, 0 if value is None or value == int(value) else 1)


def small(value: float | None) -> str:
    """Format a residual or another number that spans decades.

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

    Examples
    --------
    >>> interval((0.31, 0.482)), interval(None)
    ('31.0 to 48.2 %', '–')
    """
    if bounds is None:
        return NOTHING
    return f"{number(100 * bounds[0], 1)} to {number(100 * bounds[1], 1)} %"
