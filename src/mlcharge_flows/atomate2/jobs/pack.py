"""Packing a finished run as a job: the large files go, a sample of a few kilobytes stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from jobflow import job

from mlcharge_flows.scf.comparison import Comparison
from mlcharge_flows.training.dataset import write_dataset
from mlcharge_flows.training.finished_run import read_finished_run
from mlcharge_flows.training.sample import Origin

if TYPE_CHECKING:
    from pymatgen.core import Structure

RECORD = "record.h5"
"""The sample of one material: a data set by itself."""
KEPT = {"INCAR", "KPOINTS", "OSZICAR", "vasp"}
"""Files of a packed run that stay (INCAR.gz, vasp.out, ..): small, and they tell what was done."""


@job(output_schema=Comparison)
def pack(
    comparison: Comparison,
    structure: Structure,
    arm: str = "default",
    keep_files: bool = False,
    with_steps: bool = True,
) -> Comparison:
    """Write the sample of an arm into the job's folder; a run that does not count has none.

    Parameters
    ----------
    comparison
        The counted runs of a material.
    structure
        Its structure; ``source`` and ``split`` of its properties go into the sample.
    arm
        Which run to pack.
    keep_files
        Leave the run folder as it is; else all but a few small files are removed once packed.
    with_steps
        Keep the energies of the electronic steps in the sample.

    Returns
    -------
    Comparison
        As given, with a failure where packing failed.
    """
    run = comparison.arms[arm]
    if run.exclusion_reason is not None:
        return comparison
    origin = Origin(
        comparison.material_id,
        comparison.protocol,
        str(structure.properties.get("source", "")),
        str(structure.properties.get("split", "")),
    )
    folder = Path(run.folder)
    try:
        sample = read_finished_run(folder, origin)
        if not with_steps:
            sample = replace(sample, energies=())
        write_dataset(Path.cwd() / RECORD, [sample])
    except (ValueError, OSError) as error:
        run.failure = f"not packed: {' '.join(str(error).split())}"
        return comparison
    if not keep_files:
        for file in folder.iterdir():
            if file.name.split(".")[0] not in KEPT:
                file.unlink()
    return comparison
