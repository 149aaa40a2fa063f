"""One flow per material of a data set: the run from atoms, and its density packed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jobflow import OnMissing

from mlcharge_flows.atomate2.flows.compare import REFERENCE, CompareStartsMaker
from mlcharge_flows.atomate2.jobs.pack import RECORD, pack
from mlcharge_flows.atomate2.sets.comparison import protocol_hash
from mlcharge_flows.settings import Settings
from mlcharge_flows.sources.best_start import BestStartMaker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from atomate2.vasp.jobs.base import BaseVaspMaker
    from jobflow import Flow
    from pymatgen.core import Structure

    from mlcharge_flows.atomate2.jobs.run import RunFromStartMaker
    from mlcharge_flows.sources.start import StartMaker

QUICK = {"ALGO": "Fast", "NELMDL": -1, "NELMIN": 6, "ISIF": 0}
"""INCAR of a cheaper cycle to the same density: from a start that is nearly there, and no stress.

The energies of such a cycle can agree before its densities do, hence NELMIN.
"""


@dataclass
class RecordMaker(CompareStartsMaker):
    """Run a material from atoms, as a comparison does, and keep its density as a record.

    Parameters
    ----------
    name
        Name of the flow.
    starts
        None by default; further arms run beside, and only the reference is packed.
    keep_files
        Leave the large files of the run where they are.
    quick
        Get there by :data:`QUICK`, from the shipped model's start where it gives one. The density
        is the same within EDIFF, and so is the protocol; the steps are of another cycle, and the
        record does not have them.

    Examples
    --------
    >>> RecordMaker(quick=True).protocol == RecordMaker().protocol
    True
    """

    name: str = "record"
    starts: dict[str, StartMaker] = field(default_factory=dict)
    keep_files: bool = False
    quick: bool = False

    @property
    def protocol(self) -> str:
        """Hash of the settings that the density depends on."""
        return protocol_hash(super()._compared().input_set_generator, Settings().program)

    def make(self, structure: Structure, material: str | None = None) -> Flow:
        """Build the flow of one material.

        Parameters
        ----------
        structure
            Structure; its properties ``source`` and ``split`` go into the record.
        material
            Identifier; the formula if not given.
        """
        flow = super().make(structure, material)
        packed = pack(flow.output, structure, REFERENCE, self.keep_files, not self.quick)
        packed.config.on_missing_references = OnMissing.NONE
        flow.add_jobs(packed)
        flow.output = packed.output
        return flow

    def _runner(self, arm: str, static: BaseVaspMaker, icharg: int) -> RunFromStartMaker:
        runner = super()._runner(arm, static, icharg)
        if self.quick and arm == REFERENCE:
            runner.icharg, runner.start = 1, BestStartMaker()
        return runner

    def _compared(self) -> BaseVaspMaker:
        static = super()._compared()
        if self.quick:
            static.input_set_generator.user_incar_settings.update(QUICK)
        return static


def records(folder: Path) -> Iterator[Path]:
    """Records of a folder in which such flows ran, by name of the material."""
    yield from sorted(folder.glob(f"*/pack/{RECORD}"))
