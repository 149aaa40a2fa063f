"""Bringing a start that was written elsewhere into the folder of a run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from mlcharge_flows.atomate2.finalize import is_start
from mlcharge_flows.atomate2.provenance import StartRecord
from mlcharge_flows.io import atomic_path
from mlcharge_flows.sources.existing import fitted
from mlcharge_flows.sources.start import StartError, write_start

if TYPE_CHECKING:
    from mlcharge_flows.sources.inputs import VaspInputs
    from mlcharge_flows.sources.start import StartDocument


def check_data(given: StartDocument, inputs: VaspInputs) -> None:
    """Refuse a start that was predicted for other PAW data sets than the run's.

    Where it was predicted there may have been no POTCAR to compare with.
    """
    if given.paw is None or not inputs.has_potcars():
        return
    for symbol, potcar in inputs.potcars.items():
        if (titel := given.paw.get(symbol, potcar.titel)) != potcar.titel:
            raise StartError(
                f"{given.path}: was predicted for the PAW data set {titel}, the run has "
                f"{potcar.titel}"
            )


def adapted(given: StartDocument, inputs: VaspInputs, folder: Path) -> StartDocument:
    """Copy a start that is shown to belong to the inputs; on another grid it is interpolated."""
    messages: list[str] = []
    density = fitted(Path(str(given.path)), inputs, messages)
    if not messages:
        return copied(given, folder)
    written = write_start(folder, density, inputs, given.kind)
    written.occupancies, written.seconds = given.occupancies, given.seconds
    written.messages = [*given.messages, *messages]
    return written


def copied(given: StartDocument, folder: Path) -> StartDocument:
    """Copy a start as it is."""
    source, target = Path(str(given.path)), folder / "CHGCAR"
    try:
        with atomic_path(target) as partial:
            shutil.copyfile(source, partial)
    except OSError as error:
        raise StartError(f"{source}: cannot be copied ({error.strerror or error})") from None
    return given


def discard_leftover(folder: Path) -> None:
    """Remove the start of an interrupted run of this folder: it is not an inherited density."""
    record = StartRecord.read(folder)
    if record and record.start and is_start(folder / "CHGCAR", record.start):
        (folder / "CHGCAR").unlink()
