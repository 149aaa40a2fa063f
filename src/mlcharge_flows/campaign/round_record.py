"""What was decided for a round before it began: its materials, their sources, its control share.

``rounds/round-2.json`` of a campaign folder is written once, whole, before anything of the round
runs, and is never written again: a campaign that is resumed decides nothing anew.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mlcharge_flows.errors import MlchargeError, one_line
from mlcharge_flows.io import atomic_write
from mlcharge_flows.scf.comparison import REFERENCE

if TYPE_CHECKING:
    from pathlib import Path

ROUNDS = "rounds"
"""Folder of the records and calibrations, in that of the campaign."""

_FILE_OF_ROUND = re.compile(r"(?:round|calibration)-([1-9]\d{0,5})(?:\.runs)?\.json")


class RecordError(MlchargeError, RuntimeError):
    """The record of a round cannot be used; the message is one line."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Assignment(_Record):
    """What one material runs, and why."""

    structure: str = Field(description="Hash of its structure.")
    elements: list[str] = Field(description="Its elements.")
    arm: str = Field(description="The source that it uses; default: free atoms.")
    reason: str = Field(description="Why this source, and none that comes before it.")
    runs: list[str] = Field(description="All its runs: of the source and, for control, others.")
    control: bool = Field(description="Whether it is of the random control share.")


class SourceRecord(_Record):
    """A source of initial densities that the round may use."""

    word: str = Field(description="Initial density, as the SPEC.yaml names it.")
    kind: str = Field(description="Sources of one kind share their measured savings.")
    calibration: str | None = Field(
        None,
        pattern=r"^calibration-[1-9]\d{0,5}\.json$",
        description="File of the calibration that an earlier round gave, in this folder.",
    )
    sha256: str | None = Field(None, description="Of that file.")


class RoundRecord(_Record):
    """One round of a campaign."""

    number: int = Field(ge=1, description="Of the round, from 1.")
    seed: int = Field(description="Of its random choices.")
    sources: dict[str, SourceRecord] = Field(
        description="By name of the arm, in the order in which they are tried."
    )
    materials: dict[str, Assignment] = Field(description="By identifier.")

    @model_validator(mode="after")
    def _names_its_arms(self) -> Self:
        for name, assignment in self.materials.items():
            if unknown := {assignment.arm, *assignment.runs} - {REFERENCE, *self.sources}:
                raise ValueError(f"{name} runs {', '.join(sorted(unknown))}, which is no source")
            if assignment.arm not in assignment.runs:
                raise ValueError(f"{name} does not run its source, {assignment.arm}")
        return self

    @property
    def calibration(self) -> str | None:
        """File of the calibration that the round may use."""
        return next((one.calibration for one in self.sources.values() if one.calibration), None)

    @property
    def calibration_number(self) -> int | None:
        """Number of the round after which that calibration was fitted."""
        match = _FILE_OF_ROUND.fullmatch(self.calibration or "")
        return int(match[1]) if match else None


def record_path(folder: Path, number: int) -> Path:
    """Place of the record of a round.

    Parameters
    ----------
    folder
        Campaign folder.
    number
        Of the round.

    Returns
    -------
    Path
        It need not exist.
    """
    return folder / ROUNDS / f"round-{number}.json"


def read_records(folder: Path) -> list[RoundRecord]:
    """Read the records of all rounds that have begun.

    Parameters
    ----------
    folder
        Campaign folder.

    Returns
    -------
    list of RoundRecord
        From the first round on.

    Raises
    ------
    RecordError
        A record cannot be read, or is of another round or of materials of an earlier one; or one is
        missing before a later record or calibration.
    """
    found: list[RoundRecord] = []
    known: dict[str, int] = {}
    for number in range(1, _last_number(folder) + 1):
        path = record_path(folder, number)
        try:
            record = RoundRecord.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise RecordError(
                f"{path}: is missing, and later rounds follow from it; restore it, or choose "
                "another --out"
            ) from None
        except OSError as error:
            raise RecordError(f"{path}: cannot be read ({error.strerror or error})") from None
        except ValidationError as error:
            reason = one_line(error.errors()[0]["msg"])
            raise RecordError(
                f"{path}: is not the record of a round ({reason}); restore it, or choose another "
                "--out"
            ) from None
        if record.number != number:
            raise RecordError(f"{path}: is the record of round {record.number}; restore it")
        for name in record.materials:
            if known.setdefault(name, number) != number:
                raise RecordError(
                    f"{path}: {name} is in round {known[name]}, too; restore the records"
                )
        found.append(record)
    return found


def _last_number(folder: Path) -> int:
    """Number of the last round of which there is a record or a calibration."""
    found = map(
        _FILE_OF_ROUND.fullmatch, (path.name for path in (folder / ROUNDS).glob("*-*.json"))
    )
    return max((int(match[1]) for match in found if match), default=0)


def write_record(folder: Path, record: RoundRecord) -> None:
    """Write the record of a round that begins.

    Parameters
    ----------
    folder
        Campaign folder.
    record
        Of the round.
    """
    path = record_path(folder, record.number)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, record.model_dump_json(indent=1) + "\n")
