"""EIGENVAL: eigenvalues and occupations per k-point."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlcharge_flows.gpaw_vasp.fortran_format import exponential

if TYPE_CHECKING:
    from mlcharge_flows.gpaw_vasp.result import Run


def eigenval(run: Run) -> str:
    """Text of the EIGENVAL; as in VASP a full band has occupation 1.

    Parameters
    ----------
    run
        The run.
    """
    ions = len(run.crystal)
    count, bands = run.eigenvalues.shape
    lines = [f"{ions:5d}{ions:5d}{1:5d}{1:5d}", *cell_header(run)]
    lines.append(f"{round(run.electrons):7d}{count:7d}{bands:7d}")
    for point, weight, energies, fillings in zip(
        run.kpoints, run.weights, run.eigenvalues, run.occupations, strict=True
    ):
        lines += ["", "".join(exponential(x, 15, 7) for x in (*point, weight))]
        lines += [
            f"{band:5d}{energy:14.6f}{filling:11.6f}"
            for band, (energy, filling) in enumerate(zip(energies, fillings, strict=True), 1)
        ]
    return "\n".join(lines) + "\n"


def cell_header(run: Run) -> list[str]:
    """Lines 2 to 5 that EIGENVAL and DOSCAR share: volume per ion, axes in metres, title.

    Parameters
    ----------
    run
        The run.
    """
    axes = (run.crystal.lattice**2).sum(axis=1) ** 0.5 * 1e-10
    sizes = (run.crystal.volume / len(run.crystal), *axes, 0.5e-15)
    return [
        "".join(exponential(x, 15, 7) for x in sizes),
        "  1.000000000000000E-004",
        "  CAR ",
        f" {run.incar.get('SYSTEM', 'unknown system')}",
    ]
