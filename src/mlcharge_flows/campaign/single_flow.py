"""A campaign as one flow: every material's comparison, and a report at the end."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from jobflow import Flow, Maker, OnMissing, job

from mlcharge_flows.atomate2.flows.compare import CompareDensitiesMaker
from mlcharge_flows.reports.scf_report import write_report

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pymatgen.core import Structure

    from mlcharge_flows.scf.comparison import Comparison


@job
def report(comparisons: Sequence[Comparison | None], folder: str | None = None) -> str:
    """Write the report files of a campaign; materials without a comparison are left out.

    Parameters
    ----------
    comparisons
        One per material, None for a material that was lost.
    folder
        Where to write; the job's own folder if not given.

    Returns
    -------
    str
        Path of ``report.html``.
    """
    present = [comparison for comparison in comparisons if comparison is not None]
    return str(write_report(present, Path(folder) if folder else Path.cwd()))


@dataclass
class CampaignMaker(Maker):
    """Compare the starts for many materials and report; one flow, for tens of materials.

    For more, submit one :class:`CompareDensitiesMaker` flow per material and report afterwards: a
    job with thousands of parents slows every workflow manager down.

    Parameters
    ----------
    name
        Name of the flow.
    compare_maker
        Flow of one material.
    """

    name: str = "campaign"
    compare_maker: CompareDensitiesMaker = field(default_factory=CompareDensitiesMaker)

    def make(self, structures: Mapping[str, Structure], folder: str | None = None) -> Flow:
        """Build the campaign.

        Parameters
        ----------
        structures
            Structure of each material.
        folder
            Where the report goes; the report job's own folder if not given.
        """
        flows = [self.compare_maker.make(crystal, name) for name, crystal in structures.items()]
        final = report([flow.output for flow in flows], folder)
        # One lost material must not take the report with it.
        final.config.on_missing_references = OnMissing.NONE
        return Flow([*flows, final], output=final.output, name=self.name)
