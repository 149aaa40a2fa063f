"""Fake runs for the benchmark of campaigns: jobs that do nothing, documents of runs that were not.

In a module of its own, so that worker processes can import it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import uuid4

from jobflow import Flow, JobStore, OnMissing, job
from maggma.stores import MemoryStore

from mlcharge_flows.atomate2.flows.compare import CompareDensitiesMaker
from mlcharge_flows.atomate2.jobs.comparison import compare
from mlcharge_flows.scf.run import ScfRun

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.core import Structure

    from mlcharge_flows.scf.comparison import Comparison

ARMS = ("default", "superposition")
JOBS = 6
"""Documents of one material: two runs, an initial density, two counts, the comparison."""


@job
def nothing(structure: Structure) -> str:
    """Stand for VASP: the folder in which it ran."""
    return "/no/such/folder"


@job
def counted(folder: str, arm: str) -> ScfRun:
    """Stand for the count of a run of twelve steps."""
    comment = "mlcharge-superposition-0123456789abcdef" if arm != "default" else None
    return ScfRun(
        folder=folder,
        n_atoms=2,
        n_total=12,
        n_scf=8,
        first_residual=1.0,
        energies=[-10.0 - 0.1 * step for step in range(12)],
        residuals=[None] * 4 + [0.1**step for step in range(8)],
        energy=-11.0,
        wall_time=10.0,
        converged=True,
        started_from="chgcar" if comment else "atoms",
        echoed_comment=comment,
        expected_comment=comment,
    )


@dataclass
class FakeRunsMaker(CompareDensitiesMaker):
    """The flow of a comparison with fake runs."""

    @property
    def arms(self) -> list[str]:
        """Two."""
        return list(ARMS)

    def make(self, structure: Structure, material_id: str | None = None) -> Flow:
        """Build the flow: a run and a count per arm, and the comparison."""
        runs = {arm: nothing(structure) for arm in self.arms}
        counts = {arm: counted(run.output, arm) for arm, run in runs.items()}
        documents = {arm: count.output for arm, count in counts.items()}
        joined = compare(material_id, "Si", len(structure), self.protocol, documents)
        jobs = [*runs.values(), *counts.values(), joined]
        for made in jobs:
            made.config.on_missing_references = OnMissing.NONE
        return Flow(jobs, output=joined.output)


def stored(comparisons: Sequence[Comparison]) -> JobStore:
    """Job store with all documents of a campaign, of which one per material is its result."""
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    store.connect()
    documents = []
    for comparison in comparisons:
        result = comparison.model_dump(mode="json")
        for index in range(JOBS):
            last = index == JOBS - 1
            documents.append(
                {
                    "uuid": str(uuid4()),
                    "index": 1,
                    "output": result if last else {"dir_name": "/no/such/folder"},
                    "completed_at": datetime.now().isoformat(),
                    "metadata": {
                        "campaign": "benchmark",
                        "material": comparison.material_id,
                        **({"result": True} if last else {}),
                    },
                }
            )
    store.docs_store._collection.insert_many(documents)
    return store
