"""What a run was meant to start from and where it did start, kept beside its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from monty.io import zopen
from monty.os.path import zpath
from pydantic import BaseModel, Field

from mlcharge_flows.io import atomic_write
from mlcharge_flows.sources.start import StartDocument  # noqa: TC001, pydantic needs it

RECORD = "mlcharge.json"


class StartRecord(BaseModel):
    """The start of one run; atomate2 takes it into the task document as ``additional_json``.

    The first fields are the intention. Where the run did start is added after it, from what VASP
    printed: until then ``started_from`` is None.
    """

    icharg: int | None = Field(description="ICHARG of the run; None: left to VASP.")
    start: StartDocument | None = Field(None, description="The start, None for atoms.")
    skipped: str | None = Field(
        None, description="Why the run was left to its own start; None if it was given one."
    )
    started_from: Literal["chgcar", "atoms", "orbitals", "unknown"] | None = Field(
        None, description="Decided from VASP's output, never from INCAR."
    )
    used: bool | None = Field(
        None,
        description="Whether VASP read this very start; None if there is none, or before the end.",
    )
    warnings: list[str] = Field(
        default_factory=list, description="VASP's messages about a CHGCAR that it did not read."
    )
    restarted: str | None = Field(
        None, description="What went wrong with the start, after which the run began from atoms."
    )
    failure: str | None = Field(None, description="What went wrong; None if nothing did.")

    @property
    def not_read(self) -> str | None:
        """Why there is no result: a density that is to be kept was not read. None if it was."""
        if (self.icharg or 0) < 10 or not self.warnings or self.started_from == "chgcar":
            return None
        return f"ICHARG = {self.icharg} needs a CHGCAR that VASP can read: {self.warnings[0]}"

    @property
    def orbitals_inherited(self) -> bool:
        """Whether the run had a WAVECAR of an earlier one, and no order to leave it aside."""
        return "WAVECAR" in (self.skipped or "") and not self.icharg

    def write(self, folder: Path) -> None:
        """Write the record into a run folder, whole or not at all."""
        atomic_write(folder / RECORD, self.model_dump_json(indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> StartRecord | None:
        """Record of a run folder; None if there is none."""
        path = Path(zpath(folder / RECORD))
        if not path.is_file():
            return None
        with zopen(path, mode="rt", encoding="utf-8") as file:
            return cls.model_validate(json.load(file))
