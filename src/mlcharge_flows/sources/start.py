"""Writing a start: one CHGCAR in the job's own folder, and a small document that names it."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from jobflow import Maker, job
from pydantic import BaseModel, Field

from mlcharge_flows.density.augmentation import n_occupancies
from mlcharge_flows.sources.inputs import VaspInputs
from mlcharge_flows.vasp.chgcar import write_chgcar

if TYPE_CHECKING:
    from pymatgen.core import Structure
    from pymatgen.io.vasp.sets import VaspInputSet

    from mlcharge_flows.density.density import Density

OnError = Literal["raise", "record"]

MOST = 100.0
"""Occupancies beyond are no atom's: converged ones reach 3 in the CHGCARs of VASP that we have, the
atoms of GPAW's data sets 4. A network that has come apart gives many orders more."""


class StartError(ValueError):
    """A start cannot be made for these inputs; the message is one line that says why."""


class StartDocument(BaseModel):
    """A start that was written: where, of what kind, and how to recognize that it was read.

    The density itself stays in its file: grids have no place in a job store.
    """

    kind: str = Field(description="superposition, converged, file, learned, ...")
    path: str | None = Field(None, description="The CHGCAR, absolute.")
    comment: str | None = Field(
        None, description="Its first line: kind and hash of the content. VASP echoes it on reading."
    )
    sha256: str | None = Field(None, description="Of the file.")
    grid: tuple[int, int, int] | None = Field(None, description="NGXF, NGYF, NGZF.")
    n_electrons: float | None = Field(None, description="Integral of the density.")
    occupancies: str | None = Field(None, description="Where the on-site occupancies come from.")
    model: str | None = Field(None, description="Name of the model that predicted it.")
    checkpoint: str | None = Field(None, description="SHA-256 of its checkpoint (of both, if two).")
    paw: dict[str, str] | None = Field(
        None, description="TITEL of the PAW data set of each element that the model is for."
    )
    seconds: float = Field(0.0, description="Wall time to make and write the start, s.")
    messages: list[str] = Field(
        default_factory=list, description="What was adapted, such as the grid."
    )
    failure: str | None = Field(None, description="Why there is no start; None if there is one.")

    @classmethod
    def failed(cls, kind: str, error: Exception) -> StartDocument:
        """Document of a start that could not be made."""
        return cls(kind=kind, failure=" ".join(str(error).split()) or type(error).__name__)


@dataclass
class StartMaker(Maker):
    """Write the CHGCAR that a run will start from.

    A kind of start is a subclass with :meth:`density`; whatever the kind, the file, its comment
    line and its document are made here.

    Parameters
    ----------
    name
        Name of the job.
    on_error
        ``"raise"``, or ``"record"`` to return a document with the failure, so that the other arms
        of a comparison go on and the cause is reported.
    """

    name: str = "start"
    on_error: OnError = "raise"

    kind: ClassVar[str] = "start"
    policy: ClassVar[str] = "atomic"
    needs_run: ClassVar[bool] = False

    @property
    def checkpoint(self) -> str | None:
        """SHA-256 of the model's checkpoint; None for starts that no model predicts."""
        return None

    @job(output_schema=StartDocument)
    def make(
        self,
        structure: Structure,
        generator: VaspInputSet,
        prev_dir: str | Path | None = None,
    ) -> StartDocument:
        """Write the start for the inputs that a generator makes of a structure.

        Parameters
        ----------
        structure
            Structure as given to the run.
        generator
            Input set generator of the run.
        prev_dir
            Folder of an earlier run, for the kinds that need one.

        Raises
        ------
        StartError
            The start cannot be made, and `on_error` is ``"raise"``.
        """
        try:
            return self.write(VaspInputs(structure, generator), Path.cwd(), prev_dir)
        except Exception as error:
            if self.on_error == "raise":
                raise
            return StartDocument.failed(self.kind, error)

    def write(
        self, inputs: VaspInputs, folder: Path, prev_dir: str | Path | None = None
    ) -> StartDocument:
        """Write the CHGCAR into a folder; what :meth:`make` does, outside of a job."""
        began = perf_counter()
        messages: list[str] = []
        density = self.density(inputs, prev_dir, messages)
        document = write_start(folder, density, inputs, self.kind)
        document.occupancies, document.messages = self.policy, messages
        document.seconds = perf_counter() - began
        return document

    @abstractmethod
    def density(
        self, inputs: VaspInputs, prev_dir: str | Path | None, messages: list[str]
    ) -> Density:
        """Density on the grid of the inputs, for their crystal, with occupancies.

        Parameters
        ----------
        inputs
            What VASP will see.
        prev_dir
            Folder of an earlier run, if the flow has one.
        messages
            To be extended by what had to be adapted.
        """


def write_start(folder: Path, density: Density, inputs: VaspInputs, kind: str) -> StartDocument:
    """Check a density against the inputs of a run and write it as the run's CHGCAR.

    Raises
    ------
    StartError
        VASP would drop it, or it would spoil the run.
    """
    _check(density, inputs)
    density = replace(density, comment=comment_line(kind, density))
    path = folder.absolute() / "CHGCAR"
    write_chgcar(path, density)
    return StartDocument(
        kind=kind,
        path=str(path),
        comment=density.comment,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        grid=density.shape,
        n_electrons=density.n_electrons,
    )


def comment_line(kind: str, density: Density) -> str:
    """First line of a CHGCAR: the kind of start and a hash of everything that VASP reads.

    Examples
    --------
    >>> import numpy as np
    >>> from mlcharge_flows.density.crystal import Crystal
    >>> from mlcharge_flows.density.density import Density
    >>> crystal = Crystal(np.eye(3) * 3.0, ("H",), np.zeros((1, 3)))
    >>> line = comment_line("superposition", Density(crystal, np.full((2, 2, 2), 1 / 27)))
    >>> line.rsplit("-", 1)[0], len(line)
    ('mlcharge-superposition', 39)
    """
    # One word of at most 40 characters: VASP keeps so many and prints the first word.
    return f"mlcharge-{kind[:13]}-{density.fingerprint[:16]}"


def _check(density: Density, inputs: VaspInputs) -> None:
    """Refuse to write what VASP would drop, or what would spoil its run."""
    records = density.augmentation
    if not all(np.isfinite(values).all() for values in (density.total, *(records or ()))):
        raise StartError("the density holds values that are not finite")
    if density.shape != inputs.grid:
        raise StartError(f"the density is on grid {density.shape}, VASP's is {inputs.grid}")
    if abs(density.n_electrons - inputs.n_electrons) > 1e-3:
        raise StartError(
            f"the density holds {density.n_electrons:.4f} electrons, "
            f"the run has {inputs.n_electrons:.4f}"
        )
    if records is None:
        raise StartError("the density has no occupancies, VASP would drop it")
    for ion, (record, channels) in enumerate(zip(records, inputs.channels, strict=True), start=1):
        if defect := _defect(record, channels):
            raise StartError(
                f"the occupancies of ion {ion} ({inputs.crystal.symbols[ion - 1]}) {defect}"
            )


def _defect(record: np.ndarray, channels: tuple[int, ...]) -> str | None:
    """What no atom in a solid has; None if the record may be one of an atom."""
    if len(record) != n_occupancies(channels):
        return f"are {len(record)}, its PAW data set has {n_occupancies(channels)}"
    if not record.any():
        return "are all zero"
    if np.abs(record).max() > MOST:
        return f"reach {np.abs(record).max():.3g} electrons"
    return None
