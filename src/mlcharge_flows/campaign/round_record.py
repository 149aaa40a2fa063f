"""What was decided for a round before it began: its materials, their sources, its control share.

``rounds/round-2.json`` of a campaign folder is written once, whole, before anything of the round
runs, and is never written again: a campaign that is resumed decides nothing anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mlcharge_flows.errors import MlchargeError, one_line
from mlcharge_flows.io import atomic_write

if TYPE_CHECKING:
    from pathlib import Path

ROUNDS = "rounds"
"""Folder of the records and calibrations, in that of the campaign."""


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
        None, description="File of the calibration that an earlier round gave, in this folder."
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

    @property
    def calibration(self) -> str | None:
        """File of the calibration that the round may use."""
        return next((one.calibration for one in self.sources.values() if one.calibration), None)


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
        A record cannot be read.
    """
    found: list[RoundRecord] = []
    while (path := record_path(folder, len(found) + 1)).exists():
        try:
            found.append(RoundRecord.model_validate_json(path.read_bytes()))
        except OSError as error:
            raise RecordError(f"{path}: cannot be read ({error.strerror or error})") from None
        except ValidationError as error:
            reason = one_line(error.errors()[0]["msg"])
            raise RecordError(
                f"{path}: is not the record of a round ({reason}); restore it, or choose another "
                "--out"
            ) from None
    return found


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
