"""CONTCAR: the geometry, in the order of the POSCAR, to 16 decimals."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlcharge_flows.gpaw_vasp.result import Run


def contcar(run: Run) -> str:
    """Text of the CONTCAR.

    Parameters
    ----------
    run
        The run; its ions did not move.
    """
    species = run.crystal.species
    lines = [run.comment or " ".join(symbol for symbol, _ in species), "   1.00000000000000     "]
    lines += ["".join(f"{x:22.16f}" for x in vector) for vector in run.crystal.lattice]
    lines.append("".join(f"{symbol:>5}" for symbol, _ in species))
    lines.append("".join(f"{count:6d}" for _, count in species))
    lines.append("Direct")
    lines += ["".join(f"{x:20.16f}" for x in position) for position in run.crystal.positions]
    return "\n".join(lines) + "\n"
