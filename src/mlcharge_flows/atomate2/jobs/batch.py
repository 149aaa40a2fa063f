"""Starts of many runs by one job, so that a model is loaded once and one worker serves many."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from jobflow import Maker, job

from mlcharge_flows.sources.inputs import VaspInputs
from mlcharge_flows.sources.start import StartDocument, StartMaker
from mlcharge_flows.sources.superposition import SuperpositionStartMaker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.core import Structure
    from pymatgen.io.vasp.sets import VaspInputSet


@dataclass
class StartBatchMaker(Maker):
    """Write the starts of many structures, each to a file named by its hash.

    The output is a list of :class:`~mlcharge_flows.sources.start.StartDocument` in the order of the
    structures; ``batch.output[i]`` is the start of the i-th run. One that cannot be made is a
    document with a failure and stops no other.

    Parameters
    ----------
    name
        Name of the job.
    start
        Writes one start.
    """

    name: str = "start batch"
    start: StartMaker = field(default_factory=SuperpositionStartMaker)

    @job
    def make(self, structures: Sequence[Structure], generator: VaspInputSet) -> list[StartDocument]:
        """Write the starts.

        Parameters
        ----------
        structures
            Structures as given to the runs.
        generator
            Input set generator of the runs.
        """
        return [self._write(structure, generator) for structure in structures]

    def _write(self, structure: Structure, generator: VaspInputSet) -> StartDocument:
        try:
            document = self.start.write(VaspInputs(structure, generator), Path.cwd())
        except Exception as error:
            return StartDocument.failed(self.start.kind, error)
        path = Path(str(document.path))
        # The same density twice is the same file.
        document.path = str(path.replace(path.with_name(f"{document.sha256}.chgcar")))
        return document
