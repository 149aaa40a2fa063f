"""The control: VASP's own default start, sent through a CHGCAR."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from mlcharge_flows.density.superposition import superpose
from mlcharge_flows.sources.start import StartError, StartMaker

if TYPE_CHECKING:
    from pathlib import Path

    from mlcharge_flows.density.density import Density
    from mlcharge_flows.sources.inputs import VaspInputs


@dataclass
class SuperpositionStartMaker(StartMaker):
    """Superpose the free atoms of the run's own PAW data sets, density and occupancies.

    A run from it must take as many steps as one without any CHGCAR: the difference is the error of
    the whole path through the file.
    """

    name: str = "superposition start"
    kind: ClassVar[str] = "superposition"

    def density(
        self, inputs: VaspInputs, prev_dir: str | Path | None, messages: list[str]
    ) -> Density:
        """Superposition of atoms on the run's grid."""
        return superposed(inputs)


def superposed(inputs: VaspInputs) -> Density:
    """Superposition of free atoms for the inputs of a run.

    Raises
    ------
    StartError
        The cell is charged: atoms cannot say where the missing or added electrons are.
    """
    density = superpose(inputs.crystal, inputs.potcars, inputs.grid)
    if abs(density.n_electrons - inputs.n_electrons) > 1e-6:
        raise StartError(
            f"the cell is charged (NELECT = {inputs.n_electrons:g}, the atoms have "
            f"{density.n_electrons:g} electrons): no superposition of atoms describes it"
        )
    return density
