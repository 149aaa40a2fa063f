"""Initial density that ICHARG asks for, and what VASP prints about it.

References
----------
VASP wiki, ICHARG, MAGMOM and CHGCAR.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mlcharge_flows.density.augmentation import miscounted_occupancies, truncate
from mlcharge_flows.density.density import superpose
from mlcharge_flows.gpaw_vasp.errors import UnsupportedInputError
from mlcharge_flows.gpaw_vasp.magnetism import atomic_magnetization, has_moments, symmetrized
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
    with the superposition of atoms. With ISPIN = 2 the magnetization is the file's; where it has
    none, and without a file, that of atoms with the moments of MAGMOM.

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
        With ICHARG = 11, if the CHGCAR cannot be used; with ISPIN = 2, if its magnetization is cut,
        where VASP can hang.
    """
    if inputs.settings.icharg == 0:
        return None, ["initial charge from wavefunction"]
    if not inputs.settings.reads_chgcar:
        return _polarized(atomic_superposition(inputs), inputs), []
    acceptance = chgcar_acceptance(
        folder / "CHGCAR",
        crystal=inputs.crystal,
        shape=inputs.grids.fine,
        n_electrons=inputs.n_electrons,
        channels=[dataset.channels for dataset in inputs.dataset_of_ion],
        spin_polarized=inputs.moments is not None,
    )
    if inputs.moments is not None and acceptance.cut:
        raise UnsupportedInputError(
            f"CHGCAR: {acceptance.warnings[0]}: VASP can hang here, mend or remove it"
        )
    _check_magnetization(acceptance.density, inputs)
    messages = [*acceptance.messages, *(f"gpaw-vasp: {line}" for line in acceptance.warnings)]
    if acceptance.read_by_vasp and acceptance.density is not None:
        density = _at_ions(_mixed_part(acceptance.density, inputs), inputs)
        return _polarized(density, inputs), messages
    if inputs.settings.fixed_density:
        raise UnsupportedInputError("; ".join([NOT_READ, *messages]))
    return _polarized(atomic_superposition(inputs), inputs), messages


def _check_magnetization(density: Density | None, inputs: Inputs) -> None:
    """Refuse a magnetization whose occupancies are not those of the data sets."""
    if inputs.moments is None or density is None or density.magnetization is None:
        return
    channels = [dataset.channels for dataset in inputs.dataset_of_ion]
    occupancies = density.magnetization.augmentation
    if occupancies is None or len(occupancies) != len(channels):
        return  # the total density has none, either: the file is not read
    if wrong := miscounted_occupancies(occupancies, channels):
        ion, n, expected = wrong
        raise UnsupportedInputError(
            f"CHGCAR: the magnetization has {n} occupancies of ion {ion}, its data set needs "
            f"{expected}: mend the file or remove its magnetization"
        )


def spin_channels(folder: Path, inputs: Inputs) -> int:
    """Count the spin channels that have to be computed.

    Parameters
    ----------
    folder
        Run folder.
    inputs
        What it asks for.

    Returns
    -------
    int
        1 with ISPIN = 1, and with ISPIN = 2 where the initial density has no moment at all, not
        even a small one, and the orbitals do not come from a WAVECAR: nothing then makes the spins
        differ. 2 otherwise.
    """
    if inputs.moments is None:
        return 1
    if inputs.wavecar is not None or inputs.settings.nupdown > 0:
        return 2
    if not inputs.settings.reads_chgcar:
        return 2 if inputs.moments.any() else 1
    density, _ = initial_density(folder, inputs)
    return 2 if density is not None and has_moments(density) else 1


def _polarized(density: Density, inputs: Inputs) -> Density:
    """Give a density the magnetization of atoms, if the run needs one and it has none."""
    if inputs.moments is None:
        return replace(density, magnetization=None)
    if (magnetization := density.magnetization) is not None:
        if inputs.settings.isym > 0:
            magnetization = symmetrized(
                magnetization,
                inputs.crystal,
                [dataset.channels for dataset in inputs.dataset_of_ion],
                inputs.kinds,
                inputs.settings.symprec,
            )
        return replace(density, magnetization=magnetization)
    datasets = {dataset.symbol: dataset for dataset in inputs.datasets}
    magnetization = atomic_magnetization(
        inputs.crystal, datasets, inputs.moments, inputs.grids.fine
    )
    return replace(density, magnetization=magnetization)


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

    def truncated(occupancies: tuple[np.ndarray, ...] | None) -> tuple[np.ndarray, ...]:
        assert occupancies is not None
        return tuple(
            truncate(values, dataset.channels, inputs.settings.lmaxmix)
            for values, dataset in zip(occupancies, inputs.dataset_of_ion, strict=True)
        )

    magnetization = density.magnetization
    if inputs.moments is None:
        magnetization = None
    elif magnetization is not None:
        magnetization = replace(magnetization, augmentation=truncated(magnetization.augmentation))
    return replace(
        density, augmentation=truncated(density.augmentation), magnetization=magnetization
    )


def _at_ions(density: Density, inputs: Inputs) -> Density:
    """Move a density to the cell and ions of the run, as VASP does.

    A CHGCAR holds rho * V, which VASP takes as it is: another lattice keeps the electrons. Where
    ions have moved, the change of their superposition is added, in the cell of the run. The
    magnetization stays where it is.

    Returns
    -------
    Density
        In the cell of the run.
    """
    file, run = density.crystal, inputs.crystal
    scale = file.volume / run.volume
    magnetization = density.magnetization
    if magnetization is not None:
        magnetization = replace(magnetization, grid=magnetization.grid * scale)
    moved = replace(density, crystal=run, total=density.total * scale, magnetization=magnetization)
    shift = run.positions - file.positions
    if np.abs(shift - np.rint(shift)).max(initial=0.0) < HEADER_PRECISION:
        return moved
    change = atomic_superposition(inputs).total - atomic_superposition(inputs, file.positions).total
    return replace(moved, total=moved.total + change)
