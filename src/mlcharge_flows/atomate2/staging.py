"""The initial CHGCAR in the folder of a run: brought there before VASP starts, archived after it.

With LCHARG = F the CHGCAR that a run began from is still there when the run ends. It looks like the
result, and would be listed, stored and copied as one.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monty.os.path import zpath

from mlcharge_flows.atomate2.schemas import RunProvenance
from mlcharge_flows.io import atomic_path
from mlcharge_flows.sources.from_file import read_for_run
from mlcharge_flows.sources.initial_chgcar import is_initial_chgcar, write_initial_chgcar
from mlcharge_flows.sources.source import SourceError
from mlcharge_flows.vasp.density_messages import read_density_messages

if TYPE_CHECKING:
    from collections.abc import Mapping

    from atomate2.vasp.jobs.base import BaseVaspMaker

    from mlcharge_flows.sources.initial_chgcar import InitialDensityDocument
    from mlcharge_flows.sources.run_inputs import RunInputs
    from mlcharge_flows.sources.source import Evaluated

ARCHIVED = "mlcharge.density"
"""Name of an initial CHGCAR after its run. No parser may take it for a CHGCAR, hence the name."""

_INHERITED = ("WAVECAR", "vaspwave.h5", "CHGCAR")


def existing_density_reason(
    maker: BaseVaspMaker, incar: Mapping[str, Any], folder: Path
) -> str | None:
    """Reasons to keep the initial density that a run has without this package.

    Parameters
    ----------
    maker
        The VASP Maker.
    incar
        Its final INCAR.
    folder
        Folder of the run, after the outputs of an earlier run were copied and before VASP starts.

    Returns
    -------
    str or None
        The first reason; None if the run would begin from free atoms, and can begin from a CHGCAR.

    Examples
    --------
    >>> from pathlib import Path
    >>> from atomate2.vasp.jobs.core import StaticMaker
    >>> existing_density_reason(StaticMaker(), {"ICHARG": 2}, Path("/no/such/folder"))
    'the input set fixes ICHARG = 2'
    >>> existing_density_reason(StaticMaker(), {"ENCUT": 520}, Path("/no/such/folder")) is None
    True
    """
    transferred = maker.write_input_set_kwargs.get("files_to_transfer") or {}
    for name in _INHERITED:
        if name in transferred or _is_inherited(folder / name):
            return f"{name} inherited"
    # With 1 and 11 the input set asks for a CHGCAR, and there is none.
    if incar.get("ICHARG") not in (None, 1, 11):
        return f"the input set fixes ICHARG = {incar['ICHARG']}"
    if str(incar.get("METAGGA", "None")).strip("- ").lower() not in ("", "none"):
        return (
            f"METAGGA = {incar['METAGGA']}: VASP also reads the kinetic-energy density (TAUCAR), "
            "without which the initial density is not complete"
        )
    if incar.get("LNONCOLLINEAR") or incar.get("LSORBIT"):
        return "noncollinear: the initial density has no direction of magnetization"
    job_type = maker.run_vasp_kwargs.get("job_type") or "normal"
    if (kind := str(getattr(job_type, "value", job_type))) != "normal":
        # Only after a single run under custodian can the initial CHGCAR be told from the result.
        return f"job type {kind!r} is not one run under custodian"
    return None


def _is_inherited(path: Path) -> bool:
    """Whether a file holds the result of an earlier run, and not nothing, or a prediction."""
    return path.is_file() and path.stat().st_size > 0 and not is_initial_chgcar(path)


def stage_chgcar(
    document: InitialDensityDocument, inputs: RunInputs, folder: Path, adapt: bool = False
) -> InitialDensityDocument:
    """Bring a CHGCAR that was written elsewhere into the folder of a run.

    Parameters
    ----------
    document
        What was written.
    inputs
        Inputs of the run.
    folder
        Folder of the run.
    adapt
        Whether structure and electrons are compared with the run's, and another grid is
        interpolated; else another grid is refused, and the file is trusted.

    Returns
    -------
    InitialDensityDocument
        As given, or of the interpolated density.

    Raises
    ------
    SourceError
        There is no file, or it does not belong to the run.
    """
    if document.path is None:
        raise SourceError(document.failure or "no initial density was written for this run")
    check_datasets(document, inputs)
    source = Path(document.path)
    if adapt:
        found = read_for_run(source, inputs)
        if found.augmentation_issue is not None:
            raise SourceError(found.augmentation_issue)
        if found.warnings:
            return _write_adapted(document, found, inputs, folder)
    elif document.grid != inputs.grid:
        raise SourceError(f"{source} is on grid {document.grid}, not on {inputs.grid}")
    try:
        with atomic_path(folder / "CHGCAR") as partial:
            shutil.copyfile(source, partial)
    except OSError as error:
        raise SourceError(f"{source}: cannot be copied ({error.strerror or error})") from None
    return document


def _write_adapted(
    document: InitialDensityDocument, found: Evaluated, inputs: RunInputs, folder: Path
) -> InitialDensityDocument:
    """Write a density that was brought to the grid of the run; its sources stay as documented."""
    written = write_initial_chgcar(folder, found, inputs, document.density_source)
    own = ("path", "comment", "sha256", "grid", "n_electrons")
    update = {name: getattr(written, name) for name in own}
    update["warnings"] = [*document.warnings, *found.warnings]
    return document.model_copy(update=update)


def check_datasets(document: InitialDensityDocument, inputs: RunInputs) -> None:
    """Compare the PAW data sets of an initial density with those of a run.

    Where the density was predicted, there may have been no POTCAR to compare with.

    Parameters
    ----------
    document
        The initial density.
    inputs
        Inputs of the run.

    Raises
    ------
    SourceError
        The initial density is for another data set.
    """
    if document.paw is None or not inputs.has_potcar:
        return
    for symbol, dataset in inputs.datasets.items():
        if (titel := document.paw.get(symbol, dataset.titel)) != dataset.titel:
            raise SourceError(
                f"{document.path}: was made for the PAW data set {titel}, the run has "
                f"{dataset.titel}"
            )


def remove_stale(folder: Path) -> None:
    """Remove what an interrupted run of this job has left: it is no inherited density.

    Parameters
    ----------
    folder
        Folder of the run, before anything is copied into it.
    """
    remove_initial_chgcar(folder)
    before = RunProvenance.read(folder)
    if before and before.initial_density and before.existing_density_reason is None:
        # The interrupted run had no orbitals of another one: these are its own.
        (folder / "WAVECAR").unlink(missing_ok=True)


def remove_initial_chgcar(folder: Path) -> None:
    """Remove a CHGCAR that is a prediction, such as one of an earlier run's folder.

    Parameters
    ----------
    folder
        Folder of the run.
    """
    if is_initial_chgcar(folder / "CHGCAR"):
        (folder / "CHGCAR").unlink()


def finalize_run(folder: Path) -> RunProvenance | None:
    """Complete the provenance of a run that has ended, and archive its initial CHGCAR.

    Safe to repeat.

    Parameters
    ----------
    folder
        Folder of the run.

    Returns
    -------
    RunProvenance or None
        The provenance; None if the folder has none.
    """
    provenance = RunProvenance.read(folder)
    if provenance is None:
        return None
    stdout = Path(zpath(folder / "vasp.out"))
    if stdout.is_file():
        provenance.add_messages(read_density_messages(stdout))
    archive_initial_chgcar(folder, provenance)
    provenance.write(folder)
    return provenance


def archive_initial_chgcar(folder: Path, provenance: RunProvenance) -> None:
    """Rename an initial CHGCAR that VASP has not replaced by its result.

    Parameters
    ----------
    folder
        Folder of the run.
    provenance
        Its provenance, whose path follows; it becomes None if VASP has replaced the file.
    """
    document = provenance.initial_density
    if document is None or document.path is None:
        return
    chgcar, archived = folder / "CHGCAR", folder.absolute() / ARCHIVED
    lies_here = Path(document.path).parent == folder.absolute()
    if is_initial_chgcar(chgcar) and provenance.is_echoed(_first_line(chgcar)):
        chgcar.replace(archived)
        document.path = str(archived) if lies_here else document.path
    elif lies_here and not archived.is_file():
        document.path = None


def _first_line(path: Path) -> str:
    with path.open(encoding="ascii", errors="replace") as file:
        return file.readline(200)
