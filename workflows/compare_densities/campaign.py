"""Compare initial densities for every structure of a folder, locally or on a FireWorks LaunchPad.

Copy this file, edit it, run it:

    python campaign.py ../../test_files/crystals            # here, one after the other
    python campaign.py ../../test_files/crystals --submit   # one workflow per material
"""

import argparse

from jobflow import JobStore, run_locally
from jobflow.managers.fireworks import flow_to_workflow
from maggma.stores import MemoryStore

from mlcharge_flows import (
    CompareDensitiesMaker,
    Comparison,
    Settings,
    read_structures,
    write_report,
)

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("structures", nargs="+", help="CIF, POSCAR or JSON files, or folders")
parser.add_argument("--submit", action="store_true", help="add to the LaunchPad instead of running")
parser.add_argument("--out", default="campaign", help="folder of local runs and report")
arguments = parser.parse_args()

# With an input set of your own: CompareDensitiesMaker(static_maker=StaticMaker(...)).
maker = CompareDensitiesMaker()
materials, problems = read_structures(arguments.structures)
for problem in problems:
    print("left out:", problem)

if arguments.submit:
    from fireworks import LaunchPad

    launchpad = LaunchPad.auto_load()
    for material in materials:
        launchpad.add_wf(flow_to_workflow(maker.make(material.structure, material.id)))
else:
    # `mlcharge compare` does this in parallel, and resumes; here are its parts.
    settings = Settings.for_command()  # gpaw-vasp where no VASP is configured
    print(settings.describe())
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    comparisons = []
    with settings.activated():
        for material in materials:
            flow = maker.make(material.structure, material.id)
            run_locally(flow, store=store, create_folders=True, root_dir=arguments.out)
            output = store.get_output(flow.jobs[-1].uuid)
            comparisons.append(Comparison.model_validate(output))
    print(write_report(comparisons, arguments.out))
