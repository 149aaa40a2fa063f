"""What the finished runs of a campaign's rounds teach: a calibration of its model.

After round 2, ``rounds/calibration-2.json`` is fitted to runs of rounds 1 and 2, and
``rounds/calibration-2.runs.json`` names them. Both are written whole and never again. Fine-tuning
would be another function of the same runs: its checkpoint would join the sources of the next round
as a calibration does, with errors of left-out runs as its gate.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from mlcharge_flows.campaign.material_folder import link_name
from mlcharge_flows.campaign.round_order import elements_of_formula
from mlcharge_flows.campaign.round_record import ROUNDS, RecordError
from mlcharge_flows.errors import MlchargeError, one_line
from mlcharge_flows.io import atomic_write, file_sha256
from mlcharge_flows.scf.comparison import REFERENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from mlcharge_flows.models.registry import LoadedModel
    from mlcharge_flows.scf.comparison import Comparison


class CalibrationRuns(BaseModel):
    """Runs that a calibration was fitted to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int = Field(description="Round after which it was fitted.")
    model: str = Field(description="Name of the model.")
    sha256: str | None = Field(description="Of the calibration; None if no run could be used.")
    runs: dict[str, str] = Field(
        description="Folder of the run of each material, relative to that of the campaign."
    )
    elements: dict[str, int] = Field(description="Runs of each element.")
    left_out: list[str] = Field(description="A line for each run that could not be used.")
    notes: list[str] = Field(
        default_factory=list, description="A line for each thing that its user should know."
    )

    @property
    def file(self) -> str:
        """Name of the calibration's file."""
        return f"calibration-{self.number}.json"


def runs_to_learn_from(
    folder: Path, results: Iterable[tuple[Comparison, Sequence[str]]], max_runs: int
) -> dict[str, Path]:
    """Choose the finished runs that a calibration is fitted to.

    Parameters
    ----------
    folder
        Campaign folder.
    results
        Materials in the order of the rounds, each with its arms in the order of preference.
    max_runs
        A material is taken if one of its elements is in fewer runs so far.

    Returns
    -------
    dict of str to Path
        Folder of one run of each material; that from free atoms where there is one.
    """
    counts, found = Counter[str](), dict[str, Path]()
    for result, arms in results:
        counted = (arm for arm in (REFERENCE, *arms) if _counts(result, arm))
        if (arm := next(counted, None)) is None:
            continue
        elements = elements_of_formula(result.formula)
        if min(counts[element] for element in elements) >= max_runs:
            continue
        counts.update(elements)
        link = folder / result.material_id / link_name(f"{arm} run")
        found[result.material_id] = link if link.exists() else Path(result.arms[arm].folder)
    return found


def _counts(result: Comparison, arm: str) -> bool:
    return arm in result.arms and result.arms[arm].exclusion_reason is None


def calibrate_round(
    folder: Path,
    number: int,
    loaded: LoadedModel,
    runs: Mapping[str, Path],
    tracked: Callable[[Iterable[str]], Iterable[str]] = iter,
) -> CalibrationRuns:
    """Fit the calibration after a round.

    Parameters
    ----------
    folder
        Campaign folder.
    number
        Of the round.
    loaded
        The model.
    runs
        Folder of the run of each material.
    tracked
        Iterates over the materials, with a progress bar.

    Returns
    -------
    CalibrationRuns
        What it was fitted to.
    """
    from mlcharge_flows.models.calibration import CalibrationError, write_calibration
    from mlcharge_flows.settings import Settings
    from mlcharge_flows.training.calibrate import Calibrator
    from mlcharge_flows.training.finished_run import read_finished_run
    from mlcharge_flows.training.origin import Origin
    from mlcharge_flows.vasp.potcar import PotcarSearch

    library = PotcarSearch([*Settings().dataset_folders])
    calibrator, left_out = Calibrator(loaded, library), list[str]()
    for name in tracked(list(runs)):
        origin = Origin(name, protocol="campaign", source=name)
        try:
            calibrator.add(read_finished_run(runs[name], origin, library))
        except MlchargeError as error:
            left_out.append(f"{name}: {one_line(error)}")
    sha256, elements = None, dict[str, int]()
    try:
        fitted = calibrator.fit()
        sha256 = write_calibration(folder / ROUNDS / f"calibration-{number}.json", fitted)
        known = fitted.elements | fitted.alone
        elements = {symbol: known[symbol].n_runs for symbol in sorted(known)}
    except CalibrationError as error:
        left_out.append(one_line(error))
    left_out += calibrator.problems
    used = [name for name in runs if not any(line.startswith(f"{name}: ") for line in left_out)]
    made = CalibrationRuns(
        number=number,
        model=loaded.card.name,
        sha256=sha256,
        runs={name: _relative(runs[name], folder) for name in used if sha256},
        elements=elements,
        left_out=left_out,
        notes=list(calibrator.notes),
    )
    (folder / ROUNDS).mkdir(parents=True, exist_ok=True)
    atomic_write(_runs_path(folder, number), made.model_dump_json(indent=1) + "\n")
    return made


def _relative(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def _runs_path(folder: Path, number: int) -> Path:
    return folder / ROUNDS / f"calibration-{number}.runs.json"


def read_calibration_runs(folder: Path, number: int) -> CalibrationRuns | None:
    """Read what the calibration after a round was fitted to.

    Parameters
    ----------
    folder
        Campaign folder.
    number
        Of the round.

    Returns
    -------
    CalibrationRuns or None
        None if the calibration is not finished.

    Raises
    ------
    RecordError
        It cannot be read, or the calibration is not the one that was fitted.
    """
    path = _runs_path(folder, number)
    try:
        found = CalibrationRuns.model_validate_json(path.read_bytes())
        if found.number != number:
            raise RecordError(f"{path}: is of round {found.number}; restore it")
        now = None if found.sha256 is None else file_sha256(path.with_name(found.file))
    except FileNotFoundError as error:
        if not path.exists():
            return None
        raise RecordError(f"{error.filename}: is missing; restore it") from None
    except (OSError, ValueError) as error:
        raise RecordError(f"{path}: cannot be read ({one_line(error)}); restore it") from None
    if now != found.sha256:
        file = path.with_name(found.file)
        raise RecordError(f"{file}: was changed since it was fitted; restore it")
    return found
