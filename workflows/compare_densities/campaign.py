"""Compare initial densities for every structure of a folder, locally or on a FireWorks LaunchPad.

Copy this file, edit it, run it:

    python campaign.py ../../test_files/crystals            # here, one after the other
    python campaign.py ../../test_files/crystals --submit   # one workflow per material

The executable is that of VASP_CMD; without VASP, give --executable gpaw-vasp.
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
from mlcharge_flows.settings import SetupError

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("structures", nargs="+", help="CIF, POSCAR or JSON files, or folders")
parser.add_argument("--submit", action="store_true", help="add to the LaunchPad instead of running")
parser.add_argument("--out", default="campaign", help="folder of local runs and report")
parser.add_argument("--executable", help="such as gpaw-vasp, instead of the configured one")
arguments = parser.parse_args()
try:
    settings = Settings.for_command(arguments.executable, of_workers=arguments.submit)
except SetupError as error:
    parser.error(str(error))

# With an input set of your own: CompareDensitiesMaker(static_maker=StaticMaker(...)).
maker = CompareDensitiesMaker()
materials, problems = read_structures(arguments.structures)
for problem in problems:
    print("left out:", problem)

if arguments.submit:
    from fireworks import LaunchPad

    launchpad = LaunchPad.auto_load()
    with settings.named():  # part of the settings' hash; configure it on the workers, too
        for material in materials:
            launchpad.add_wf(flow_to_workflow(maker.make(material.structure, material.id)))
else:
    # `mlcharge compare` does this in parallel, and resumes; here are its parts.
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
