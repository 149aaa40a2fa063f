"""Which part of a learned start's error costs steps: occupancies, or smooth density by wave length.

Give it the folder of a comparison with the arms learned and converged, whose CHGCARs are still
there, a folder for the runs and, if not all, the materials::

    python benchmarks/steps_by_shell.py data/learned data/steps_by_shell mp-1246506 mp-567259

What the cycle of ``gpaw-vasp`` mixes is the smooth density (the grid less the compensation charges
of the occupancies) and the occupancies. Every crystal starts from one of the two learned and the
other converged, then from its converged start plus the learned error of one range of waves of the
smooth density. Prints Markdown tables of the steps, and of how far the energy of the first density
is from the converged run's, in units of EDIFF. Finished runs are not run again.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase.units import Bohr
from rich.progress import track
from steps_by_error import executable, prepare, run_from

from mlcharge_flows.campaign.local import results
from mlcharge_flows.density.augmentation import to_matrix
from mlcharge_flows.gpaw_vasp.inputs import read_inputs
from mlcharge_flows.gpaw_vasp.kohn_sham import KohnSham
from mlcharge_flows.vasp.chgcar import ChgcarDensity, read_chgcar
from mlcharge_flows.vasp.incar import read_incar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.gpaw_vasp.density_conversion import DensityConverter
    from mlcharge_flows.scf.run import ScfRun

EDGES = (0.0, 2.5, 5.0, 8.0, np.inf)
"""Of the ranges of waves, 1/angstrom."""


def main() -> None:
    """Run what is missing and print the table."""
    compared, out = Path(sys.argv[1]), Path(sys.argv[2])
    command = executable()
    chosen = [c for c in results(compared) if c.material_id in sys.argv[3:] or not sys.argv[3:]]
    rows: dict[str, list[str]] = {}
    off: dict[str, list[str]] = {}
    for comparison in track(chosen, "crystals"):
        folder, runs = compared / comparison.material_id, out / comparison.material_id
        for arm in ("default", "learned", "converged"):
            rows.setdefault(arm, []).append(str(comparison.arms[arm].n_total))
        converged, learned = (
            read_chgcar(folder / f"{arm}-density" / "CHGCAR") for arm in ("converged", "learned")
        )
        prepare(runs / "set-up", folder / "converged-run", converged)
        converter = KohnSham(read_inputs(runs / "set-up")).converter
        for name, start in starts(converged, learned, converter).items():
            run = runs / name.replace(" ", "-")
            counted = run_from(start, run, folder / "converged-run", command)
            rows.setdefault(name, []).append(str(counted.n_total or counted.failure))
            off.setdefault(name, []).append(f"{first_energy(counted, run):.0f}")
    for title, table in (("steps from", rows), ("energy off, EDIFF", off)):
        print(f"\n| {title} | " + " | ".join(c.formula for c in chosen) + " |")
        print("|---|" + "---:|" * len(chosen))
        for name, cells in table.items():
            print(f"| {name} | " + " | ".join(cells) + " |")


def first_energy(counted: ScfRun, run: Path) -> float:
    """Energy of the first density, its orbitals converged, less that of the last, in EDIFF."""
    if counted.n_scf is None:
        return np.nan
    first = counted.energies[-counted.n_scf]
    return (first - counted.energies[-1]) / float(read_incar(run / "INCAR")["EDIFF"])


def starts(
    converged: ChgcarDensity, learned: ChgcarDensity, converter: DensityConverter
) -> dict[str, ChgcarDensity]:
    """Starts that have a part of the learned error and nothing else of it."""
    charges = [compensation(start, converter) for start in (converged, learned)]
    error = (learned.total - charges[1]) - (converged.total - charges[0])
    found = {
        "smooth density converged": replace(learned, total=learned.total - error),
        "occupancies converged": replace(converged, total=converged.total + error),
    }
    parts = by_length(error, converged.crystal, EDGES)
    for (low, high), part in zip(pairwise(EDGES), parts, strict=True):
        found[f"error of waves {low:g} to {high:g}"] = replace(
            converged, total=converged.total + part
        )
    return found


def by_length(error: np.ndarray, crystal: Crystal, edges: Sequence[float]) -> Iterator[np.ndarray]:
    """Parts of a function on a grid, one for each range of wave lengths (1/angstrom)."""
    indices = np.meshgrid(*(np.fft.fftfreq(n, 1 / n) for n in error.shape), indexing="ij")
    q = np.linalg.norm(np.stack(indices, -1) @ crystal.reciprocal, axis=-1)
    waves = np.fft.fftn(error)
    for low, high in pairwise(edges):
        yield np.fft.ifftn(np.where((q >= low) & (q < high), waves, 0)).real


def compensation(start: ChgcarDensity, converter: DensityConverter) -> np.ndarray:
    """Compensation charge of a start's occupancies, electrons/angstrom^3."""
    assert start.augmentation is not None
    pairs = zip(start.augmentation, converter.channels, strict=True)
    return converter.compensation_charge([to_matrix(*pair) for pair in pairs]) / Bohr**3


if __name__ == "__main__":
    main()
