"""Joining the counted runs of one material as a job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobflow import job

from mlcharge_flows.scf.comparison import Comparison
from mlcharge_flows.scf.run import ScfRun

if TYPE_CHECKING:
    from collections.abc import Mapping


@job(output_schema=Comparison)
def compare(
    material: str,
    formula: str,
    n_atoms: int,
    protocol: str,
    runs: Mapping[str, ScfRun | None],
    models: Mapping[str, str] | None = None,
) -> Comparison:
    """Join the runs of one material; an arm without a document is an arm that failed.

    Parameters
    ----------
    material
        Identifier.
    formula
        Reduced formula.
    n_atoms
        Number of ions.
    protocol
        Hash of the shared settings.
    runs
        Counted run of each arm.
    models
        SHA-256 of the checkpoints behind the arms that models predicted.
    """
    lost = ScfRun(folder="", failure="the arm left no document")
    arms = {arm: run if run is not None else lost for arm, run in runs.items()}
    return Comparison(
        material_id=material,
        formula=formula,
        n_atoms=n_atoms,
        protocol=protocol,
        arms=arms,
        models=dict(models or {}),
    )
