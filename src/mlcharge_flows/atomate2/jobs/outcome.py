"""Joining what a started workflow gave, as a job: its first run counted, its last one's result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jobflow import job
from pydantic import Field

from mlcharge_flows.scf.comparison import Comparison
from mlcharge_flows.scf.run import ScfRun

OUTCOME = "outcome.json"
"""The outcome of one material, in the folder of its job."""


class Outcome(Comparison):
    """One material of a campaign of started workflows; a small document, like a comparison."""

    energy_per_atom: float | None = Field(
        None, description="Total energy of the last run, eV per atom."
    )
    band_gap: float | None = Field(None, description="Band gap of the last run, eV; 0: a metal.")


@job(output_schema=Outcome)
def outcome(
    material: str,
    formula: str,
    n_atoms: int,
    protocol: str,
    runs: dict[str, ScfRun | None],
    result: Any = None,
    models: dict[str, str] | None = None,
) -> Outcome:
    """Join a counted run and a result; what is missing is a failure, never an error.

    Parameters
    ----------
    material
        Identifier.
    formula
        Reduced formula.
    n_atoms
        Number of ions.
    protocol
        Hash of the settings.
    runs
        Counted run, by name of its start.
    result
        ``output`` of the last run's task document.
    models
        SHA-256 of the checkpoint behind a start that a model predicted.
    """
    lost = ScfRun(folder="", failure="the run left no document")
    found = Outcome(
        material_id=material,
        formula=formula,
        n_atoms=n_atoms,
        protocol=protocol,
        arms={arm: run if run is not None else lost for arm, run in runs.items()},
        models=models or {},
        energy_per_atom=getattr(result, "energy_per_atom", None),
        band_gap=getattr(result, "bandgap", None),
    )
    partial = Path(f".{OUTCOME}")
    partial.write_text(found.model_dump_json(indent=1) + "\n")
    partial.replace(OUTCOME)
    return found
