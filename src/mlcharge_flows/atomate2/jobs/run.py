"""Running any atomate2 VASP Maker from a start, or from atoms, with nothing else different."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atomate2.vasp.jobs.base import BaseVaspMaker, vasp_job
from atomate2.vasp.jobs.core import StaticMaker
from atomate2.vasp.run import DEFAULT_HANDLERS
from custodian.vasp.validators import VaspFilesValidator, VasprunXMLValidator
from emmet.core.tasks import TaskDoc
from jobflow import Response

from mlcharge_flows.atomate2.existing_density import own_start
from mlcharge_flows.atomate2.finalize import StartValidator, conclude
from mlcharge_flows.atomate2.handlers import BadStartHandler, CrashedStartHandler
from mlcharge_flows.atomate2.jobs.wrapper import WrapperMaker
from mlcharge_flows.atomate2.provenance import StartRecord
from mlcharge_flows.atomate2.sets.comparison import lmaxmix
from mlcharge_flows.atomate2.staging import adapted, check_data, copied, discard_leftover
from mlcharge_flows.settings import Settings
from mlcharge_flows.sources.inputs import VaspInputs
from mlcharge_flows.sources.start import OnError, StartDocument, StartError, StartMaker

if TYPE_CHECKING:
    from pymatgen.core import Structure
    from pymatgen.io.vasp import VaspInput


@dataclass
class RunFromStartMaker(WrapperMaker):
    """Run a VASP Maker from the CHGCAR of a start.

    The inner Maker stays as it is and runs as it would alone. At the moment when its input set is
    made, the start is brought into the folder for just these inputs, and the INCAR gets ICHARG,
    ISTART = 0, the fine grid as NGXF, NGYF, NGZF, and LMAXMIX where it is not set. With
    ``icharg=2`` the same settings start from atoms: the reference to compare with.

    ``mlcharge.json`` in the folder, and so the task document, tells the start and its fate. A
    start that spoils ionic step 1 is dropped once, by custodian, unless the inner Maker has no
    handlers at all.

    Parameters
    ----------
    name
        Name of the job.
    maker
        Any atomate2 VASP Maker.
    start
        Writes the start in the run folder; not needed if :meth:`make` is given one.
    icharg
        1: self-consistent from the start; 11: its density kept; 2: from atoms. All these are
        orders: without its start nothing runs. None: what the run has of its own (an inherited
        CHGCAR or WAVECAR, an ICHARG of its input set) wins, and ICHARG is 1 if not fixed.
    on_error
        ``"raise"``, or ``"record"`` to return a document of the failed run, whose folder can then
        be counted: a crashed arm is a result of a comparison.
    """

    name: str = "run from start"
    maker: BaseVaspMaker = field(default_factory=StaticMaker)
    start: StartMaker | None = None
    icharg: int | None = 1
    on_error: OnError = "raise"

    @vasp_job
    def make(
        self,
        structure: Structure,
        prev_dir: str | Path | None = None,
        *args: Any,
        start: StartDocument | None = None,
        **kwargs: Any,
    ) -> Response:
        """Run it.

        Parameters
        ----------
        structure
            Structure.
        prev_dir
            As for the inner Maker.
        *args, **kwargs
            Further arguments of the inner Maker, such as the ``mode`` of a band structure.
        start
            The start, if it was written by another job; not for ``icharg=2``.

        Raises
        ------
        StartError
            There is no start, or VASP did not read the density that it was to keep; like all
            errors, only if `on_error` is ``"raise"``.
        """
        folder = Path.cwd()
        discard_leftover(folder)
        record = StartRecord(icharg=self.icharg, start=start)
        record.write(folder)
        try:
            with Settings().activated():
                maker = _prepared(self.maker)
                generator: Any = maker.input_set_generator
                make_inputs = generator.get_input_set

                def get_input_set(*given: Any, **options: Any) -> VaspInput:
                    inputs = make_inputs(*given, **options)
                    self._begin(inputs, record, folder, prev_dir)
                    return inputs

                # On this one instance only: here are the final inputs, and VASP has not started.
                generator.get_input_set = get_input_set
                # The undecorated method: this is the job, the inner Maker runs within it.
                make: Any = type(maker).make
                return make.original(maker, structure, prev_dir, *args, **kwargs)
        except Exception as error:
            record = conclude(folder) or record
            cause = StartError(record.not_read) if record.not_read else error
            record.failure = f"{type(cause).__name__}: {' '.join(str(cause).split())[:300]}"
            record.write(folder)
            if self.on_error == "raise":
                if cause is error:
                    raise
                raise cause from error
            failed: dict[str, Any] = {"dir_name": str(folder), "state": "failed"}
            failed["calcs_reversed"] = []  # without it, the stored document cannot be read again
            return Response(output=TaskDoc.model_validate(failed))

    def _begin(
        self, made: VaspInput, record: StartRecord, folder: Path, prev_dir: str | Path | None
    ) -> None:
        """Give the inputs their start, or leave them to their own; the record tells which."""
        inputs = VaspInputs.of(made)
        icharg = self.icharg
        if icharg is None:
            icharg = 11 if inputs.incar.get("ICHARG") == 11 else 1
            record.skipped = own_start(self.maker, inputs.incar, folder)
            if record.skipped is None:
                record.start = self._bring(record.start, inputs, folder, prev_dir)
            if record.skipped or record.start is None or record.start.failure:
                record.icharg = inputs.incar.get("ICHARG")
                record.write(folder)
                return
        elif icharg != 2:
            record.start = self._bring(record.start, inputs, folder, prev_dir)
        made["INCAR"].update(
            {
                "LMAXMIX": inputs.incar.get("LMAXMIX", lmaxmix(inputs.structure.atomic_numbers)),
                **inputs.pinned_grid,
                "ICHARG": icharg,
                "ISTART": 0,
            }
        )
        record.icharg = icharg
        record.write(folder)

    def _bring(
        self,
        given: StartDocument | None,
        inputs: VaspInputs,
        folder: Path,
        prev_dir: str | Path | None,
    ) -> StartDocument:
        """Put the start into the run folder: the given one, else an own one.

        Without an order to start from it (`icharg` None), one that does not fit is no error but a
        failed start, unless the own Maker of starts wants errors raised.
        """
        writer = self.start
        try:
            if given is None and writer is not None:
                return writer.write(inputs, folder, prev_dir)
            if given is None or given.path is None:
                raise StartError((given and given.failure) or "no start was written for this run")
            check_data(given, inputs)
            if self.icharg is None:
                return adapted(given, inputs, folder)
            if given.grid != inputs.grid:
                raise StartError(f"{given.path} is on grid {given.grid}, not on {inputs.grid}")
            return copied(given, folder)
        except Exception as error:
            if self.icharg is not None or (writer is not None and writer.on_error == "raise"):
                raise
            return StartDocument.failed(given.kind if given else str(writer and writer.kind), error)


def _prepared(maker: BaseVaspMaker) -> BaseVaspMaker:
    """Copy of the inner Maker with the executable, and with custodian told about starts."""
    maker = deepcopy(maker)
    options = maker.run_vasp_kwargs
    if "vasp_cmd" not in options:
        options.update({**Settings().run_vasp_kwargs, **options})
    if handlers := options.get("handlers", DEFAULT_HANDLERS):
        options["handlers"] = [BadStartHandler(), CrashedStartHandler(), *handlers]
    validators = options.get("validators") or (VasprunXMLValidator(), VaspFilesValidator())
    options["validators"] = [StartValidator(), *validators]
    return maker
