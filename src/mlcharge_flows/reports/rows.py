"""The tidy table: one row per material and arm, every run in it, whatever became of it."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from mlcharge_flows.scf.comparison import ordered_arms

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlcharge_flows.scf.comparison import Comparison


@dataclass(frozen=True)
class Row:
    """One run of one material.

    Parameters
    ----------
    material_id, formula, n_atoms, arm
        What was run.
    n_total, n_scf
        Electronic steps of ionic step 1, with and without those of fixed density.
    reduction
        1 - n_total / n_total(reference); None unless both runs count.
    first_residual
        First rms(c).
    wall_time, preparation_time
        Elapsed time of the run, and time to make its start, s.
    energy, dE_meV_per_atom
        E0 in eV, and its difference to the reference.
    converged, started_from, verified, corrections
        How it ended, where it started, whether that is proven, custodian's corrections.
    failure, provenance_issue
        Why there is no result; why the start is not proven.
    protocol, folder
        Hash of the settings, and where the run is.
    """

    material_id: str
    formula: str
    n_atoms: int
    arm: str
    n_total: int | None
    n_scf: int | None
    reduction: float | None
    first_residual: float | None
    wall_time: float | None
    preparation_time: float
    energy: float | None
    dE_meV_per_atom: float | None  # noqa: N815 - name of the column
    converged: bool
    started_from: str
    verified: bool
    corrections: int
    failure: str | None
    provenance_issue: str | None
    protocol: str
    folder: str


def tidy_rows(comparisons: Iterable[Comparison], reference: str = "default") -> list[Row]:
    """Tabulate all runs, by material, the reference first and the ceiling last.

    Parameters
    ----------
    comparisons
        One per material.
    reference
        Arm that reductions and energy differences refer to.
    """
    return [
        _row(comparison, arm, reference)
        for comparison in sorted(comparisons, key=lambda comparison: comparison.material_id)
        for arm in ordered_arms(comparison.arms, reference)
    ]


def _row(comparison: Comparison, arm: str, reference: str) -> Row:
    run = comparison.arms[arm]
    base = comparison.arms.get(reference)
    counts = base is not None and not (run.exclusion_reason or base.exclusion_reason)
    return Row(
        material_id=comparison.material_id,
        formula=comparison.formula,
        n_atoms=comparison.n_atoms,
        arm=arm,
        n_total=run.n_total,
        n_scf=run.n_scf,
        reduction=(
            1 - run.n_total / base.n_total
            if counts and base is not None and run.n_total and base.n_total
            else None
        ),
        first_residual=run.first_residual,
        wall_time=run.wall_time,
        preparation_time=run.preparation_time,
        energy=run.energy,
        dE_meV_per_atom=comparison.energy_difference(arm, reference),
        converged=run.converged,
        started_from=run.started_from,
        verified=run.verified,
        corrections=run.corrections,
        failure=run.failure,
        provenance_issue=run.provenance_issue,
        protocol=comparison.protocol,
        folder=run.folder,
    )


def to_csv(rows: Iterable[Row]) -> str:
    """Write rows as CSV with a header; None is an empty cell.

    Parameters
    ----------
    rows
        As :func:`tidy_rows` gives them.

    Examples
    --------
    >>> to_csv([]).startswith("material_id,formula,n_atoms,arm,n_total")
    True
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue()
