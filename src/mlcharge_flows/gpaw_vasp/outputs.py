"""Output files of a run: written at its end, and after each ionic step where there are several.

The small text files CONTCAR, XDATCAR, EIGENVAL, DOSCAR and IBZKPT are formatted here, too; OSZICAR,
OUTCAR and vasprun.xml have modules of their own.

Columns are those of VASP 6; `tests/gpaw_vasp` reads the files with pymatgen.

References
----------
VASP wiki, CONTCAR, XDATCAR, EIGENVAL, DOSCAR and IBZKPT.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlcharge_flows.gpaw_vasp.outcar import outcar, outcar_ionic_step, outcar_opening
from mlcharge_flows.gpaw_vasp.vasprun_xml import (
    vasprun_ionic_step,
    vasprun_opening,
    vasprun_xml,
)
from mlcharge_flows.io import atomic_write
from mlcharge_flows.vasp.fortran import format_e

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlcharge_flows.gpaw_vasp.result import Run

MESH_SCHEMES = ("Gamma", "Monkhorst-Pack")
"""k-point schemes that make a mesh; only their runs have an IBZKPT."""


def contcar(run: Run) -> str:
    """Format the CONTCAR: the geometry in the order of the POSCAR, to 16 decimals.

    Parameters
    ----------
    run
        The run.

    Returns
    -------
    str
        Text of the file: the last geometry, with the flags of the POSCAR's selective dynamics, and
        velocities after molecular dynamics.
    """
    species = run.crystal.species
    flags, velocities = run.selective_dynamics, run.velocities
    lines = [run.comment or " ".join(symbol for symbol, _ in species), "   1.00000000000000     "]
    lines += ["".join(f"{x:22.16f}" for x in vector) for vector in run.crystal.lattice]
    lines.append("".join(f"{symbol:>5}" for symbol, _ in species))
    lines.append("".join(f"{count:6d}" for _, count in species))
    if flags is not None:
        lines.append("Selective dynamics")
    lines.append("Direct")
    lines += ["".join(f"{x:20.16f}" for x in position) for position in run.crystal.positions]
    if flags is not None:
        words = ["".join("   T" if free else "   F" for free in ion) for ion in flags]
        lines[-len(words) :] = map("".join, zip(lines[-len(words) :], words, strict=True))
    if velocities is not None:
        lines.append("")
        lines += ["".join(format_e(x, 16, 8) for x in velocity) for velocity in velocities]
    return "\n".join(lines) + "\n"


def xdatcar(run: Run) -> str:
    """Format the XDATCAR: every geometry of a run, with its cell where that changes.

    Parameters
    ----------
    run
        The run.

    Returns
    -------
    str
        Text of the file; empty for a single geometry. In molecular dynamics it has every
        NBLOCK-th step.
    """
    if not run.path:
        return ""
    title = str(run.incar.get("SYSTEM", "unknown system"))
    block = int(run.parameters.get("NBLOCK", 1))
    lines: list[str] = []
    lattice = None
    for number, step in enumerate(run.ionic_steps, 1):
        if number % block:
            continue
        crystal = step.crystal
        if lattice is None or np.any(crystal.lattice != lattice):
            lattice = crystal.lattice
            lines += [f"{title:40s}", "           1"]
            lines += ["".join(f"{x:12.6f}" for x in vector) for vector in lattice]
            lines.append("".join(f"{symbol:>5}" for symbol, _ in crystal.species))
            lines.append("".join(f"{count:6d}" for _, count in crystal.species))
        lines.append(f"Direct configuration={number:6d}")
        lines += ["".join(f"{x:12.8f}" for x in position) for position in crystal.positions]
    return "\n".join(lines) + "\n"


def eigenval(run: Run) -> str:
    """Format the EIGENVAL: eigenvalues and occupations per k-point.

    Parameters
    ----------
    run
        The run.

    Returns
    -------
    str
        Text of the file; energies in eV, and as in VASP a full band has occupation 1. Columns of
        both spins stand side by side: two energies, two occupations.
    """
    ions = len(run.crystal)
    n_spins, count, bands = run.eigenvalues.shape
    lines = [f"{ions:5d}{ions:5d}{1:5d}{n_spins:5d}", *_cell_header(run)]
    lines.append(f"{round(run.electrons):7d}{count:7d}{bands:7d}")
    for point, weight, energies, fillings in zip(
        run.kpoints,
        run.weights,
        run.eigenvalues.transpose(1, 2, 0),
        run.occupations.transpose(1, 2, 0),
        strict=True,
    ):
        # Adding 0 takes the sign of negative zeros.
        lines += ["", "".join(format_e(x + 0.0, 15, 7) for x in (*point, weight))]
        lines += [
            f"{band:5d}"
            + "".join(f"{energy:14.6f}" for energy in energies[band - 1])
            + "".join(f"{filling:11.6f}" for filling in fillings[band - 1])
            for band in range(1, bands + 1)
        ]
    return "\n".join(lines) + "\n"


def doscar(run: Run) -> str:
    """Format the DOSCAR: total and projected densities of states.

    Parameters
    ----------
    run
        The run.

    Returns
    -------
    str
        Text of the file; energies in eV, densities in states per eV. Columns of both spins stand
        side by side: two densities, two integrals; each orbital has two columns.
    """
    ions = len(run.crystal)
    projected = run.projected_dos
    energies = run.dos_energies
    title = (
        f"{energies[-1]:16.8f}{energies[0]:16.8f}{len(energies):5d}{run.fermi_level:16.8f}{1:16.8f}"
    )
    lines = [f"{ions:4d}{ions:4d}{int(projected is not None):4d}{0:4d}", *_cell_header(run), title]
    lines += [
        f"{energy:11.3f}" + "".join(format_e(states, 12, 4) for states in row)
        for energy, row in zip(energies, np.vstack([run.dos, run.integrated_dos]).T, strict=True)
    ]
    # Spin is the index that runs fastest in a row.
    for ion in projected.transpose(1, 3, 2, 0) if projected is not None else ():
        lines.append(title)
        lines += [
            f"{energy:11.3f}" + "".join(format_e(states, 12, 4) for states in row.ravel())
            for energy, row in zip(energies, ion, strict=True)
        ]
    return "\n".join(lines) + "\n"


def ibzkpt(run: Run) -> str:
    """Format the IBZKPT: the irreducible k-points of a mesh.

    Parameters
    ----------
    run
        The run, on a mesh; its weights times the number of mesh points are integers.

    Returns
    -------
    str
        Text of the file, with integer weights.
    """
    total = prod(run.divisions or ())
    lines = ["Automatically generated mesh", f"{len(run.kpoints):8d}", "Reciprocal lattice"]
    lines += [
        "".join(f"{x:20.14f}" for x in point) + f"{round(weight * total):14d}"
        for point, weight in zip(run.kpoints, run.weights, strict=True)
    ]
    return "\n".join(lines) + "\n"


def _cell_header(run: Run) -> list[str]:
    """Lines 2 to 5 of EIGENVAL and DOSCAR: volume per ion, axes in meters, title."""
    axes = (run.crystal.lattice**2).sum(axis=1) ** 0.5 * 1e-10
    sizes = (run.crystal.volume / len(run.crystal), *axes, 0.5e-15)
    return [
        "".join(format_e(x, 15, 7) for x in sizes),
        "  1.000000000000000E-004",
        "  CAR ",
        f" {run.incar.get('SYSTEM', 'unknown system')}",
    ]


#: Files written at the end of a run, and what formats them, in the order in which they are written.
OUTPUTS: dict[str, Callable[[Run], str]] = {
    "CONTCAR": contcar,
    "XDATCAR": xdatcar,
    "EIGENVAL": eigenval,
    "DOSCAR": doscar,
    "IBZKPT": ibzkpt,
    "OUTCAR": outcar,
    "vasprun.xml": vasprun_xml,
}


def clear_outputs(folder: str | Path) -> None:
    """Remove the outputs of an earlier run, as VASP does at its start.

    Otherwise a run that dies, say in custodian's second attempt, leaves the files of the first
    one, and every reader takes them for its own.

    Parameters
    ----------
    folder
        Run folder.
    """
    for name in (*OUTPUTS, "OSZICAR"):
        Path(folder, name).unlink(missing_ok=True)


def open_state_files(folder: str | Path, lcharg: bool) -> None:
    """Create the files of orbitals and density that a run may leave without content.

    VASP opens them at its start, so that with LWAVE or LCHARG = .FALSE., and after a kill, there
    are empty files; Makers rely on them. Files that exist stay as they are.

    Parameters
    ----------
    folder
        Run folder.
    lcharg
        LCHARG; a CHG, which is not written here, is left empty only without it.

    Raises
    ------
    OSError
        A file cannot be written, also because it is a folder: rather now than after the run.
    """
    for name in ("WAVECAR", "CHGCAR") if lcharg else ("WAVECAR", "CHGCAR", "CHG"):
        path = Path(folder, name)
        path.open("ab").close()
        path.touch()


def write_outputs(folder: str | Path, run: Run) -> None:
    """Write CONTCAR, XDATCAR, EIGENVAL, DOSCAR, IBZKPT (meshes only), OUTCAR and vasprun.xml.

    XDATCAR is for runs with ionic steps. Each file is written atomically, and
    vasprun.xml last, so that it says that all others are complete. OSZICAR and CHGCAR are not
    written here.

    Parameters
    ----------
    folder
        Run folder.
    run
        What it produced.
    """
    for name, text in OUTPUTS.items():
        if name == "IBZKPT" and run.kpoint_scheme not in MESH_SCHEMES:
            continue
        if content := text(run):
            atomic_write(Path(folder, name), content)


class PartialOutputs:
    """CONTCAR, XDATCAR, OUTCAR and vasprun.xml of a run that goes on, up to the last ionic step.

    As VASP's, a vasprun.xml that grows is no closed document, and an OUTCAR lacks its end.

    Parameters
    ----------
    folder
        Run folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.written = 0

    def write(self, run: Run) -> None:
        """Replace CONTCAR and XDATCAR, and append the ionic steps that are new to the others.

        Parameters
        ----------
        run
            What was computed so far.
        """
        atomic_write(self.folder / "CONTCAR", contcar(run))
        atomic_write(self.folder / "XDATCAR", xdatcar(run))
        new = range(self.written, len(run.ionic_steps))
        for name, opening, ionic_step in (
            ("OUTCAR", outcar_opening, outcar_ionic_step),
            ("vasprun.xml", vasprun_opening, vasprun_ionic_step),
        ):
            with (self.folder / name).open("a" if self.written else "w", encoding="utf-8") as file:
                if not self.written:
                    file.write(opening(run))
                file.writelines(ionic_step(run, index) for index in new)
        self.written = len(run.ionic_steps)
