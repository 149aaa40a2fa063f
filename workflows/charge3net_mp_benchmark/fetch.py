"""Write structures.json.gz: the non-magnetic test materials of ChargE3Net with their MP inputs.

python fetch.py charge3net/data      # the folder `data` of their repository; needs MP_API_KEY
"""

import argparse
import sys
from pathlib import Path

from rich.progress import Progress

from mlcharge_flows.campaign.materials_project import (
    MaterialsProjectError,
    fetch,
    open_rester,
    split_members,
    task_of_each,
    write_structures,
)

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("data", type=Path, help="data folder of a clone of AIforGreatGood/charge3net")
parser.add_argument("--part", default="test", help="part of the split")
parser.add_argument("--limit", type=int, help="only the first so many")
parser.add_argument("--out", type=Path, default=Path("structures.json.gz"))
arguments = parser.parse_args()

try:
    folder = arguments.data / "mp"
    names = split_members(folder / "split.json", folder / "filelist.txt", arguments.part)
    tasks = task_of_each(arguments.data / "mpid_to_task_id_map.json")
    rester = open_rester()
    names = names[: arguments.limit]
    with Progress() as progress:
        task = progress.add_task("materials", total=len(names))
        entries, left_out = fetch(
            names, tasks, rester, lambda count: progress.update(task, advance=count)
        )
except MaterialsProjectError as error:
    sys.exit(f"fetch.py: {error}")
write_structures(arguments.out, entries)
print(f"{len(entries)} of {len(names)} materials in {arguments.out}")
for reason, count in left_out.most_common():
    print(f"left out: {count} ({reason})")
