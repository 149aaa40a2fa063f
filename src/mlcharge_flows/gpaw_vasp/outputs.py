"""Output files: OSZICAR step by step, the others at the end of the run.

The small text files CONTCAR, EIGENVAL, DOSCAR and IBZKPT are formatted here, too; OUTCAR and
vasprun.xml have modules of their own.

Columns are those of VASP 6; `tests/gpaw_vasp` reads the files with pymatgen and compares OSZICAR
with real ones byte by byte.

References
----------
VASP wiki, OSZICAR, CONTCAR, EIGENVAL, DOSCAR and IBZKPT.
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Self, TextIO

from mlcharge_flows.gpaw_vasp.outcar import outcar
from mlcharge_flows.gpaw_vasp.vasprun_xml import vasprun_xml
from mlcharge_flows.io import atomic_write
from mlcharge_flows.vasp.fortran import format_e

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from mlcharge_flows.gpaw_vasp.result import ElectronicStep, Run

OSZICAR_HEADER = (
    "       N       E                     dE             d eps       ncg     rms          rms(c)"
)
"""Column titles of OSZICAR, without the line end."""

MESH_SCHEMES = ("Gamma", "Monkhorst-Pack")
"""k-point schemes that make a mesh; only their runs have an IBZKPT."""


def format_step(step: ElectronicStep) -> str:
    """Format the OSZICAR line of one electronic step.

    Parameters
    ----------
    step
        The step.

    Returns
    -------
    str
        The line without its end; rms(c) stands only where an output density was computed.

    Examples
    --------
    >>> from mlcharge_flows.gpaw_vasp.result import ElectronicStep
    >>> step = ElectronicStep(
    ...     5, -10.85, -10.84, -10.845, -2.5e-5, -2.4e-5, 1828, 0.01, 0.373, 0.6
    ... )
    >>> format_step(step)
    'DAV:   5    -0.108500000000E+02   -0.25000E-04   -0.24000E-04  1828   0.100E-01    0.373E+00'
    """
    line = (
        f"DAV:{step.number:4d}{format_e(step.free_energy, 23, 12)}"
        f"{format_e(step.change, 15, 5)}{format_e(step.band_change, 15, 5)}"
        f" {step.operations:5d}{format_e(step.residual, 12, 3)}"
    )
    if step.charge_residual is None:
        return line
    return line + format_e(step.charge_residual, 13, 3)


def format_final(step: ElectronicStep) -> str:
    """Format the OSZICAR line that closes the ionic step.

    Parameters
    ----------
    step
        The last electronic step.

    Returns
    -------
    str
        The line without its end. As VASP does for fixed ions, ``d E`` is the entropy term F - E.
    """
    entropy = step.free_energy - step.energy_without_entropy
    return (
        f"   1 F= {format_e(step.free_energy, 14, 8)} E0= {format_e(step.energy_zero, 14, 8)}"
        f"  d E ={format_e(entropy, 12, 6)}"
    )


class OszicarWriter:
    """An OSZICAR that grows while the run goes on; every line is flushed.

    Parameters
    ----------
    path
        The file; an old one is replaced.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from mlcharge_flows.gpaw_vasp.result import ElectronicStep
    >>> step = ElectronicStep(1, 4.82, 4.82, 4.82, 4.82, -286.0, 1392, 49.8, None, 0.6)
    >>> with TemporaryDirectory() as folder:
    ...     with OszicarWriter(Path(folder, "OSZICAR")) as oszicar:
    ...         oszicar.write(step)
    ...         oszicar.finish(step)
    ...     print(Path(folder, "OSZICAR").read_text().splitlines()[2])
       1 F= 0.48200000E+01 E0= 0.48200000E+01  d E =0.000000E+00
    """

    def __init__(self, path: str | Path) -> None:
        self._file: TextIO = Path(path).open("w", encoding="utf-8")  # noqa: SIM115, it is one
        self._line(OSZICAR_HEADER)

    def write(self, step: ElectronicStep) -> None:
        """Append the line of one electronic step.

        Parameters
        ----------
        step
            The step.
        """
        self._line(format_step(step))

    def finish(self, step: ElectronicStep) -> None:
        """Append the line that closes the ionic step.

        Parameters
        ----------
        step
            The last electronic step.
        """
        self._line(format_final(step))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _line(self, line: str) -> None:
        self._file.write(line + "\n")
        self._file.flush()


def contcar(run: Run) -> str:
    """Format the CONTCAR: the geometry in the order of the POSCAR, to 16 decimals.

    Parameters
    ----------
    run
        The run; its ions did not move.

    Returns
    -------
    str
        Text of the file.
    """
    species = run.crystal.species
    lines = [run.comment or " ".join(symbol for symbol, _ in species), "   1.00000000000000     "]
    lines += ["".join(f"{x:22.16f}" for x in vector) for vector in run.crystal.lattice]
    lines.append("".join(f"{symbol:>5}" for symbol, _ in species))
    lines.append("".join(f"{count:6d}" for _, count in species))
    lines.append("Direct")
    lines += ["".join(f"{x:20.16f}" for x in position) for position in run.crystal.positions]
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
        Text of the file; energies in eV, and as in VASP a full band has occupation 1.
    """
    ions = len(run.crystal)
    count, bands = run.eigenvalues.shape
    lines = [f"{ions:5d}{ions:5d}{1:5d}{1:5d}", *_cell_header(run)]
    lines.append(f"{round(run.electrons):7d}{count:7d}{bands:7d}")
    for point, weight, energies, fillings in zip(
        run.kpoints, run.weights, run.eigenvalues, run.occupations, strict=True
    ):
        # Adding 0 takes the sign of negative zeros.
        lines += ["", "".join(format_e(x + 0.0, 15, 7) for x in (*point, weight))]
        lines += [
            f"{band:5d}{energy:14.6f}{filling:11.6f}"
            for band, (energy, filling) in enumerate(zip(energies, fillings, strict=True), 1)
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
        Text of the file; energies in eV, densities in states per eV.
    """
    ions = len(run.crystal)
    projected = run.projected_dos
    energies = run.dos_energies
    title = (
        f"{energies[-1]:16.8f}{energies[0]:16.8f}{len(energies):5d}{run.fermi_level:16.8f}{1:16.8f}"
    )
    lines = [f"{ions:4d}{ions:4d}{int(projected is not None):4d}{0:4d}", *_cell_header(run), title]
    lines += [
        f"{energy:11.3f}{format_e(states, 12, 4)}{format_e(integral, 12, 4)}"
        for energy, states, integral in zip(energies, run.dos, run.integrated_dos, strict=True)
    ]
    for ion in projected if projected is not None else ():
        lines.append(title)
        lines += [
            f"{energy:11.3f}" + "".join(format_e(states, 12, 4) for states in row)
            for energy, row in zip(energies, ion.T, strict=True)
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


def write_outputs(folder: str | Path, run: Run) -> None:
    """Write CONTCAR, EIGENVAL, DOSCAR, IBZKPT (meshes only), OUTCAR and, last, vasprun.xml.

    Each file is written atomically, so that a vasprun.xml says that all others are complete.
    OSZICAR and CHGCAR are not written here.

    Parameters
    ----------
    folder
        Run folder.
    run
        What it produced.
    """
    for name, text in OUTPUTS.items():
        if name != "IBZKPT" or run.kpoint_scheme in MESH_SCHEMES:
            atomic_write(Path(folder, name), text(run))
