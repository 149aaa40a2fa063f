"""All output files of a finished run, each written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mlcharge_flows.gpaw_vasp.contcar import contcar
from mlcharge_flows.gpaw_vasp.doscar import doscar
from mlcharge_flows.gpaw_vasp.eigenval import eigenval
from mlcharge_flows.gpaw_vasp.ibzkpt import MESHES, ibzkpt
from mlcharge_flows.gpaw_vasp.outcar import outcar
from mlcharge_flows.gpaw_vasp.vasprun_xml import vasprun_xml
from mlcharge_flows.io import atomic_write

if TYPE_CHECKING:
    from mlcharge_flows.gpaw_vasp.result import Run

OUTPUTS = ("CONTCAR", "EIGENVAL", "DOSCAR", "IBZKPT", "OUTCAR", "vasprun.xml")
"""Files of :func:`write_outputs`, in the order in which they are written."""


def clear_outputs(folder: str | Path) -> None:
    """Remove the outputs of an earlier run, as VASP does when it starts.

    Otherwise a run that dies, say in custodian's second attempt, leaves the files of the first
    one, and every reader takes them for its own.

    Parameters
    ----------
    folder
        Where the run will run.
    """
    for name in (*OUTPUTS, "OSZICAR"):
        Path(folder, name).unlink(missing_ok=True)


def write_outputs(folder: str | Path, run: Run) -> None:
    """Write CONTCAR, EIGENVAL, DOSCAR, IBZKPT (meshes only), OUTCAR and, last, vasprun.xml.

    A run that is killed leaves the files that it finished; a vasprun.xml therefore says that all
    the others are complete. OSZICAR and CHGCAR are not written here.

    Parameters
    ----------
    folder
        Where the run ran.
    run
        What it produced.
    """
    folder = Path(folder)
    atomic_write(folder / "CONTCAR", contcar(run))
    atomic_write(folder / "EIGENVAL", eigenval(run))
    atomic_write(folder / "DOSCAR", doscar(run))
    if run.kpoint_scheme in MESHES:
        atomic_write(folder / "IBZKPT", ibzkpt(run))
    atomic_write(folder / "OUTCAR", outcar(run))
    atomic_write(folder / "vasprun.xml", vasprun_xml(run))
