"""Who wrote a file, and in which version's layout."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

FORMAT_VERSION = "6.4.3"
"""VASP version whose file layouts are followed.

Readers choose their rules by it, some split it into three integers: it can hold nothing else.
"""


def program() -> str:
    """Name and versions of what really ran.

    Examples
    --------
    >>> from mlcharge_flows.gpaw_vasp.header import program
    >>> program().startswith("gpaw-vasp ")
    True
    """
    name = f"gpaw-vasp {version('mlcharge-flows')}"
    try:
        return f"{name} (GPAW {version('gpaw')})"
    except PackageNotFoundError:
        return name
