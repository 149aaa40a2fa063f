"""Initial density that ICHARG asks for, and what VASP prints about it.

References
----------
VASP wiki, ICHARG and CHGCAR.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mlcharge_flows.density.augmentation import truncate
from mlcharge_flows.density.density import superpose
from mlcharge_flows.gpaw_vasp.errors import UnsupportedInputError
from mlcharge_flows.vasp.density_messages import HEADER_PRECISION, chgcar_acceptance

if TYPE_CHECKING:
    from pathlib import Path

    from mlcharge_flows.density.density import Density
    from mlcharge_flows.gpaw_vasp.inputs import Inputs

NOT_READ = "charge density could not be read from file CHGCAR for ICHARG>10"


def initial_density(folder: Path, inputs: Inputs) -> tuple[Density | None, list[str]]:
    """Read the density that ICHARG asks for, or superpose atoms.

    ICHARG = 1 and 11 read the CHGCAR; where ions have moved since it was written, the change of
    their superposition is added, and occupancies of an L above LMAXMIX are not taken. With
    ICHARG = 1, a CHGCAR that VASP would drop is announced as VASP announces it, and the run begins
    with the superposition of atoms.

    Parameters
    ----------
    folder
        Run folder.
    inputs
        What it asks for.

    Returns
    -------
    density : Density or None
        On the fine grid, with augmentation occupancies; None with ICHARG = 0, for the density of
        the WAVECAR's orbitals.
    messages : list of str
        Lines for stdout.

    Raises
    ------
    UnsupportedInputError
        With ICHARG = 11, if the CHGCAR cannot be used.
    """
    if inputs.settings.icharg == 0:
        return None, ["initial charge from wavefunction"]
    if not inputs.settings.reads_chgcar:
        return atomic_superposition(inputs), []
    acceptance = chgcar_acceptance(
        folder / "CHGCAR",
        crystal=inputs.crystal,
        shape=inputs.grids.fine,
        n_electrons=inputs.n_electrons,
        channels=[dataset.channels for dataset in inputs.dataset_of_ion],
    )
    messages = [*acceptance.messages, *(f"gpaw-vasp: {line}" for line in acceptance.warnings)]
    if acceptance.read_by_vasp and acceptance.density is not None:
        return _at_ions(_mixed_part(acceptance.density, inputs), inputs), messages
    if inputs.settings.fixed_density:
        raise UnsupportedInputError("; ".join([NOT_READ, *messages]))
    return atomic_superposition(inputs), messages


def atomic_superposition(inputs: Inputs, positions: np.ndarray | None = None) -> Density:
    """Superpose the free atoms of the POTCAR on the fine grid, with their occupancies.

    Parameters
    ----------
    inputs
        Crystal, PAW data sets and grid.
    positions
        Fractional coordinates of the atoms, shape (ions, 3); by default the crystal's.

    Returns
    -------
    Density
        It integrates to NELECT.
    """
    datasets = {dataset.symbol: dataset for dataset in inputs.datasets}
    crystal = inputs.crystal
    if positions is not None:
        crystal = replace(crystal, positions=positions)
    return superpose(crystal, datasets, inputs.grids.fine)


def _mixed_part(density: Density, inputs: Inputs) -> Density:
    """A density without the occupancies above LMAXMIX, which VASP neither mixes nor takes."""
    assert density.augmentation is not None
    lmaxmix = inputs.settings.lmaxmix
    occupancies = tuple(
        truncate(values, dataset.channels, lmaxmix)
        for values, dataset in zip(density.augmentation, inputs.dataset_of_ion, strict=True)
    )
    return replace(density, augmentation=occupancies)


def _at_ions(density: Density, inputs: Inputs) -> Density:
    """Move a density to the cell and ions of the run, as VASP does.

    A CHGCAR holds rho * V, which VASP takes as it is: another lattice keeps the electrons. Where
    ions have moved, the change of their superposition is added, in the cell of the run.

    Returns
    -------
    Density
        In the cell of the run.
    """
    file, run = density.crystal, inputs.crystal
    moved = replace(density, crystal=run, total=density.total * (file.volume / run.volume))
    shift = run.positions - file.positions
    if np.abs(shift - np.rint(shift)).max(initial=0.0) < HEADER_PRECISION:
        return moved
    change = atomic_superposition(inputs).total - atomic_superposition(inputs, file.positions).total
    return replace(moved, total=moved.total + change)
