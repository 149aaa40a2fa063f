"""The k-points of a run in GPAW's form, with VASP's order and representatives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from gpaw.dft import BZSampling
from gpaw.new.brillouin import IBZ, BZPoints, MonkhorstPackKPoints

from mlcharge_flows.vasp.irreducible_kpoints import wrapped

if TYPE_CHECKING:
    from gpaw.new.symmetry import Symmetries

    from mlcharge_flows.vasp.kpoints import KPointSet


class Sampling(BZSampling):
    """GPAW's k-point parameter for points that are already known.

    Parameters
    ----------
    kpoints
        The points.
    """

    def __init__(self, kpoints: KPointSet) -> None:
        self.kpoints = kpoints

    def todict(self) -> dict[str, object]:
        """List no parameters: GPAW writes them to its own files only."""
        return {}

    def build(self, atoms: object) -> BZPoints:
        """Make the points.

        Parameters
        ----------
        atoms
            Without meaning here.

        Returns
        -------
        BZPoints
            A mesh or a list.
        """
        if self.kpoints.points is not None:
            return _WeightedPoints(self.kpoints.points, self.kpoints.weights)
        return _Mesh(self.kpoints)


class _Mesh(MonkhorstPackKPoints):
    """Mesh whose irreducible points are VASP's.

    The points stay in GPAW's order, the last index fastest, which its tetrahedra rely on. VASP
    takes the first point of a star in the order with the first index fastest.
    """

    def __init__(self, kpoints: KPointSet) -> None:
        assert kpoints.divisions is not None
        size = np.asarray(kpoints.divisions)
        steps = np.indices(kpoints.divisions).reshape(3, -1).T
        BZPoints.__init__(self, wrapped(kpoints.first + steps / size))
        self.size_c, self.shift_c = size, kpoints.first
        self.scan_K = np.lexsort(steps.T)

    def reduce(self, symmetries: Symmetries, **options: Any) -> IBZ:
        """Find the irreducible points.

        Parameters
        ----------
        symmetries
            Rotations of the run.
        **options
            Of GPAW.

        Returns
        -------
        IBZ
            In VASP's order.
        """
        order = self.scan_K[::-1]  # GPAW keeps the last point of a star
        ibz = BZPoints(self.kpt_Kc[order]).reduce(symmetries, **options)
        back = np.argsort(order)
        bz2bz = np.append(order, -1)[ibz.bz2bz_Ks]  # -1: no point of the mesh
        return IBZ(
            symmetries,
            self,
            ibz2bz=order[ibz.ibz2bz_k][::-1],
            bz2ibz=len(ibz) - 1 - ibz.bz2ibz_K[back],
            weights=ibz.weight_k[::-1],
            bz2bz_Ks=bz2bz[back],
            s_K=ibz.s_K[back],
            time_reversal_K=ibz.time_reversal_K[back],
        )


class _WeightedPoints(BZPoints):
    """List of points whose order and weights the user gives.

    Parameters
    ----------
    points
        Fractional coordinates, shape (k, 3).
    weights
        Shape (k,); None for equal ones.
    """

    def __init__(self, points: np.ndarray, weights: np.ndarray | None) -> None:
        super().__init__(points)
        self.weights = np.ones(len(points)) if weights is None else np.asarray(weights, float)

    def reduce(self, symmetries: Symmetries, **_: object) -> IBZ:
        """Keep every point; GPAW would merge equivalent ones and lose their order.

        Parameters
        ----------
        symmetries
            Rotations of the run.
        **_
            Options of GPAW, without meaning here.

        Returns
        -------
        IBZ
            The points in their order.
        """
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
