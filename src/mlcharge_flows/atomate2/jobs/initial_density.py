"""Writing initial densities in jobs of their own, one or many at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from jobflow import Job, Maker, job

from mlcharge_flows.sources.initial_chgcar import InitialDensityDocument
from mlcharge_flows.sources.initial_density import InitialDensity
from mlcharge_flows.sources.learned import Learned
from mlcharge_flows.sources.run_inputs import RunInputs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.core import Structure
    from pymatgen.io.vasp.sets import VaspInputSet

OnError = Literal["raise", "record"]


@dataclass
class InitialDensityMaker(Maker):
    """Write the CHGCAR of a run, or of many, for the inputs that the runs will have.

    With a learned density this needs no VASP, no GPAW and no POTCAR; where there are POTCARs, the
    model's PAW data sets are compared with them.

    Parameters
    ----------
    name
        Name of the job.
    initial_density
        What to write.
    on_error
        ``"raise"``, or ``"record"`` to return a document with the failure, so that the other arms
        of a comparison go on and the cause is reported.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> from mlcharge_flows.atomate2.sets.comparison import ComparisonSetGenerator
    >>> silicon = Structure.from_spacegroup("Fd-3m", Lattice.cubic(5.43), ["Si"], [[0, 0, 0]])
    >>> maker = InitialDensityMaker()
    >>> maker.make(silicon, ComparisonSetGenerator()).name
    'initial density'
    >>> maker.make_batch([silicon, silicon], ComparisonSetGenerator()).name
    'initial density batch'
    """

    name: str = "initial density"
    initial_density: InitialDensity = field(default_factory=lambda: InitialDensity(Learned()))
    on_error: OnError = "raise"

    @job(output_schema=InitialDensityDocument)
    def make(
        self,
        structure: Structure,
        generator: VaspInputSet,
        prev_dir: str | Path | None = None,
    ) -> InitialDensityDocument:
        """Write the initial density for the inputs that a generator makes of a structure.

        Parameters
        ----------
        structure
            Structure as given to the run.
        generator
            Input set generator of the run.
        prev_dir
            Folder of a finished run, for sources that need one.

        Returns
        -------
        InitialDensityDocument
            What was written into the folder of the job.

        Raises
        ------
        SourceError
            The initial density cannot be made, and `on_error` is ``"raise"``.
        """
        try:
            inputs = RunInputs.from_generator(structure, generator, prev_dir)
            return self.initial_density.write(inputs, Path.cwd())
        except Exception as error:
            if self.on_error == "raise":
                raise
            return self.initial_density.failed(error)

    def make_batch(self, structures: Sequence[Structure], generator: VaspInputSet) -> Job:
        """Write the initial densities of many structures in one job, with one loaded model.

        Parameters
        ----------
        structures
            Structures as given to the runs.
        generator
            Input set generator of the runs.

        Returns
        -------
        Job
            Its output is a list of documents in the order of the structures: ``batch.output[i]`` is
            the one of the i-th run. A density that cannot be made is a document with a failure, and
            stops no other.
        """
        batch: Job = self._write_all(structures, generator)
        batch.name = f"{self.name} batch"
        return batch

    @job
    def _write_all(
        self, structures: Sequence[Structure], generator: VaspInputSet
    ) -> list[InitialDensityDocument]:
        return [self._write_one(structure, generator) for structure in structures]

    def _write_one(self, structure: Structure, generator: VaspInputSet) -> InitialDensityDocument:
        """Write one initial density to a file that is named by its hash."""
        try:
            inputs = RunInputs.from_generator(structure, generator)
            document = self.initial_density.write(inputs, Path.cwd())
        except Exception as error:
            return self.initial_density.failed(error)
        path = Path(str(document.path))
        # The same density twice is the same file.
        document.path = str(path.replace(path.with_name(f"{document.sha256}.chgcar")))
        return document
