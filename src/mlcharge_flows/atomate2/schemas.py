"""The provenance of a run: the initial density that it was given, and the one that VASP used."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import AliasChoices, BaseModel, Field, ValidationError

from mlcharge_flows.errors import MlchargeError, one_line
from mlcharge_flows.io import UNREADABLE, atomic_write, plain_or_compressed, read_bytes
from mlcharge_flows.sources.initial_chgcar import InitialDensityDocument  # noqa: TC001, pydantic needs it
from mlcharge_flows.sources.initial_wavecar import InitialOrbitalsDocument  # noqa: TC001
from mlcharge_flows.vasp.chgcar_writer import header_comment
from mlcharge_flows.yaml_files import validation_problems

if TYPE_CHECKING:
    from pathlib import Path

    from mlcharge_flows.vasp.density_messages import DensityMessages

FILE_NAME = "mlcharge.json"


class ProvenanceError(MlchargeError, ValueError):
    """A ``mlcharge.json`` that is damaged or holds something else; the message names the file."""


class RunProvenance(BaseModel):
    """Where a run began; atomate2 takes it into the task document as ``additional_json``.

    The first fields are the intention. What VASP did is added when it has ended, from its output:
    until then ``started_from`` is None. Documents of version 0.1 are read by the names that their
    keys had.
    """

    icharg: int | None = Field(description="ICHARG of the run; None: left to VASP.")
    run_folder: str | None = Field(
        None, description="Folder of the run; VASP itself may run in a scratch directory."
    )
    initial_density: InitialDensityDocument | None = Field(
        None,
        description="The initial density that the run was given; None: free atoms.",
        validation_alias=AliasChoices("initial_density", "start"),
    )
    initial_orbitals: InitialOrbitalsDocument | None = Field(
        None, description="The initial orbitals that the run was given; None: random ones."
    )
    added_tags: dict[str, int] = Field(
        default_factory=dict,
        description="INCAR tags of the initial density (ICHARG, ISTART, NGXF, ..), orbitals and "
        "delay (NELMDL) that the input set did not have. Later runs that inherit the INCAR do not "
        "inherit these.",
    )
    replaced_tags: dict[str, Any] = Field(
        default_factory=dict,
        description="What the input set had for added tags, such as a NELMDL of its own.",
    )
    existing_density_reason: str | None = Field(
        None,
        description="Why the run kept its own initial density; None if it was given one.",
        validation_alias=AliasChoices("existing_density_reason", "skipped"),
    )
    started_from: Literal["chgcar", "atoms", "orbitals", "unknown"] | None = Field(
        None, description="Decided from VASP's output, never from INCAR."
    )
    read_by_vasp: bool | None = Field(
        None,
        description="Whether VASP printed the comment of this very initial density; None if there "
        "is none, or before the end of the run.",
        validation_alias=AliasChoices("read_by_vasp", "used"),
    )
    orbitals_read_by_vasp: bool | None = Field(
        None,
        description="Whether VASP printed that it read the WAVECAR of the initial orbitals; None "
        "if there are none, or before the end of the run.",
    )
    warnings: list[str] = Field(
        default_factory=list, description="VASP's messages about a CHGCAR that it did not read."
    )
    output_issue: str | None = Field(
        None,
        description="Why it is not known what VASP did: its output could not be read, or this "
        "document not be completed; None if nothing went wrong.",
    )
    density_issue: str | None = Field(
        None,
        description="Why the CHGCAR that lay there when the run ended is not the one documented as "
        "its initial density; None if it is, or if the result has replaced it.",
    )
    restart_reason: str | None = Field(
        None,
        description="Why the run was restarted once from free atoms; None if it was not.",
        validation_alias=AliasChoices("restart_reason", "restarted"),
    )
    orbitals_restart_reason: str | None = Field(
        None,
        description="Why the run was restarted once from the initial density alone, without the "
        "initial orbitals; None if it was not.",
    )
    failure: str | None = Field(None, description="What went wrong; None if nothing did.")
    execution: dict[str, str] = Field(
        default_factory=dict,
        description="Executable, INCAR updates of atomate2's settings, and PAW data sets by hash.",
    )

    @property
    def unread_density(self) -> str | None:
        """Why a density that was to be kept (ICHARG > 10) was not read; None if it was."""
        if (self.icharg or 0) < 10 or not self.warnings or self.started_from == "chgcar":
            return None
        return f"ICHARG = {self.icharg} needs a CHGCAR that VASP can read: {self.warnings[0]}"

    @property
    def has_initial_orbitals(self) -> bool:
        """Whether the run was given a WAVECAR of initial orbitals, and not restarted without it."""
        given = self.initial_orbitals
        return given is not None and given.failure is None and self.orbitals_restart_reason is None

    @property
    def inherits_orbitals(self) -> bool:
        """Whether the run had the WAVECAR of an earlier one, and was not told to ignore it."""
        return "WAVECAR" in (self.existing_density_reason or "") and not self.icharg

    def is_echoed(self, comment: str | None) -> bool:
        """Whether a first line, of a CHGCAR or as VASP printed it, is that of the initial density.

        Parameters
        ----------
        comment
            The line; None if VASP printed none.

        Returns
        -------
        bool
            True if it has the hash of the initial density.
        """
        given = self.initial_density
        return (
            comment is not None
            and given is not None
            and given.comment is not None
            and header_comment(comment) == header_comment(given.comment)
        )

    def add_messages(self, messages: DensityMessages) -> None:
        """Add what VASP printed about its initial density.

        Parameters
        ----------
        messages
            Messages on standard output.
        """
        self.started_from, self.warnings = messages.provenance, list(messages.warnings)
        if self.inherits_orbitals and messages.provenance == "atoms":
            # Without a message about a CHGCAR, VASP made the density from the orbitals.
            self.started_from = "orbitals"
        if self.initial_density is not None and self.initial_density.failure is None:
            self.read_by_vasp = messages.provenance == "chgcar" and self.is_echoed(messages.comment)
        if self.initial_orbitals is not None and self.initial_orbitals.failure is None:
            self.orbitals_read_by_vasp = self.has_initial_orbitals and bool(messages.orbitals_read)

    def write(self, folder: Path) -> None:
        """Write ``mlcharge.json``.

        Parameters
        ----------
        folder
            Folder of the run.
        """
        atomic_write(folder / FILE_NAME, self.model_dump_json(indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Read ``mlcharge.json``, plain or compressed.

        Parameters
        ----------
        folder
            Folder of the run.

        Returns
        -------
        RunProvenance or None
            None if there is no such file.

        Raises
        ------
        ProvenanceError
            The file is damaged, or is no provenance.
        """
        path = plain_or_compressed(folder / FILE_NAME)
        if not path.is_file():
            return None
        try:
            return cls.model_validate(json.loads(read_bytes(path)))
        except ValidationError as error:
            reason = validation_problems(error, cls)[0]
        except (*UNREADABLE, RecursionError) as error:
            reason = one_line(error)
        raise ProvenanceError(f"{path}: is no provenance of a run ({reason})")

    @classmethod
    def read_if_possible(cls, folder: Path) -> Self | None:
        """Read ``mlcharge.json`` while VASP runs or when it has ended: its result counts more.

        Parameters
        ----------
        folder
            Folder of the run.

        Returns
        -------
        RunProvenance or None
            None, too, for a damaged file.
        """
        try:
            return cls.read(folder)
        except ProvenanceError:
            return None
