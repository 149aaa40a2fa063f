"""Counting the runs of a material, and joining the counted runs, as jobs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atomate2.utils.path import strip_hostname
from jobflow import job
from pydantic import Field

from mlcharge_flows.atomate2.schemas import ProvenanceError, RunProvenance
from mlcharge_flows.atomate2.staging import ARCHIVED
from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.errors import one_line
from mlcharge_flows.io import UNREADABLE, atomic_write, plain_or_compressed
from mlcharge_flows.scf.comparison import REFERENCE, Comparison
from mlcharge_flows.scf.count import count_run
from mlcharge_flows.scf.electronic_structure import (
    ElectronicStructureError,
    read_electronic_structure,
)
from mlcharge_flows.scf.nonscf import NonSCFComparison, fixed_density_errors
from mlcharge_flows.scf.run import ScfRun
from mlcharge_flows.scf.run_files import read_ions
from mlcharge_flows.sources.from_file import structure_difference
from mlcharge_flows.sources.initial_chgcar import is_initial_chgcar
from mlcharge_flows.vasp.poscar import read_poscar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlcharge_flows.scf.nonscf import FixedDensityErrors
    from mlcharge_flows.sources.initial_wavecar import InitialOrbitalsDocument

DOCUMENT = "nonscf.json"
"""The comparison of one material, in the folder of its job."""

OUTCOME_FILE = "outcome.json"
"""The outcome of one material, in the folder of its job."""

_OUTPUTS_MISSING = "ValidationError: Validation failed"
"""What custodian says of a run without its outputs, whatever the reason."""


class Outcome(Comparison):
    """One material of a campaign of workflows; a small document, like a comparison."""

    energy_per_atom: float | None = Field(
        None, description="Total energy of the last run, eV per atom."
    )
    band_gap: float | None = Field(None, description="Band gap of the last run, eV; 0: a metal.")


@job(output_schema=ScfRun)
def count(run_dir: str | None) -> ScfRun:
    """Count the run in a folder; the initial density that it was given is read there, too.

    Parameters
    ----------
    run_dir
        Folder, possibly with a host name before it; None if the run left no document.

    Returns
    -------
    ScfRun
        The counted run; what went wrong is its failure.
    """
    if run_dir is None:
        return ScfRun(folder="", failure="the run left no document")
    folder = Path(strip_hostname(run_dir))
    unreadable, provenance = None, None
    try:
        provenance = RunProvenance.read(folder)
    except ProvenanceError as error:
        unreadable = f"unreadable: {error}"
    given = provenance.initial_density if provenance else None
    run = count_run(
        folder,
        expected_comment=given.comment if given else None,
        preparation_time=given.preparation_time if given else 0.0,
        loading_time=given.loading_time if given else None,
    )
    run.failure = run.failure or unreadable
    run.preparation_cpu_time = given.preparation_cpu_time if given else None
    if given and given.model:
        run.model = f"{given.model} {(given.checkpoint or '')[:8]}".strip()
    run.augmentation_source = given.augmentation_source if given else None
    if provenance:
        run.execution |= provenance.execution
        _add_orbitals(run, provenance.initial_orbitals)
    if given and given.failure:
        run.failure = f"no initial density: {given.failure}"
    elif provenance and provenance.failure:
        run.failure = _joined(run.failure, provenance.failure)
    elif provenance and run.failure is None:
        try:
            run.failure = density_issue(folder, provenance)
        except UNREADABLE as error:
            run.failure = f"unreadable: {one_line(error)}"
    return run


def _add_orbitals(run: ScfRun, given: InitialOrbitalsDocument | None) -> None:
    """Add the initial orbitals that a run was to begin from, and what they cost."""
    if given is None:
        return
    run.orbitals_source, run.orbitals_failure = given.source, given.failure
    run.preparation_time += given.preparation_time
    spent = run.preparation_cpu_time
    if spent is not None:
        run.preparation_cpu_time = spent + given.preparation_cpu_time


def density_issue(folder: Path, provenance: RunProvenance) -> str | None:
    """Why the initial density that a run left is not the one that its provenance documents.

    Parameters
    ----------
    folder
        Folder of the finished run.
    provenance
        Its provenance.

    Returns
    -------
    str or None
        ``cause: details``; None if SHA-256 and structure agree, or where the result has replaced
        the file, so that only the comment that VASP printed identifies it.

    Raises
    ------
    OSError, ValueError
        A file cannot be read.
    """
    document = provenance.initial_density
    if document is None or document.path is None:
        return None
    path = folder / ARCHIVED if (folder / ARCHIVED).is_file() else Path(document.path)
    issue, difference = provenance.density_issue, None
    # The archive is no file of VASP, damaged or not.
    is_given = path.name == ARCHIVED or is_initial_chgcar(path)
    if issue is None and path.is_file() and is_given:
        issue = document.change_of(path)
        poscar = plain_or_compressed(folder / "POSCAR")
        if issue is None and poscar.is_file():
            run = Crystal.from_structure(read_poscar(poscar).structure)
            difference = structure_difference(read_ions(path), run)
    if difference:
        return f"initial density of another structure: {path}: {difference}"
    return f"initial density replaced: {issue}" if issue else None


def _joined(found: str | None, raised: str) -> str:
    """``cause: details`` of what the files show and what Python raised, if that adds anything."""
    if found is None:
        return raised
    if raised.startswith((found, _OUTPUTS_MISSING)):
        return found
    if found.startswith(("stopped", "did not start")):
        return found
    return f"{found}{';' if ':' in found else ':'} {raised}"


@job(output_schema=Comparison)
def compare(
    material_id: str,
    formula: str,
    n_atoms: int,
    protocol: str,
    runs: Mapping[str, ScfRun | None],
    models: Mapping[str, str] | None = None,
) -> Comparison:
    """Join the runs of one material; an arm without a document is an arm that failed.

    Parameters
    ----------
    material_id
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

    Returns
    -------
    Comparison
        All arms.
    """
    return Comparison(
        material_id=material_id,
        formula=formula,
        n_atoms=n_atoms,
        protocol=protocol,
        arms=present(runs),
        models=dict(models or {}),
    )


@job(output_schema=Outcome)
def outcome(
    material_id: str,
    formula: str,
    n_atoms: int,
    protocol: str,
    runs: Mapping[str, ScfRun | None],
    result: Any = None,
    models: Mapping[str, str] | None = None,
) -> Outcome:
    """Join the first run of a workflow and the result of its last; what is missing is a failure.

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
        Counted run, by name of its initial density.
    result
        ``output`` of the last run's task document.
    models
        SHA-256 of the checkpoint behind an initial density that a model predicted.

    Returns
    -------
    Outcome
        Also written to ``outcome.json`` in the folder of the job.
    """
    found = Outcome(
        material_id=material_id,
        formula=formula,
        n_atoms=n_atoms,
        protocol=protocol,
        arms=present(runs),
        models=dict(models or {}),
        energy_per_atom=getattr(result, "energy_per_atom", None),
        band_gap=getattr(result, "bandgap", None),
    )
    atomic_write(Path(OUTCOME_FILE), found.model_dump_json(indent=1) + "\n")
    return found


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


def present(runs: Mapping[str, ScfRun | None]) -> dict[str, ScfRun]:
    """Put a failed run where a run left no document.

    Parameters
    ----------
    runs
        Counted run of each arm; None where jobflow found no document.

    Returns
    -------
    dict of str to ScfRun
        A run for each arm.
    """
    lost = ScfRun(folder="", failure="the arm left no document")
    return {arm: run if run is not None else lost for arm, run in runs.items()}
