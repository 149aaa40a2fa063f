"""Counting a run as a job: a folder in, a small document out."""

from __future__ import annotations

from pathlib import Path

from jobflow import job

from mlcharge_flows.jobs.record import StartRecord
from mlcharge_flows.scf.count import count_run
from mlcharge_flows.scf.run import ScfRun


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
    folder = Path(run_dir.split(":")[-1])
    record = StartRecord.read(folder)
    start = record.start if record else None
    run = count_run(
        folder,
        expected_comment=start.comment if start else None,
        start_time=start.seconds if start else 0.0,
    )
    if start and start.failure:
        run.failure = f"no start: {start.failure}"
    elif record and record.failure and not (run.failure or "").startswith("stopped"):
        # Where VASP itself said why it stopped, what Python made of that adds nothing.
        run.failure = f"{run.failure}; {record.failure}" if run.failure else record.failure
    return run
