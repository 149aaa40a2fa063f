"""Bands of a finished run along lines of symmetry, as they are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from monty.os.path import zpath
from pymatgen.electronic_structure.core import Spin
from pymatgen.io.vasp.inputs import Kpoints

from mlcharge_flows.scf.states import StatesError, parse_run

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, eq=False)
class Lines:
    """Bands along straight segments between named points, one after the other.

    Parameters
    ----------
    segments
        Distance along the path, shape (k,), 1/angstrom with the factor 2 pi; and eigenvalues of
        spin up, shape (k, bands), eV.
    ticks
        Name of each end of a segment, by its distance; ``K | U`` where the path jumps.
    """

    segments: list[tuple[np.ndarray, np.ndarray]]
    ticks: dict[float, str]


def read_lines(folder: str | Path) -> Lines:
    """Read a run whose KPOINTS lists points along lines, with a name at both ends of each line.

    Raises
    ------
    StatesError
        The files are missing or cut, or KPOINTS has no names.
    """
    run = parse_run(folder)
    path = Path(zpath(str(Path(folder) / "KPOINTS")))
    try:
        names = Kpoints.from_file(path).labels or []
    except Exception as error:  # pymatgen raises whatever a strange file leads to
        reason = " ".join(str(error).split()) or type(error).__name__
        raise StatesError(f"{path}: cannot be read ({reason[:200]})") from None
    points, eigenvalues = run.actual_kpoints or [], run.eigenvalues or {}
    if Spin.up not in eigenvalues or not any(names) or len(names) != len(points):
        raise StatesError(f"{path}: does not name the ends of lines")
    reciprocal = run.final_structure.lattice.reciprocal_lattice.matrix
    levels = np.sort(np.asarray(eigenvalues[Spin.up])[:, :, 0], axis=1)
    return along(np.asarray(points, float) @ reciprocal, levels, names)


def along(points: np.ndarray, levels: np.ndarray, names: Sequence[str | None]) -> Lines:
    """Lay bands out along a path.

    Parameters
    ----------
    points
        Cartesian, shape (k, 3), 1/angstrom.
    levels
        Shape (k, bands), eV.
    names
        Name of each point; empty but at both ends of a segment. Where two segments meet, their
        common point is listed twice.

    Examples
    --------
    >>> points = np.array([[0, 0], [1, 0], [2, 0], [2, 0], [2, 1], [5, 5], [5, 6]])
    >>> names = ["G", None, "X", "X", "W", "K", "U"]
    >>> path = along(np.pad(points, ((0, 0), (0, 1))), np.zeros((7, 1)), names)
    >>> path.ticks, [len(distances) for distances, _ in path.segments]
    ({0.0: 'G', 2.0: 'X', 3.0: 'W | K', 4.0: 'U'}, [3, 2, 2])
    """
    ends = [index for index, name in enumerate(names) if name]
    segments: list[tuple[np.ndarray, np.ndarray]] = []
    ticks: dict[float, str] = {}
    begin = 0.0
    for first, last in zip(ends[::2], ends[1::2], strict=False):
        steps = np.linalg.norm(np.diff(points[first : last + 1], axis=0), axis=1)
        distances = begin + np.concatenate([[0.0], np.cumsum(steps)])
        segments.append((distances, levels[first : last + 1]))
        name, before = str(names[first]), ticks.get(begin)
        ticks[begin] = f"{before} | {name}" if before not in (None, name) else name
        begin = float(distances[-1])
        ticks[begin] = str(names[last])
    return Lines(segments, ticks)
