"""Size of packed samples against their error, for finished runs.

    python benchmarks/dataset_packing.py RUN...

Each RUN is a folder with CHGCAR, POTCAR and OUTCAR (``mlcharge compare`` and ``mlcharge dataset
build --keep-files`` leave them). One line per bound of the error: what a sample takes in a store
without the PAW data sets, which a store holds once, and the share of the superposition's error that
packing adds to density and occupancies (L1 norms, percent).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import fmean, median

import h5py  # type: ignore[import-untyped]

from mlcharge_flows.density.metrics import error_removed
from mlcharge_flows.training.dataset import write_dataset
from mlcharge_flows.training.finished_run import read_finished_run
from mlcharge_flows.training.sample import TOLERANCE, DensitySample, Origin
from mlcharge_flows.vasp.chgcar import read_chgcar

TOLERANCES = (1e-2, 3e-3, TOLERANCE, 3e-4)


def size(samples: list[DensitySample]) -> float:
    """Kilobytes per sample."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.h5"
        write_dataset(path, samples)
        with h5py.File(path) as file:
            arrays = [array for data_set in file["paw"].values() for array in data_set.values()]
            paw = sum(array.id.get_storage_size() for array in arrays)
        return (path.stat().st_size - paw) / len(samples) / 1e3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    runs = parser.parse_args().runs
    read = [read_finished_run(run, Origin(str(n), "benchmark")) for n, run in enumerate(runs)]
    densities = [read_chgcar(next(run.glob("CHGCAR*"))) for run in runs]
    grid = fmean(density.total.size for density in densities)
    print(
        f"{len(runs)} runs, {grid:.0f} grid points on average ({grid * 2 / 1e3:.0f} kB at 16 bit)"
    )
    print("bound %   kB per sample   density: median, largest %   occupancies: median, largest %")
    for tolerance in TOLERANCES:
        samples, errors = [], []
        for density, known in zip(densities, read, strict=True):
            sample = DensitySample.pack(density, known.paw, known.origin, tolerance=tolerance)
            start = sample.superposition()
            assert start is not None, "a POTCAR is needed"
            samples.append(sample)
            errors.append([100 * (1 - s) for s in error_removed(sample.density(), start, density)])
        columns = "   ".join(f"{median(e):.3f}, {max(e):.3f}" for e in zip(*errors, strict=True))
        print(f"{100 * tolerance:<9g} {size(samples):<15.1f} {columns}")


if __name__ == "__main__":
    main()
