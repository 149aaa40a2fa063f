"""Where the error of a learned start costs energy: by length of the waves, and by density.

Give it the folder of a comparison with the arms learned and converged, whose CHGCARs are still
there, and, if not all, the materials::

    python benchmarks/energy_of_error.py data/all57 mp-4950 mp-560030

For small errors the energy of exchange and correlation, which no screening answers where waves are
sharp, is off by minus half the error's square under the kernel of PBE. Prints that energy of the
smooth density, as ``gpaw-vasp`` sees it, in units of EDIFF: of all waves, of the places where there
is less than 0.135 electrons/angstrom^3 and the share of the cell that they fill, and of each range
of waves alone (they interfere, so the parts need not add up). No cycle is run.
"""

from __future__ import annotations

import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase.units import Ha
from rich.progress import track
from steps_by_error import copy_inputs
from steps_by_shell import by_length

from mlcharge_flows.campaign.local import results
from mlcharge_flows.gpaw_vasp.inputs import read_inputs
from mlcharge_flows.gpaw_vasp.kohn_sham import KohnSham
from mlcharge_flows.vasp.chgcar import ChgcarDensity, read_chgcar

if TYPE_CHECKING:
    from gpaw.core import UGArray

EDGES = (0.0, 2.5, 5.0, 8.0, 10.0, 12.0, 14.0, np.inf)
"""Of the ranges of waves, 1/angstrom."""
THIN = 0.02
"""Electrons/bohr^3 below which there is little density."""
SMALL = 0.1
"""Share of the error by which the potential is differentiated."""


def main() -> None:
    """Print the table."""
    compared = Path(sys.argv[1])
    chosen = [c for c in results(compared) if c.material_id in sys.argv[2:] or not sys.argv[2:]]
    ranges = " | ".join(f"{low:g} to {high:g}" for low, high in pairwise(EDGES))
    print(f"| material | all | little density | share of the cell | {ranges} |")
    print("|---|" + "---:|" * (len(EDGES) + 2))
    for comparison in track(chosen, "crystals"):
        folder = compared / comparison.material_id
        starts = [
            read_chgcar(folder / f"{arm}-density" / "CHGCAR") for arm in ("converged", "learned")
        ]
        with tempfile.TemporaryDirectory() as inputs:
            copy_inputs(folder / "converged-run", Path(inputs))
            energies = energy_of_error(KohnSham(read_inputs(Path(inputs))), *starts)
        row = [f"{energies[0]:.1f}", f"{energies[1]:.1f}", f"{energies[2]:.0%}"]
        row += [f"{energy:.1f}" for energy in energies[3:]]
        print(f"| {comparison.formula} | " + " | ".join(row) + " |")


def energy_of_error(
    equations: KohnSham, converged: ChgcarDensity, learned: ChgcarDensity
) -> list[float]:
    """All, where there is little density, its share of the cell, and each range of waves."""
    right, wrong = (smooth(equations, start) for start in (converged, learned))
    grid, error = right.desc, wrong.data - right.data
    xc = equations.potential_calculator.xc
    unit = Ha / equations.inputs.settings.ediff * grid.dv

    def energies(part: np.ndarray) -> np.ndarray:
        """Of each point: minus half the error times what it changes the potential by."""
        potentials = []
        for sign in (1, -1):
            moved = grid.from_data((right.data + sign * SMALL * part)[None])
            potentials.append(xc.calculate(moved, None)[1].data[0])
        return -0.5 * part * (potentials[0] - potentials[1]) / (2 * SMALL) * unit

    thin = right.data < THIN
    whole = energies(error)
    found = [whole.sum(), whole[thin].sum(), thin.mean()]
    found += [energies(part).sum() for part in by_length(error, converged.crystal, EDGES)]
    return [float(value) for value in found]


def smooth(equations: KohnSham, start: ChgcarDensity) -> UGArray:
    """Smooth density, core included, on the grid of exchange and correlation."""
    equations.set_initial_density(start)
    return equations.potential_calculator.interpolate(equations.density.nt_sR[0])


if __name__ == "__main__":
    main()
