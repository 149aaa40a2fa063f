"""The initial CHGCAR in the folder of a run: staged before VASP starts, archived after it.

With LCHARG = F the CHGCAR that a run began from is still there when the run ends. It looks like the
result, and would be listed, stored and copied as one. So does, with LWAVE = F, the WAVECAR of
initial orbitals, which is removed.
"""

from __future__ import annotations

import gzip
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlcharge_flows.atomate2.schemas import RunProvenance
from mlcharge_flows.errors import MlchargeError, one_line
from mlcharge_flows.io import UnreadableFileError, atomic_path, open_bytes, plain_or_compressed
from mlcharge_flows.scf.run_files import read_ions
from mlcharge_flows.sources.from_file import read_for_run, structure_difference
from mlcharge_flows.sources.initial_chgcar import (
    incomplete_density_reason,
    is_initial_chgcar,
    write_initial_chgcar,
)
from mlcharge_flows.sources.initial_wavecar import is_initial_wavecar
from mlcharge_flows.sources.source import SourceError
from mlcharge_flows.vasp.density_messages import read_density_messages

if TYPE_CHECKING:
    from collections.abc import Mapping

    from atomate2.vasp.jobs.base import BaseVaspMaker

    from mlcharge_flows.sources.initial_chgcar import InitialDensityDocument
    from mlcharge_flows.sources.run_inputs import RunInputs
    from mlcharge_flows.sources.source import Evaluated

ARCHIVED = "mlcharge.density.gz"
"""Name of an initial CHGCAR after its run, compressed: no parser may take it for a CHGCAR."""

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
    return incomplete_density_reason(incar) or _job_type_reason(maker)


def can_take_orbitals(maker: BaseVaspMaker, incar: Mapping[str, Any], folder: Path) -> bool:
    """Whether a run that inherits a CHGCAR, and no orbitals, can begin from initial orbitals.

    Parameters
    ----------
    maker
        The VASP Maker.
    incar
        Its final INCAR.
    folder
        Folder of the run, before VASP starts.

    Returns
    -------
    bool
        True if the run reads the CHGCAR, is collinear, has a functional without kinetic-energy
        density, and is one run under custodian.
    """
    if incar.get("ICHARG") not in (1, 11) or not _is_inherited(folder / "CHGCAR"):
        return False
    return not (incomplete_density_reason(incar) or _job_type_reason(maker))


def _job_type_reason(maker: BaseVaspMaker) -> str | None:
    """Why initial files of a run could not be told from its results; None if they can."""
    job_type = maker.run_vasp_kwargs.get("job_type") or "normal"
    if (kind := str(getattr(job_type, "value", job_type))) != "normal":
        return f"job type {kind!r} is not one run under custodian"
    return None


def can_begin_from(chgcar: Path, inputs: RunInputs) -> bool:
    """Whether a run can begin from an inherited CHGCAR that its INCAR does not ask for.

    Without ICHARG, VASP would begin from free atoms.

    Parameters
    ----------
    chgcar
        The file.
    inputs
        Inputs of the run.

    Returns
    -------
    bool
        True if ions, electrons, grid and augmentation occupancies are those of the run.
    """
    if "ICHARG" in inputs.incar or incomplete_density_reason(inputs.incar):
        return False
    try:
        found = read_for_run(chgcar, inputs, on_grid_of_run=False)
        return found.augmentation_issue is None and found.density.shape == inputs.grid
    except (MlchargeError, OSError, KeyError, ValueError):
        return False


def _is_inherited(path: Path) -> bool:
    """Whether a file holds the result of an earlier run, and not nothing, or what we wrote."""
    if not path.is_file() or path.stat().st_size == 0:
        return False
    return not (is_initial_wavecar(path) if path.name == "WAVECAR" else is_initial_chgcar(path))


def stage_chgcar(
    document: InitialDensityDocument, inputs: RunInputs, folder: Path, adapt: bool = False
) -> InitialDensityDocument:
    """Bring a CHGCAR that was written elsewhere into the folder of a run.

    Its SHA-256 must be the documented one, and its structure that of the run.

    Parameters
    ----------
    document
        What was written.
    inputs
        Inputs of the run.
    folder
        Folder of the run.
    adapt
        Whether the number of electrons is compared with the run's, too, and another grid is
        interpolated; else another grid is refused.

    Returns
    -------
    InitialDensityDocument
        As given, or of the interpolated density.

    Raises
    ------
    SourceError
        There is no file, it has changed since it was written, or does not belong to the run.
    """
    if document.path is None:
        raise SourceError(document.failure or "no initial density was written for this run")
    check_datasets(document, inputs)
    source = Path(document.path)
    if not adapt and document.grid != inputs.grid:
        raise SourceError(f"{source} is on grid {document.grid}, not on {inputs.grid}")
    try:
        if issue := document.change_of(source):
            raise SourceError(issue)
        if adapt:
            found = read_for_run(source, inputs)
            if found.augmentation_issue is not None:
                raise SourceError(found.augmentation_issue)
            if found.warnings:
                return _write_adapted(document, found, inputs, folder)
        elif difference := structure_difference(read_ions(source), inputs.crystal):
            raise SourceError(f"{source}: {difference}")
        with (
            open_bytes(source) as content,
            atomic_path(folder / "CHGCAR") as partial,
            partial.open("wb") as file,
        ):
            shutil.copyfileobj(content, file)
    except UnreadableFileError as error:
        raise SourceError(str(error)) from None
    except OSError as error:
        raise SourceError(f"{source}: cannot be copied ({error.strerror or error})") from None
    return document


