"""IBZKPT: the irreducible k-points of a mesh, with integer weights."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlcharge_flows.gpaw_vasp.result import Run

MESHES = ("Gamma", "Monkhorst-Pack")
"""Schemes that make a mesh; only their runs have an IBZKPT."""


def ibzkpt(run: Run) -> str:
    """Text of the IBZKPT of a run on a mesh.

    Parameters
    ----------
    run
        The run; its weights times the number of mesh points are integers.
    """
    total = prod(run.divisions or ())
    lines = ["Automatically generated mesh", f"{len(run.kpoints):8d}", "Reciprocal lattice"]
    lines += [
        "".join(f"{x:20.14f}" for x in point) + f"{round(weight * total):14d}"
        for point, weight in zip(run.kpoints, run.weights, strict=True)
    ]
    return "\n".join(lines) + "\n"
