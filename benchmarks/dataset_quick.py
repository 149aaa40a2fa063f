"""What ``mlcharge dataset build --quick`` saves, and how far its densities are off.

Give it the folder of a comparison with the arms superposition, learned and converged, whose CHGCARs
are still there, and a folder for the runs::

    python benchmarks/dataset_quick.py data/learned data/quick

Every crystal runs again: from atoms, as the protocol says, and from the learned start with the
INCAR of ``--quick``. Prints a Markdown table: processor time, and how far both densities and
occupancies are from those of the run that went on from the converged density, in percent of the
superposition's error (L1).
"""

from __future__ import annotations

import resource
import shlex
import subprocess
import sys
from pathlib import Path
from shutil import copy
from statistics import median

from pymatgen.io.vasp import Incar
from rich.progress import track
from steps_by_error import copy_inputs, executable

from mlcharge_flows.atomate2.flows.dataset import FAST_SCF
from mlcharge_flows.campaign.local import results
from mlcharge_flows.density.metrics import error_removed
from mlcharge_flows.scf.count import count_run
from mlcharge_flows.vasp.chgcar import read_chgcar


def main() -> None:
    """Run both cycles and print the table."""
    compared, out = Path(sys.argv[1]), Path(sys.argv[2])
    command = executable()
    print("| material | steps | processor s, ratio | density off | occupancies off |")
    print("|---|---:|---:|---:|---:|")
    ratios, rows = [], []
    for comparison in track(results(compared), "crystals"):
        folder = compared / comparison.material_id
        start = read_chgcar(folder / "superposition-density" / "CHGCAR")
        best = read_chgcar(next((folder / "converged-run").glob("CHGCAR*")))
        seconds, off, steps = [], [], []
        for name, model, tags in (("protocol", "default", {}), ("quick", "learned", FAST_SCF)):
            run = out / comparison.material_id / name
            copy_inputs(folder / f"{model}-run", run)
            Incar({**Incar.from_file(run / "INCAR"), **tags}).write_file(run / "INCAR")
            if name == "quick":
                copy(folder / "learned-density" / "CHGCAR", run)
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            with (run / "vasp.out").open("w") as said:
                subprocess.run(shlex.split(command), cwd=run, stdout=said, check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds.append(after.ru_utime - before.ru_utime)
            off.append([1 - e for e in error_removed(read_chgcar(run / "CHGCAR"), start, best)])
            steps.append(count_run(run).n_total)
        ratios.append(seconds[1] / seconds[0])
        rows.append(off)
        (density, occupancies), (quick_density, quick_occupancies) = off
        print(
            f"| {comparison.formula} | {steps[0]} → {steps[1]} | {seconds[0]:.1f} → "
            f"{seconds[1]:.1f}, {ratios[-1]:.2f} | {density:.2%} → {quick_density:.2%} "
            f"| {occupancies:.2%} → {quick_occupancies:.2%} |",
            flush=True,
        )
    medians = [[median(row[n][part] for row in rows) for n in (0, 1)] for part in (0, 1)]
    print(
        f"| median | | {median(ratios):.2f} "
        + "".join(f"| {slow:.2%} → {fast:.2%} " for slow, fast in medians)
        + "|"
    )


if __name__ == "__main__":
    main()