def _write_adapted(
    document: InitialDensityDocument, found: Evaluated, inputs: RunInputs, folder: Path
) -> InitialDensityDocument:
    """Write a density regridded to the run; its sources stay as documented."""
    written = write_initial_chgcar(folder, found, inputs, document.density_source)
    own = ("path", "comment", "sha256", "grid", "n_electrons", "has_magnetization")
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
    remove_initial_files(folder)
    before = RunProvenance.read(folder)
    if before and before.initial_density and before.existing_density_reason is None:
        # The interrupted run had no orbitals of another one: these are its own.
        (folder / "WAVECAR").unlink(missing_ok=True)


def remove_initial_files(folder: Path) -> None:
    """Remove a CHGCAR or WAVECAR that this package wrote, such as one of an earlier run's folder.

    Parameters
    ----------
    folder
        Folder of the run.
    """
    if is_initial_chgcar(folder / "CHGCAR"):
        (folder / "CHGCAR").unlink()
    if is_initial_wavecar(folder / "WAVECAR"):
        (folder / "WAVECAR").unlink()


def finalize_run(folder: Path) -> RunProvenance | None:
    """Complete the provenance of a run that has ended, and archive its initial CHGCAR.

    The WAVECAR of initial orbitals is emptied. Safe to repeat. What cannot be read or written is
    told in the provenance: a finished run is not lost for it.

    Parameters
    ----------
    folder
        Folder in which VASP ran.

    Returns
    -------
    RunProvenance or None
        The provenance; None if the folder has none that can be read.
    """
    provenance = RunProvenance.read_if_possible(folder)
    if provenance is None:
        remove_initial_files(folder)
        return None
    provenance.output_issue = None
    stdout = plain_or_compressed(folder / "vasp.out")
    try:
        if stdout.is_file():
            provenance.add_messages(read_density_messages(stdout))
    except OSError as error:
        provenance.started_from, provenance.output_issue = "unknown", one_line(error)
    try:
        archive_initial_chgcar(folder, provenance)
    except OSError as error:
        provenance.output_issue = one_line(error)
        remove_initial_files(folder)
        document = provenance.initial_density
        if document and document.path and not Path(document.path).is_file():
            document.path = None
    with suppress(OSError):  # a full disk, which the run itself will tell
        provenance.write(folder)
    return provenance


def archive_initial_chgcar(folder: Path, provenance: RunProvenance) -> None:
    """Take initial files that VASP has not replaced by its result out of sight.

    The WAVECAR is emptied, as VASP leaves one with LWAVE = F, since Makers copy it. The CHGCAR is
    compressed if the run made it, and removed if it is the copy of a file that is kept elsewhere.
    From a scratch directory, custodian copies back what is there, and so would not replace the
    files of the folder that it was copied from: those are removed.

    Parameters
    ----------
    folder
        Folder in which VASP ran.
    provenance
        Its provenance, whose path follows; it becomes None if VASP has replaced the file.
    """
    folder = folder.absolute()
    run_folder = Path(provenance.run_folder or folder)
    chgcar, document = folder / "CHGCAR", provenance.initial_density
    is_left = is_initial_chgcar(chgcar)
    if document is None or document.path is None:
        is_own = True
    else:
        original = Path(document.path)
        is_own = original.parent in (folder, run_folder) or not original.is_file()
        if is_left:
            provenance.density_issue = document.change_of(chgcar)
        if is_left and is_own:
            document.path = str(run_folder / ARCHIVED)
        elif is_own and original.name == chgcar.name:
            document.path = None
    if is_left and is_own:
        with atomic_path(folder / ARCHIVED) as partial:
            _compress(chgcar, partial)
    if is_initial_wavecar(folder / "WAVECAR"):
        (folder / "WAVECAR").write_bytes(b"")
    remove_initial_files(folder)
    if run_folder != folder:
        remove_initial_files(run_folder)


def _compress(source: Path, target: Path) -> None:
    """Compress a file, fast: digits of a density shrink little, however long it takes."""
    with (
        source.open("rb") as content,
        target.open("wb") as file,
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) as packed,
    ):
        shutil.copyfileobj(content, packed)
