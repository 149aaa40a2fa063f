"""Samples of data sets: finished runs packed as jobs, and predictions packed as if they were."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from jobflow import job

from mlcharge_flows.errors import one_line
from mlcharge_flows.scf.comparison import Comparison
from mlcharge_flows.sources.initial_density import InitialDensity
from mlcharge_flows.sources.learned import Learned
from mlcharge_flows.sources.run_inputs import RunInputs
from mlcharge_flows.training.dataset import write_dataset
from mlcharge_flows.training.finished_run import read_finished_run
from mlcharge_flows.training.origin import PSEUDO_LABELED, Origin
from mlcharge_flows.training.sample import DensitySample

if TYPE_CHECKING:
    from pymatgen.core import Structure
    from pymatgen.io.vasp.sets import VaspInputSet

    from mlcharge_flows.structures import Material

SAMPLE_FILE = "sample.h5"
"""The sample of one material: a data set by itself, in the folder of its job."""

FORMER_SAMPLE_FILE = "record.h5"
"""Its name in folders of version 0.1."""

KEPT = {"INCAR", "KPOINTS", "OSZICAR", "vasp"}
"""Files of a packed run that stay (INCAR.gz, vasp.out, ..): small, and they tell what was done."""


@job(output_schema=Comparison)
def pack(
    comparison: Comparison,
    structure: Structure,
    protocol: str | None = None,
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
    protocol
        Hash of the settings that the samples of a data set share; by default that of the runs.
    arm
        Which run to pack.
    keep_files
        Leave the run folder as it is; else all but a few small files are removed once packed.
    with_steps
        Keep the energies of the electronic steps in the sample. Without them, a run that was to
        begin from orbitals counts without orbitals, too.

    Returns
    -------
    Comparison
        As given, with a failure where packing failed.
    """
    run = comparison.arms[arm]
    if not with_steps and run.orbitals_failure:
        # The mesh takes no orbitals: the run converged without them, to the same density.
        run.orbitals_source = run.orbitals_failure = None
    if run.exclusion_reason is not None:
        return comparison
    origin = Origin(
        comparison.material_id,
        protocol or comparison.protocol,
        str(structure.properties.get("source", "")),
        str(structure.properties.get("split", "")),
    )
    folder = Path(run.folder)
    try:
        sample = read_finished_run(folder, origin)
        if not with_steps:
            sample = replace(sample, energies=())
        write_dataset(Path.cwd() / SAMPLE_FILE, [sample])
    except (ValueError, OSError) as error:
        run.failure = f"not packed: {one_line(error)}"
        return comparison
    if not keep_files:
        for file in folder.iterdir():
            if file.name.split(".")[0] not in KEPT:
                file.unlink()
    return comparison


def pseudo_label(
    material: Material, generator: VaspInputSet, protocol: str, model: str
) -> DensitySample:
    """Predict a material on the grid of its run, and pack the prediction as if it were the run's.

    A network that is trained on new materials alone forgets the earlier ones; beside their
    predictions by the network that knew them it does not.

    Parameters
    ----------
    material
        One that the model was trained on.
    generator
        Makes the inputs that the run had.
    protocol
        Hash of these settings.
    model
        Name of the model, or path of its checkpoint.

    Returns
    -------
    DensitySample
        Of the split ``pseudo-labeled``: training takes it, validation never does.

    Raises
    ------
    SourceError
        The model refuses the material.

    References
    ----------
    Rehearsal on a network's own outputs: A. Robins, Connection Science 7, 123 (1995); Z. Li and
    D. Hoiem, IEEE TPAMI 40, 2935 (2018).
    """
    inputs = RunInputs.from_generator(material.structure, generator)
    density = InitialDensity(Learned(model)).evaluate(inputs).density
    origin = Origin(material.id, protocol, f"predicted by {model}", PSEUDO_LABELED)
    return DensitySample.pack(density, inputs.datasets, origin, encut=inputs.incar.get("ENCUT"))
