"""OSZICAR, which grows with every electronic step.

Columns are those of VASP 6; `tests/gpaw_vasp` compares them with real files byte by byte.

References
----------
VASP wiki, OSZICAR.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self, TextIO

from mlcharge_flows.vasp.fortran import format_e

if TYPE_CHECKING:
    from types import TracebackType

    from mlcharge_flows.gpaw_vasp.result import ElectronicStep, Motion

OSZICAR_HEADER = (
    "       N       E                     dE             d eps       ncg     rms          rms(c)"
)
"""Column titles of OSZICAR, without the line end."""


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


def format_final(
    step: ElectronicStep, number: int = 1, change: float | None = None, motion: Motion | None = None
) -> str:
    """Format the OSZICAR line that closes the ionic step.

    Parameters
    ----------
    step
        The last electronic step.
    number
        Number of the ionic step.
    change
        Change of the free energy for ``d E``, in eV. As VASP does for fixed ions, None stands for
        the entropy term F - E.
    motion
        Motion of the ions in molecular dynamics.

    Returns
    -------
    str
        The line without its end; with ISPIN = 2 it ends with the total moment in Bohr magnetons.
    """
    moment = "" if step.magnetization is None else f"  mag={step.magnetization:11.4f}"
    free, zero = (format_e(energy, 14, 8) for energy in (step.free_energy, step.energy_zero))
    if motion is not None:
        kinetic, thermostat = motion.kinetic_energy, motion.thermostat_energy
        total = format_e(step.free_energy + kinetic + thermostat, 14, 8)
        return (
            f"{number:5d} T= {motion.temperature:5.0f}. E= {total} F= {free} E0= {zero}"
            f"  EK= {format_e(kinetic, 11, 5)} SP= {format_e(thermostat, 8, 2)}"
            f" SK= {format_e(0.0, 8, 2)}{moment}"
        )
    if change is None:
        change = step.free_energy - step.energy_without_entropy
    return f"{number:4d} F= {free} E0= {zero}  d E ={format_e(change, 12, 6)}{moment}"


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
        self.begin()

    def begin(self) -> None:
        """Append the column titles, as at the beginning of each ionic step."""
        self._line(OSZICAR_HEADER)

    def write(self, step: ElectronicStep) -> None:
        """Append the line of one electronic step.

        Parameters
        ----------
        step
            The step.
        """
        self._line(format_step(step))

    def finish(
        self,
        step: ElectronicStep,
        number: int = 1,
        change: float | None = None,
        motion: Motion | None = None,
    ) -> None:
        """Append the line that closes the ionic step.

        Parameters
        ----------
        step
            The last electronic step.
        number
            Number of the ionic step.
        change
            Change of the free energy, in eV.
        motion
            Motion of the ions in molecular dynamics.
        """
        self._line(format_final(step, number, change, motion))

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
