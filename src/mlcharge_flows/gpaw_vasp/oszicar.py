"""OSZICAR: one line per electronic step, as it happens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from mlcharge_flows.gpaw_vasp.fortran_format import exponential

if TYPE_CHECKING:
    from types import TracebackType

    from mlcharge_flows.gpaw_vasp.result import ElectronicStep

HEADER = (
    "       N       E                     dE             d eps       ncg     rms          rms(c)"
)
"""Column titles, without the line end."""


def format_step(step: ElectronicStep) -> str:
    """Line of one electronic step, without the line end; rms(c) only where a density was computed.

    Parameters
    ----------
    step
        The step.

    Examples
    --------
    >>> from mlcharge_flows.gpaw_vasp.oszicar import format_step
    >>> from mlcharge_flows.gpaw_vasp.result import ElectronicStep
    >>> step = ElectronicStep(
    ...     5, -10.85, -10.84, -10.845, -2.5e-5, -2.4e-5, 1828, 0.01, 0.373, 0.6
    ... )
    >>> format_step(step)
    'DAV:   5    -0.108500000000E+02   -0.25000E-04   -0.24000E-04  1828   0.100E-01    0.373E+00'
    """
    line = (
        f"DAV:{step.number:4d}{exponential(step.free_energy, 23, 12)}"
        f"{exponential(step.change, 15, 5)}{exponential(step.band_change, 15, 5)}"
        f" {step.operations:5d}{exponential(step.residual, 12, 3)}"
    )
    if step.charge_residual is None:
        return line
    return line + exponential(step.charge_residual, 13, 3)


def format_final(step: ElectronicStep) -> str:
    """Line that closes the ionic step, without the line end.

    As VASP does for fixed ions, ``d E`` is the entropy term F - E.

    Parameters
    ----------
    step
        The last electronic step.
    """
    entropy = step.free_energy - step.energy_without_entropy
    return (
        f"   1 F= {exponential(step.free_energy, 14, 8)} E0= {exponential(step.energy_zero, 14, 8)}"
        f"  d E ={exponential(entropy, 12, 6)}"
    )


class OszicarWriter:
    """An OSZICAR that grows while the run goes on; every line is flushed.

    Parameters
    ----------
    path
        The file; an old one is replaced.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from mlcharge_flows.gpaw_vasp.oszicar import OszicarWriter
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
        self._line(HEADER)

    def write(self, step: ElectronicStep) -> None:
        """Append one electronic step."""
        self._line(format_step(step))

    def finish(self, step: ElectronicStep) -> None:
        """Append the closing line; ``step`` is the last electronic step."""
        self._line(format_final(step))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> OszicarWriter:
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
