"""k-points from KPOINTS or KSPACING, and their hand-over to GPAW."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from gpaw.dft import BZSampling
from gpaw.new.brillouin import IBZ, BZPoints, MonkhorstPackKPoints
from pymatgen.io.vasp.inputs import Kpoints, KpointsSupportedModes

from mlcharge_flows.gpaw_vasp.errors import UnsupportedInputError

if TYPE_CHECKING:
    from pathlib import Path

    from gpaw.new.symmetry import Symmetries


@dataclass(frozen=True, eq=False)
class KPointSet:
    """k-points as the input asks for them.

    Parameters
    ----------
    scheme
        ``"Gamma"``, ``"Monkhorst-Pack"``, ``"listgenerated"`` (line mode) or ``"explicit"``.
    divisions
        Of a mesh; points per segment in line mode; None for a list.
    shift
        Of a mesh, in units of the mesh spacing.
    points, weights
        Of a list or lines, fractional; None for a mesh.
    line_ends, labels
        End points of the segments and their names.
    """

    scheme: str
    divisions: tuple[int, ...] | None = None
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    points: np.ndarray | None = None
    weights: np.ndarray | None = None
    line_ends: np.ndarray | None = None
    labels: list[str] = field(default_factory=list)

    @property
    def is_mesh(self) -> bool:
        """Whether the points form a regular mesh, which the tetrahedron method needs."""
        return self.points is None

    def sampling(self) -> BZSampling:
        """These points as GPAW's k-point parameter."""
        return _Sampling(self)


class _Sampling(BZSampling):
    """Hands prepared points to GPAW instead of one of its own k-point parameters."""

    def __init__(self, kpoints: KPointSet):
        self.kpoints = kpoints

    def todict(self) -> dict[str, object]:
        return {}

    def build(self, atoms: object) -> BZPoints:
        if self.kpoints.points is not None:
            return _WeightedPoints(self.kpoints.points, self.kpoints.weights)
        size = np.asarray(self.kpoints.divisions)
        # ase's mesh is Monkhorst and Pack's: even divisions miss Gamma by half a step.
        offset = np.asarray(self.kpoints.shift, dtype=float) / size
        if self.kpoints.scheme == "Gamma":
            offset += np.where(size % 2 == 0, 0.5, 0.0) / size
        return MonkhorstPackKPoints(size, offset)


class _WeightedPoints(BZPoints):
    """A list of points that is already irreducible: order and weights are the user's."""

    def __init__(self, points: np.ndarray, weights: np.ndarray | None):
        super().__init__(points)
        self.weights = np.ones(len(points)) if weights is None else np.asarray(weights, float)

    def reduce(self, symmetries: Symmetries, **_: object) -> IBZ:
        """Keep every point; GPAW would merge equivalent ones and lose their order."""
        n = len(self)
        every = np.arange(n)
        return IBZ(
            symmetries,
            self,
            ibz2bz=every,
            bz2ibz=every,
            weights=self.weights / self.weights.sum(),
            bz2bz_Ks=np.tile(every[:, None], len(symmetries)),
            s_K=np.zeros(n, int),
            time_reversal_K=np.zeros(n, bool),
        )


def from_spacing(lattice: np.ndarray, spacing: float, gamma: bool = True) -> KPointSet:
    """Mesh whose steps are at most ``spacing`` (1/angstrom, with the factor 2 pi).

    ``N_i = max(1, ceil(|b_i| / KSPACING))`` (VASP wiki, KSPACING).

    Raises
    ------
    UnsupportedInputError
        If the spacing is not positive.
    """
    if spacing <= 0:
        raise UnsupportedInputError(f"INCAR: KSPACING = {spacing:g} must be positive")
    lengths = np.linalg.norm(2.0 * np.pi * np.linalg.inv(lattice).T, axis=1)
    divisions = tuple(int(max(1, np.ceil(length / spacing - 1e-9))) for length in lengths)
    return KPointSet("Gamma" if gamma else "Monkhorst-Pack", divisions)


def read_kpoints(path: Path) -> Kpoints:
    """Read a KPOINTS file, with the comments at line ends that VASP allows and pymatgen does not.

    Raises
    ------
    UnsupportedInputError
        If the file ends too early or holds a generalized mesh.
    """
    lines = path.read_text().splitlines()
    if len(lines) < 4:
        raise UnsupportedInputError(f"KPOINTS: the file ends after line {len(lines)}")
    style = lines[2].strip()[:1].lower()
    # In line mode, what follows an exclamation mark further down is a label.
    plain = len(lines) if style != "l" else 3
    lines[1:plain] = [re.split("[!#]", line)[0].rstrip() for line in lines[1:plain]]
    if lines[1].split()[:1] == ["0"] and style in {"c", "k", "r"}:
        raise UnsupportedInputError(
            "KPOINTS: generalized meshes are not supported, use Gamma or Monkhorst-Pack"
        )
    try:
        return Kpoints.from_str("\n".join(lines))
    except IndexError:
        raise UnsupportedInputError(
            f"KPOINTS: the file ends too early, after line {len(lines)}"
        ) from None


def from_file(kpoints: Kpoints, lattice: np.ndarray) -> KPointSet:
    """Points of a KPOINTS file.

    Parameters
    ----------
    kpoints
        As pymatgen read it.
    lattice
        Rows in angstrom, for the automatic style.

    Raises
    ------
    UnsupportedInputError
        If the style is not supported.
    """
    style = kpoints.style
    modes = KpointsSupportedModes
    if style in {modes.Gamma, modes.Monkhorst}:
        divisions = tuple(int(n) for n in kpoints.kpts[0])
        if min(divisions) < 1:
            raise UnsupportedInputError(f"KPOINTS: divisions {divisions} must be positive")
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
        if kpoints.coord_type and kpoints.coord_type.lower()[0] in "ck":
            raise UnsupportedInputError(
                "KPOINTS: line mode is supported in reciprocal coordinates only"
            )
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
    raise UnsupportedInputError(
        f"KPOINTS: style {style.name} is not supported, use a mesh, a list or lines"
    )
