"""Which density a run starts from, and what VASP would say about it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mlcharge_flows.density.superposition import superpose
from mlcharge_flows.gpaw_vasp.errors import UnsupportedInputError
from mlcharge_flows.vasp.acceptance import HEADER_PRECISION, chgcar_acceptance

if TYPE_CHECKING:
    from pathlib import Path

    from mlcharge_flows.density.density import Density
    from mlcharge_flows.gpaw_vasp.inputs import Inputs

NOT_READ = "charge density could not be read from file CHGCAR for ICHARG>10"


def choose_start(folder: Path, inputs: Inputs) -> tuple[Density, list[str]]:
    """The density that ICHARG asks for, or the fall-back that VASP takes.

    ICHARG = 1 and 11 read the CHGCAR; where ions have moved since it was written, the change of
    their superposition is added (VASP wiki, ICHARG). A CHGCAR that cannot be used is announced on
    stdout, and the run starts from the superposition of atoms with ICHARG = 1.

    Parameters
    ----------
    folder
        Run folder.
    inputs
        What it asks for.

    Returns
    -------
    tuple
        Density, and lines for stdout.

    Raises
    ------
    UnsupportedInputError
        With ICHARG = 11, if the CHGCAR cannot be used.
    """
    if not inputs.settings.reads_chgcar:
        return superposition(inputs), []
    verdict = chgcar_acceptance(
        folder / "CHGCAR",
        crystal=inputs.crystal,
        shape=inputs.grids.fine,
        n_electrons=inputs.n_electrons,
        channels=[potcar.channels for potcar in inputs.potcar_of_ion],
    )
    messages = [*verdict.messages, *(f"gpaw-vasp: {note}" for note in verdict.notes)]
    if verdict.used and verdict.density is not None:
        return _follow_ions(verdict.density, inputs), messages
    if inputs.settings.fixed_density:
        raise UnsupportedInputError("; ".join([NOT_READ, *messages]))
    return superposition(inputs), messages


def superposition(inputs: Inputs, positions: np.ndarray | None = None) -> Density:
    """Superposition of the POTCAR's atoms on the fine grid, with the occupancies in the atom.

    Parameters
    ----------
    inputs
        Crystal, data sets and grid.
    positions
        Fractional coordinates to put the atoms at, if not the crystal's.
    """
    datasets = {dataset.symbol: dataset for dataset in inputs.potcars}
    crystal = inputs.crystal
    if positions is not None:
        crystal = replace(crystal, positions=positions)
    return superpose(crystal, datasets, inputs.grids.fine)


def _follow_ions(density: Density, inputs: Inputs) -> Density:
    """Bring a density to the run's cell and positions as VASP does.

    A CHGCAR holds rho * V, which VASP takes as it is: another lattice keeps the electrons. Where
    ions have moved, the change of their superposition is added, in the run's cell.
    """
    file, run = density.crystal, inputs.crystal
    there = replace(density, crystal=run, total=density.total * (file.volume / run.volume))
    moved = run.positions - file.positions
    if np.abs(moved - np.rint(moved)).max(initial=0.0) < HEADER_PRECISION:
        return there
    change = superposition(inputs).total - superposition(inputs, file.positions).total
    return replace(there, total=there.total + change)
