"""The converged density of an earlier run of the same inputs: the ceiling of a comparison."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from monty.os.path import zpath

from mlcharge_flows.scf.count import count_run
from mlcharge_flows.sources.from_file import read_for_run
from mlcharge_flows.sources.initial_chgcar import is_initial_chgcar
from mlcharge_flows.sources.source import Source, SourceError

if TYPE_CHECKING:
    from mlcharge_flows.sources.run_inputs import RunInputs
    from mlcharge_flows.sources.source import Evaluated


@dataclass(frozen=True)
class Converged(Source):
    """Density and augmentation occupancies to which the reference run converged."""

    word: ClassVar[str] = "converged"

    @property
    def needs_reference_run(self) -> bool:
        """True: the folder of the finished run is read."""
        return True

    def evaluate(self, inputs: RunInputs, given: Evaluated | None = None) -> Evaluated:
        """Read the CHGCAR of the reference run.

        Parameters
        ----------
        inputs
            Inputs of the run, with the folder of the reference run.
        given
            Density that the augmentation occupancies are for; the grid of the CHGCAR is then left
            as it is.

        Returns
        -------
        Evaluated
            Converged density.

        Raises
        ------
        SourceError
            There is no reference run, it failed or did not converge, or its CHGCAR is not of the
            run.
        """
        folder = inputs.reference_run
        if folder is None:
            raise SourceError("no earlier run to take the converged density from")
        if not folder.is_dir():
            raise SourceError(f"{folder}: the earlier run is gone, and its density with it")
        run = count_run(folder)
        if run.failure or not run.converged:
            raise SourceError(f"{folder}: {run.failure or 'not converged'}")
        chgcar = Path(zpath(folder / "CHGCAR"))
        if is_initial_chgcar(chgcar):
            raise SourceError(f"{chgcar}: is what the run began from, not its result (LCHARG = F)")
        return read_for_run(chgcar, inputs, on_grid_of_run=given is None)
