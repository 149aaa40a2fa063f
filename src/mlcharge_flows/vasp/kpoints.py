"""The k-points of KPOINTS or KSPACING.

References
----------
VASP wiki, KPOINTS and KSPACING; H. J. Monkhorst and J. D. Pack, Phys. Rev. B 13, 5188 (1976).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from pymatgen.io.vasp.inputs import Kpoints, KpointsSupportedModes

from mlcharge_flows.errors import MlchargeError
from mlcharge_flows.vasp.input_text import read_text, split_lines

if TYPE_CHECKING:
    from pathlib import Path

#: Most k-points of a mesh, list or path: more are a typing error.
MAX_KPOINTS = 100_000


_EXPONENT = re.compile(r"(?<=[\d.])[dD](?=[-+]?\d)")
"""Exponent letter of a Fortran number."""


class KPointsError(MlchargeError, ValueError):
    """K-points that VASP or this package cannot use; one line that names the file."""


@dataclass(frozen=True, eq=False)
class KPointSet:
    """The k-points that the input gives.

    Parameters
    ----------
    scheme
        ``"Gamma"``, ``"Monkhorst-Pack"``, ``"listgenerated"`` (line mode) or ``"explicit"``.
    divisions
        Divisions of a mesh; points per segment in line mode; None for a list.
    shift
        Shift of a mesh, in units of its spacing.
    points
        Fractional coordinates of a list or path, shape (k, 3); None for a mesh.
    weights
        Weights of a list, shape (k,); None for equal ones.
    line_ends
        End points of the segments of a path, shape (2 * segments, 3).
    labels
        Names of `line_ends`.

    Raises
    ------
    KPointsError
        If there are too many points, a number is not finite, or weights are negative or all zero.
    """

    scheme: str
    divisions: tuple[int, ...] | None = None
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    points: np.ndarray | None = None
    weights: np.ndarray | None = None
    line_ends: np.ndarray | None = None
    labels: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.points is None:
            count = np.prod(self.divisions or (1,), dtype=float)
        else:
            count = float(len(self.points))
        _check_count(count)
        for numbers in (self.shift, self.points, self.weights):
            if numbers is not None and not np.isfinite(numbers).all():
                raise KPointsError("KPOINTS: a number is not finite")
        if self.weights is not None and (min(self.weights) < 0 or not sum(self.weights) > 0):
            raise KPointsError(
                "KPOINTS: weights must be positive or zero, and one of them positive"
            )

    @property
    def is_mesh(self) -> bool:
        """Whether the points form a regular mesh, which the tetrahedron method needs."""
        return self.points is None

    @property
    def first(self) -> np.ndarray:
        """First point of a mesh, from which the others are steps upward; shape (3,)."""
        if self.divisions is None:
            raise ValueError("a list has no mesh")
        size = np.asarray(self.divisions)
        # Even divisions of Monkhorst and Pack miss Gamma by half a step.
        half = (self.scheme != "Gamma") & (size % 2 == 0)
        first: np.ndarray = (np.asarray(self.shift, dtype=float) + 0.5 * half) / size
        return first


def _check_count(count: float) -> None:
    if count > MAX_KPOINTS:
        raise KPointsError(
            f"KPOINTS: {count:.3g} k-points are too many, the limit is {MAX_KPOINTS}"
        )


def from_spacing(lattice: np.ndarray, spacing: float, gamma: bool = True) -> KPointSet:
    """Make the mesh of KSPACING: ``N_i = max(1, ceil(|b_i| / KSPACING))``.

    Parameters
    ----------
    lattice
        Lattice vectors as rows, shape (3, 3), in angstrom.
    spacing
        KSPACING, in 1/angstrom, with the factor 2 pi.
    gamma
        KGAMMA: whether the mesh holds Gamma.

    Returns
    -------
    KPointSet
        A mesh.

    Raises
    ------
    KPointsError
        If the spacing is not positive, or too small.

    References
    ----------
    VASP wiki, KSPACING.

    Examples
    --------
    >>> from_spacing(4.0 * np.eye(3), 0.5).divisions
    (4, 4, 4)
    """
    if not spacing > 0:
        raise KPointsError(f"INCAR: KSPACING = {spacing:g} must be positive")
    lengths = np.linalg.norm(2.0 * np.pi * np.linalg.inv(lattice).T, axis=1)
    divisions = tuple(int(max(1, np.ceil(length / spacing - 1e-9))) for length in lengths)
    return KPointSet("Gamma" if gamma else "Monkhorst-Pack", divisions)


def read_kpoints(path: Path, *, plain: bool = False) -> Kpoints:
    """Read a KPOINTS file, with the comments at line ends that VASP allows and pymatgen does not.

    Parameters
    ----------
    path
        The file, plain or compressed.
    plain
        Whether files that VASP does not read as text are refused, such as compressed ones.

    Returns
    -------
    Kpoints
        pymatgen's object.

    Raises
    ------
    KPointsError
        If the file ends too early, has no number where one is due, or holds a generalized mesh.
    NotPlainTextError
        With `plain`, if VASP does not read the file as text.
    """
    lines = split_lines(read_text(path, plain=plain))
    if len(lines) < 4:
        raise KPointsError(f"KPOINTS: the file ends after line {len(lines)}")
    style = lines[2].strip()[:1].lower()
    # In line mode, what follows an exclamation mark further down is a label.
    end = len(lines) if style != "l" else 3
    lines[1:end] = [_EXPONENT.sub("e", re.split("[!#]", line)[0].rstrip()) for line in lines[1:end]]
    if lines[1].split()[:1] == ["0"] and style in {"c", "k", "r"}:
        raise KPointsError(
            "KPOINTS: generalized meshes are not supported, use Gamma or Monkhorst-Pack"
        )
    try:
        return Kpoints.from_str("\n".join(lines))
    except IndexError:
        raise KPointsError(f"KPOINTS: the file ends too early, after line {len(lines)}") from None
    except ValueError:
        raise KPointsError("KPOINTS: a number is missing, or something else stands there") from None


def from_file(kpoints: Kpoints, lattice: np.ndarray) -> KPointSet:
    """Convert the content of a KPOINTS file.

    Parameters
    ----------
    kpoints
        As pymatgen read it.
    lattice
        Lattice vectors as rows, shape (3, 3), in angstrom, for the automatic style.

    Returns
    -------
    KPointSet
        A mesh, list or path.

    Raises
    ------
    KPointsError
        If the style is not supported.
    """
    style = kpoints.style
    modes = KpointsSupportedModes
    if style in {modes.Gamma, modes.Monkhorst}:
        divisions = tuple(int(n) for n in kpoints.kpts[0])
        if min(divisions) < 1:
            raise KPointsError(f"KPOINTS: divisions {divisions} must be positive")
        s1, s2, s3 = (float(s) for s in kpoints.kpts_shift)
        return KPointSet(
            "Gamma" if style == modes.Gamma else "Monkhorst-Pack", divisions, (s1, s2, s3)
        )
    if style == modes.Automatic:
        lengths = np.linalg.norm(np.linalg.inv(lattice).T, axis=1)
        divisions = tuple(int(max(1, kpoints.kpts[0][0] * length + 0.5)) for length in lengths)
        return KPointSet("Gamma", divisions)
    if style == modes.Line_mode:
        ends = np.asarray(kpoints.kpts, dtype=float)
        _check_count(kpoints.num_kpts * len(ends) / 2)
        if len(ends) % 2:
            raise KPointsError("KPOINTS: the last segment has no end")
        if kpoints.coord_type and kpoints.coord_type.lower()[0] in "ck":
            raise KPointsError("KPOINTS: line mode is supported in reciprocal coordinates only")
        steps = np.linspace(0.0, 1.0, kpoints.num_kpts)[:, None]
        points = np.concatenate(
            [(1 - steps) * a + steps * b for a, b in zip(ends[::2], ends[1::2], strict=True)]
        )
        return KPointSet(
            "listgenerated",
            (kpoints.num_kpts,),
            points=points,
            line_ends=ends,
            labels=[label or "" for label in (kpoints.labels or [""] * len(ends))],
        )
    if style == modes.Reciprocal:
        return KPointSet(
            "explicit",
            points=np.asarray(kpoints.kpts, dtype=float),
            weights=np.asarray(kpoints.kpts_weights, dtype=float),
        )
    raise KPointsError(f"KPOINTS: style {style.name} is not supported, use a mesh, a list or lines")
