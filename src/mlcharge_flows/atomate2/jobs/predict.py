"""Predicting the CHGCARs of structures as a job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlcharge_flows.atomate2.jobs.batch import StartBatchMaker
from mlcharge_flows.sources.learned import LearnedStartMaker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobflow import Job
    from pymatgen.core import Structure
    from pymatgen.io.vasp.sets import VaspInputSet


@dataclass
class PredictChargeMaker(LearnedStartMaker):
    """Write the CHGCAR of a structure, or of many, for the inputs of a run.

    What :class:`~mlcharge_flows.sources.learned.LearnedStartMaker` is within a flow, as a job that
    stands alone. It needs no VASP, no GPAW and no POTCAR; where there are POTCARs, the model's PAW
    data sets are compared with them.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> from mlcharge_flows.atomate2.sets.comparison import ComparisonSetGenerator
    >>> silicon = Structure.from_spacegroup("Fd-3m", Lattice.cubic(5.43), ["Si"], [[0, 0, 0]])
    >>> PredictChargeMaker().make(silicon, ComparisonSetGenerator()).name
    'predict charge'
    >>> batch = PredictChargeMaker().make_batch([silicon, silicon], ComparisonSetGenerator())
    >>> batch.name
    'predict charge batch'
    """

    name: str = "predict charge"

    def make_batch(self, structures: Sequence[Structure], generator: VaspInputSet) -> Job:
        """Predict many structures in one job, with one loaded model.

        Parameters
        ----------
        structures
            Structures as given to the runs.
        generator
            Input set generator of the runs.

        Returns
        -------
        Job
            Its output is a list of :class:`~mlcharge_flows.sources.start.StartDocument`, as of a
            :class:`~mlcharge_flows.atomate2.jobs.batch.StartBatchMaker`.
        """
        batch = StartBatchMaker(name=f"{self.name} batch", start=self)
        job: Job = batch.make(structures, generator)
        return job
