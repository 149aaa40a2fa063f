"""Counting a run as a job: a folder in, a small document out."""

from __future__ import annotations

from pathlib import Path

from atomate2.utils.path import strip_hostname
from jobflow import job

from mlcharge_flows.atomate2.provenance import StartRecord
from mlcharge_flows.scf.count import count_run
from mlcharge_flows.scf.run import ScfRun

_OUTPUTS_MISSING = "ValidationError: Validation failed"
"""What custodian says of a run without its outputs, whatever the reason."""


@job(output_schema=ScfRun)
def count(run_dir: str | None) -> ScfRun:
    """Count the run in a folder; what it was meant to start from is read from the folder too.

    Parameters
    ----------
    run_dir
        Folder, possibly with a host name before it; None if the run left no document.
    """
    if run_dir is None:
        return ScfRun(folder="", failure="the run left no document")
    folder = Path(strip_hostname(run_dir))
    record = StartRecord.read(folder)
    start = record.start if record else None
    run = count_run(
        folder,
        expected_comment=start.comment if start else None,
        preparation_time=start.seconds if start else 0.0,
    )
    run.augmentation_source = start.occupancies if start else None
    if start and start.failure:
        run.failure = f"no start: {start.failure}"
    elif record and record.failure:
        run.failure = _joined(run.failure, record.failure)
    return run


def _joined(seen: str | None, raised: str) -> str:
    """``cause: details`` of what the files tell and of what Python made of it, if that adds any."""
    if seen is None:
        return raised
    if seen.startswith(("stopped", "did not start")) or raised.startswith(_OUTPUTS_MISSING):
        return seen
    return f"{seen}{';' if ':' in seen else ':'} {raised}"
