"""Tables of the OUTCAR with a number for each ion and l: charges and, with spin, moments.

References
----------
VASP wiki, LORBIT.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlcharge_flows.gpaw_vasp.result import Run

#: First orbital of each l, up to f.
_FIRST_OF_L = (0, 1, 4, 9)


def site_tables(run: Run) -> Iterator[str]:
    """Format the tables that LORBIT asks for.

    Parameters
    ----------
    run
        The run.

    Yields
    ------
    str
        Lines without their ends; none without LORBIT.
    """
    if run.projections is not None:
        orbitals = sum(
            (2 / run.n_spins) * np.einsum("k,kb,kbio->io", run.weights, fillings, weights)
            for fillings, weights in zip(run.occupations, run.projections, strict=True)
        )
        first = [start for start in _FIRST_OF_L if start < run.projections.shape[-1]]
        yield from site_table("total charge", np.add.reduceat(orbitals, first, axis=1))
    if run.site_moments is not None:
        yield from site_table("magnetization (x)", run.site_moments)


def site_table(title: str, shells: np.ndarray) -> Iterator[str]:
    """Format a number for each ion and l, and their sums.

    Parameters
    ----------
    title
        Title of the table.
    shells
        Shape (ions, l).

    Yields
    ------
    str
        Lines without their ends.

    Examples
    --------
    >>> for line in [*site_table("total charge", np.ones((1, 3)))][1:]:
    ...     print(line.strip())
    # of ion       s       p       d       tot
    ------------------------------------------
    1          1.000   1.000   1.000   3.000
    --------------------------------------------------
    tot            1.000   1.000   1.000   3.000
    """
    table = np.column_stack([shells, shells.sum(axis=1)])
    width = 8 * shells.shape[1] + 18
    yield f"\n\n {title}\n"
    yield "# of ion       " + "       ".join([*"spdf"[: shells.shape[1]], "tot"])
    yield "-" * width
    yield from (f"{i:5d}       {_numbers(row)}" for i, row in enumerate(table, 1))
    yield "-" * (width + 8)
    yield f"tot         {_numbers(table.sum(axis=0))}\n\n"


def _numbers(values: np.ndarray) -> str:
    return "".join(f"{value:8.3f}" for value in values)
