"""Running any atomate2 VASP Maker from a start, or from atoms, with nothing else different."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atomate2.vasp.jobs.base import BaseVaspMaker, vasp_job
from atomate2.vasp.jobs.core import StaticMaker
from emmet.core.tasks import TaskDoc
from jobflow import Maker, Response
from monty.io import zopen
from monty.os.path import zpath
from pydantic import BaseModel, Field

from mlcharge_flows.jobs.inputs import VaspInputs
from mlcharge_flows.jobs.start import OnError, StartDocument, StartError
from mlcharge_flows.settings import Settings

if TYPE_CHECKING:
    from pymatgen.core import Structure

_RECORD = "mlcharge.json"


class StartRecord(BaseModel):
    """What a run was meant to start from, kept beside its files as ``mlcharge.json``.

    atomate2 takes it into the task document; whether the start was used, only VASP's output tells.
    """

    icharg: int = Field(description="ICHARG of the run.")
    start: StartDocument | None = Field(None, description="The start, None for atoms.")
    failure: str | None = Field(None, description="What went wrong; None if nothing did.")

    def write(self, folder: Path) -> None:
        """Write the record into a run folder."""
        (folder / _RECORD).write_text(self.model_dump_json(indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> StartRecord | None:
        """Record of a run folder; None if there is none."""
        path = Path(zpath(folder / _RECORD))
        if not path.is_file():
            return None
        with zopen(path, mode="rt", encoding="utf-8") as file:
            return cls.model_validate(json.load(file))


@dataclass
class RunFromStartMaker(Maker):
    """Run a VASP Maker from the CHGCAR of a start.

    The inner Maker stays as it is. Its INCAR gets ICHARG, ISTART = 0, the fine grid as NGXF,
    NGYF, NGZF, and LMAXMIX where it is not set; the CHGCAR is brought into the folder before VASP
    starts. With ``icharg=2`` the same settings start from atoms: the reference to compare with.

    Parameters
    ----------
    name
        Name of the job.
    maker
        Any atomate2 VASP Maker.
    icharg
        1: self-consistent from the start; 11: its density kept; 2: from atoms.
    on_error
        ``"raise"``, or ``"record"`` to return a document of the failed run, whose folder can then
        be counted: a crashed arm is a result of a comparison.
    """

    name: str = "run from start"
    maker: BaseVaspMaker = field(default_factory=StaticMaker)
    icharg: int = 1
    on_error: OnError = "raise"

    @vasp_job
    def make(
        self,
        structure: Structure,
        prev_dir: str | Path | None = None,
        start: StartDocument | None = None,
    ) -> Response:
        """Run it.

        Parameters
        ----------
        structure
            Structure.
        prev_dir
            As for the inner Maker.
        start
            The start; not for ``icharg=2``.

        Raises
        ------
        StartError
            There is no start; like all errors, only if `on_error` is ``"raise"``.
        """
        folder = Path.cwd()
        record = StartRecord(icharg=self.icharg, start=start)
        record.write(folder)
        try:
            maker = self._prepared(structure, start)
            make = type(maker).make
            # The undecorated method: this is the job, the inner Maker runs within it.
            return make.original(maker, structure, prev_dir)  # type: ignore[attr-defined]
        except Exception as error:
            record.failure = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            record.write(folder)
            if self.on_error == "raise":
                raise
            failed: dict[str, Any] = {"dir_name": str(folder), "state": "failed"}
            failed["calcs_reversed"] = []  # without it, the stored document cannot be read again
            return Response(output=TaskDoc.model_validate(failed))

    def _prepared(self, structure: Structure, start: StartDocument | None) -> BaseVaspMaker:
        """Copy of the inner Maker that starts as asked."""
        settings = Settings()
        settings.activate()
        maker = deepcopy(self.maker)
        maker.run_vasp_kwargs.setdefault("vasp_cmd", settings.vasp_cmd)
        if settings.embedded:
            maker.run_vasp_kwargs.setdefault("vasp_gamma_cmd", settings.vasp_cmd)
        inputs = VaspInputs(structure, maker.input_set_generator)
        heavy = any(element.Z > 56 for element in inputs.structure.composition.elements)
        maker.input_set_generator.user_incar_settings = {
            "LMAXMIX": inputs.incar.get("LMAXMIX", 6 if heavy else 4),
            **maker.input_set_generator.user_incar_settings,
            **inputs.pinned_grid,
            "ICHARG": self.icharg,
            "ISTART": 0,
        }
        if self.icharg == 2:
            return maker
        if start is None or start.path is None:
            raise StartError((start and start.failure) or "no start was written for this run")
        if start.grid != inputs.grid:
            raise StartError(f"{start.path} is on grid {start.grid}, the run's is {inputs.grid}")
        transfer: dict[str, Any] = maker.write_input_set_kwargs.setdefault("files_to_transfer", {})
        transfer["CHGCAR"] = start.path
        return maker
