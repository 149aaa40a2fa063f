"""Joining the runs at fixed density of one material, as a job."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from jobflow import job

from mlcharge_flows.atomate2.jobs.comparison import present
from mlcharge_flows.io import atomic_write
from mlcharge_flows.scf.comparison import REFERENCE
from mlcharge_flows.scf.electronic_structure import (
    ElectronicStructureError,
    read_electronic_structure,
)
from mlcharge_flows.scf.nonscf import NonSCFComparison, fixed_density_errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlcharge_flows.scf.nonscf import FixedDensityErrors
    from mlcharge_flows.scf.run import ScfRun

DOCUMENT = "nonscf.json"
"""The comparison of one material, in the folder of its job."""


@job(output_schema=NonSCFComparison)
def compare_at_fixed_density(
    material_id: str,
    formula: str,
    n_atoms: int,
    protocol: str,
    runs: Mapping[str, ScfRun | None],
    band_paths: Mapping[str, ScfRun | None],
    models: Mapping[str, str] | None = None,
) -> NonSCFComparison:
    """Join the runs of one material; eigenvalues are read from their folders, never stored.

    Parameters
    ----------
    material_id
        Identifier.
    formula
        Reduced formula.
    n_atoms
        Number of ions.
    protocol
        Hash of the settings.
    runs
        Counted run of each arm: ``default`` self-consistent, the others at fixed density.
    band_paths
        Counted run of each along the band path.
    models
        SHA-256 of the checkpoints behind the arms that models predicted.

    Returns
    -------
    NonSCFComparison
        Also written to ``nonscf.json`` in the folder of the job.
    """
    joined = NonSCFComparison(
        material_id=material_id,
        formula=formula,
        n_atoms=n_atoms,
        protocol=protocol,
        arms=present(runs),
        band_paths=present(band_paths),
        models=dict(models or {}),
    )
    joined.errors = _errors(joined.arms, joined.problems, "")
    joined.band_path_errors = _errors(joined.band_paths, joined.problems, " bands")
    for arm, errors in joined.errors.items():
        errors.dE_meV_per_atom = joined.energy_difference(arm, REFERENCE)
        errors.dF_meV_per_atom = joined.free_energy_difference(arm)
    atomic_write(Path(DOCUMENT), joined.model_dump_json(indent=1) + "\n")
    return joined


def _errors(
    runs: Mapping[str, ScfRun], problems: dict[str, str], kind: str
) -> dict[str, FixedDensityErrors]:
    """Errors of all runs that count, if the reference does; what cannot be read is a problem."""
    states = {}
    for arm, run in runs.items():
        if run.exclusion_reason:
            continue
        try:
            found = read_electronic_structure(run.folder)
            # Points along a path do not sum up to a charge, nor to a force.
            states[arm] = replace(found, forces=None) if kind else found
        except ElectronicStructureError as error:
            problems[f"{arm}{kind}"] = f"unreadable: {error}"
    reference = states.pop(REFERENCE, None)
    errors: dict[str, FixedDensityErrors] = {}
    if reference is None:
        return errors
    for arm, found in states.items():
        try:
            errors[arm] = fixed_density_errors(found, reference)
        except ElectronicStructureError as error:
            problems[f"{arm}{kind}"] = str(error)
    return errors
