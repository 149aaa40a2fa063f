"""What a campaign costs beside its VASP runs: building, submitting, running, reporting.

    python benchmarks/campaign_overhead.py [MATERIALS ...]      # 250 500 1000 2000

Each size in a process of its own; two arms per material. Flows are built and turned into FireWorks
workflows as ``mlcharge campaign submit`` does, down to the BSON that goes to the database; the
database itself is left out. ``run`` is ``mlcharge campaign run`` with fake runs that do
nothing. ``find`` reads the results among all job documents of a job store in memory, ``report``
writes the report. Prints a Markdown table: processor time in ms per material or job, peak memory.
"""

from __future__ import annotations

from harness import parser, print_table

# isort: split

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SIZES = (250, 500, 1000, 2000)
WORKERS = 2
HEADS = [
    "materials",
    "jobs",
    "build, ms/job",
    "submit, ms/job",
    "kB/material",
    "run, ms/material",
    "read, ms/material",
    "find, ms/material",
    "report, s",
    "page, MB",
    "memory, MB",
]


def materials(number: int) -> list[Any]:
    """Silicon under as many strains."""
    from pymatgen.core import Lattice, Structure

    from mlcharge_flows.structures import Material

    half = 2.715
    made = []
    for index in range(number):
        a = half * (1 + 1e-5 * index)
        silicon = Structure(
            Lattice([[0, a, a], [a, 0, a], [a, a, 0]]), ["Si", "Si"], [[0, 0, 0], [0.25] * 3]
        )
        made.append(Material(f"m{index:05d}", silicon, Path("benchmark")))
    return made


def seconds(who: int = resource.RUSAGE_SELF) -> float:
    """Processor time so far: what other programs on the machine take does not count."""
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def peak() -> float:
    """Largest resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(number: int) -> dict[str, float]:
    """All phases for one number of materials; seconds, MB, counts."""
    from jobflow.managers.fireworks import flow_to_workflow

    from campaign_fakes import FakeRunsMaker, stored
    from mlcharge_flows.atomate2.flows.compare import CompareDensitiesMaker
    from mlcharge_flows.campaign.documents import find_results, identity, labeled_flow
    from mlcharge_flows.campaign.local import read_results, run_locally
    from mlcharge_flows.campaign.routing import route_fireworks
    from mlcharge_flows.campaign.spec import FireWorksSpec
    from mlcharge_flows.reports.scf_report import write_report
    from mlcharge_flows.sources import parse_arms

    os.environ["MLCHARGE_VASP_CMD"] = "vasp_std"
    campaign = materials(number)
    found: dict[str, float] = {"materials": number, "memory before": peak()}

    maker = CompareDensitiesMaker(initial_densities=parse_arms(["superposition"]))
    began, jobs, size = seconds(), 0, 0
    converting = 0.0
    import bson

    for material in campaign:
        flow = route_fireworks(labeled_flow(material, maker, "benchmark"), FireWorksSpec())
        metadata = identity(material, maker)
        jobs += len(flow.jobs)
        middle = seconds()
        workflow = flow_to_workflow(flow, name=material.id, metadata=metadata)
        size += sum(len(bson.encode(firework.to_db_dict())) for firework in workflow)
        size += len(bson.encode(workflow.to_db_dict()))
        converting += seconds() - middle
    total = seconds() - began
    found |= {"jobs": jobs, "build": total - converting, "submit": converting, "bytes": size}
    found["memory submit"] = peak()

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        began = seconds() + seconds(resource.RUSAGE_CHILDREN)
        run_locally(campaign, FakeRunsMaker(), out, WORKERS)
        found["run"] = seconds() + seconds(resource.RUSAGE_CHILDREN) - began
        began = seconds()
        compared = read_results(out)
        found["read"] = seconds() - began
        assert len(compared) == number
        store = stored(compared)
        began = seconds()
        assert len(find_results(store, "benchmark")) == number
        found["find"] = seconds() - began
        began = seconds()
        page = write_report(compared, Path(folder) / "report")
        found["report"] = seconds() - began
        found["page"] = page.stat().st_size
    found["memory report"] = peak()
    return found


def cells(row: dict[str, float]) -> list[str]:
    """Render the measurements of one number of materials."""
    number, jobs = row["materials"], row["jobs"]
    return [
        f"{number:.0f}",
        f"{jobs:.0f}",
        f"{1000 * row['build'] / jobs:.2f}",
        f"{1000 * row['submit'] / jobs:.2f}",
        f"{row['bytes'] / number / 1000:.0f}",
        f"{1000 * row['run'] / number:.1f}",
        f"{1000 * row['read'] / number:.2f}",
        f"{1000 * row['find'] / number:.2f}",
        f"{row['report']:.1f}",
        f"{row['page'] / 1e6:.1f}",
        f"{row['memory before']:.0f} → {row['memory submit']:.0f} → {row['memory report']:.0f}",
    ]


def measured(sizes: Sequence[int]) -> Iterator[list[str]]:
    """Measure every size in a process of its own."""
    for number in sizes:
        command = [sys.executable, __file__, "--one", str(number)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        row = json.loads(done.stdout.splitlines()[-1])
        print(f"measured: {row}", file=sys.stderr)
        yield cells(row)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, or the measurements of one size."""
    options = parser(__doc__)
    options.add_argument("sizes", type=int, nargs="*", default=SIZES, metavar="MATERIALS")
    options.add_argument("--one", action="store_true", help="in this process, as JSON")
    given = options.parse_args(arguments)
    if given.one:
        print(json.dumps(measure(given.sizes[0])))
    else:
        print_table(HEADS, measured(given.sizes), texts=0)


if __name__ == "__main__":
    main()
