"""One flow per material of a data set: the run from atoms, counted and packed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jobflow import OnMissing

from mlcharge_flows.flows.compare import REFERENCE, CompareStartsMaker
from mlcharge_flows.jobs.pack import RECORD, pack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from jobflow import Flow
    from pymatgen.core import Structure

    from mlcharge_flows.jobs.start import StartMaker


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
    """

    name: str = "record"
    starts: dict[str, StartMaker] = field(default_factory=dict)
    keep_files: bool = False

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
        packed = pack(flow.output, structure, REFERENCE, self.keep_files)
        packed.config.on_missing_references = OnMissing.NONE
        flow.add_jobs(packed)
        flow.output = packed.output
        return flow


def records(folder: Path) -> Iterator[Path]:
    """Records of a folder in which such flows ran, by name of the material."""
    yield from sorted(folder.glob(f"*/pack/{RECORD}"))
