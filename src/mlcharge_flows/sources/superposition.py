"""The superposition of free atoms: VASP's default initial density, sent through a CHGCAR."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from mlcharge_flows.density.density import superpose
from mlcharge_flows.sources.source import Evaluated, Source, SourceError

if TYPE_CHECKING:
    from mlcharge_flows.sources.run_inputs import RunInputs

CHARGE_TOLERANCE = 1e-6
"""Electrons by which NELECT may differ from the sum of the neutral atoms."""


@dataclass(frozen=True)
class Superposition(Source):
    """Superposition of the free atoms of the PAW data sets of the run.

    A run from it must take as many steps as one without a CHGCAR: the difference is the error of
    the path through the file.
    """

    word: ClassVar[str] = "superposition"

    @property
    def augmentation_word(self) -> str:
        """``atomic``: the occupancies of the free atoms."""
        return "atomic"

    def evaluate(self, inputs: RunInputs, given: Evaluated | None = None) -> Evaluated:
        """Superpose the free atoms on the fine grid of the run.

        Parameters
        ----------
        inputs
            Inputs of the run.
        given
            Not used.

        Returns
        -------
        Evaluated
            Superposition with the augmentation occupancies of the free atoms.

        Raises
        ------
        SourceError
            The cell is charged, or the free atom of an element is not known.
        """
        try:
            density = superpose(inputs.crystal, inputs.datasets, inputs.grid)
        except ValueError as error:
            raise SourceError(str(error)) from None
        if abs(density.n_electrons - inputs.n_electrons) > CHARGE_TOLERANCE:
            raise SourceError(
                f"the cell is charged (NELECT = {inputs.n_electrons:g}, the atoms have "
                f"{density.n_electrons:g} electrons): no superposition of atoms describes it"
            )
        return Evaluated(density, is_superposition=True)
