"""DOSCAR: total and projected densities of states."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlcharge_flows.gpaw_vasp.eigenval import cell_header
from mlcharge_flows.gpaw_vasp.fortran_format import exponential

if TYPE_CHECKING:
    from mlcharge_flows.gpaw_vasp.result import Run


def doscar(run: Run) -> str:
    """Text of the DOSCAR.

    Parameters
    ----------
    run
        The run.
    """
    ions = len(run.crystal)
    projected = run.projected_dos
    energies = run.dos_energies
    title = (
        f"{energies[-1]:16.8f}{energies[0]:16.8f}{len(energies):5d}{run.fermi_level:16.8f}{1:16.8f}"
    )
    lines = [f"{ions:4d}{ions:4d}{int(projected is not None):4d}{0:4d}", *cell_header(run), title]
    lines += [
        f"{energy:11.3f}{exponential(states, 12, 4)}{exponential(integral, 12, 4)}"
        for energy, states, integral in zip(energies, run.dos, run.integrated_dos, strict=True)
    ]
    for ion in projected if projected is not None else ():
        lines.append(title)
        lines += [
            f"{energy:11.3f}" + "".join(exponential(states, 12, 4) for states in row)
            for energy, row in zip(energies, ion.T, strict=True)
        ]
    return "\n".join(lines) + "\n"
