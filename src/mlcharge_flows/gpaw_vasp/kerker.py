r"""Pulay mixing that begins with Kerker's guess for every wave, as VASP's default does.

VASP (IMIX = 4) mixes by Pulay's method; where that knows nothing yet, the charge density takes the
share

.. math:: K(G) = \mathrm{AMIX} \, \max\Big(\frac{G^2}{G^2 + \mathrm{BMIX}^2}, \mathrm{AMIN}\Big)

of what the output differs by (VASP wiki, IMIX and AMIN; Kerker, Phys. Rev. B 23, 3082): long waves,
which would slosh, take little, short ones nearly AMIX. What GPAW offers has one factor for all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.units import Bohr
from gpaw.dft import Mixer
from gpaw.mixer.base import BaseMixer
from scipy import fft

from mlcharge_flows.density.fourier import half_frequencies

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpaw.core import UGDesc
    from gpaw.core.atom_arrays import AtomArrays
    from gpaw.new.density import Density

REMEMBERED = 16
"""Steps whose residuals are combined."""
METRIC = {"weight": 20.0, "sigma": 0.015, "g_ss": None}
"""GPAW's scalar product of residuals: the longest waves count more, as in VASP's metric."""


def kerker_share(lengths: np.ndarray, amix: float, bmix: float, amin: float) -> np.ndarray:
    """Share of the residual that waves of these lengths take.

    Parameters
    ----------
    lengths
        Of the waves, 1/angstrom, any shape.
    amix, bmix, amin
        AMIX, BMIX (1/angstrom) and AMIN of the INCAR.

    Examples
    --------
    >>> kerker_share(np.array([0.0, 1.0, 3.0]), amix=0.4, bmix=1.0, amin=0.1).round(2)
    array([0.04, 0.2 , 0.36])
    """
    squares = lengths**2
    screened = np.divide(squares, squares + bmix**2, out=np.zeros_like(squares), where=squares > 0)
    return amix * np.maximum(screened, amin)


@dataclass(frozen=True, eq=False)
class Step:
    """An input density, and what its output differs by.

    Parameters
    ----------
    smooth, matrices
        Smooth density and atomic density matrices of the input.
    residual
        Output less input: smooth density plus compensation charges.
    on_site
        Output less input: atomic density matrices.
    weighted
        The residual under the metric.
    """

    smooth: np.ndarray
    matrices: np.ndarray
    residual: np.ndarray
    on_site: np.ndarray
    weighted: np.ndarray


class KerkerMixer(BaseMixer):
    """Pulay's method on charge density and density matrices.

    The charge is that of a CHGCAR, compensation charges included; the density matrices, which have
    no waves, take AMIX.

    Parameters
    ----------
    share
        AMIX, BMIX and AMIN.
    """

    def __init__(self, share: tuple[float, float, float], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.amix = share[0]
        self.shares = kerker_share(_wave_lengths(kwargs["desc"]), *share)

    def _initialize_history_(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all steps."""
        self.steps: list[Step] = []
        self.given: tuple[np.ndarray, np.ndarray] | None = None

    def _mix(self, nt_sX: Any, D_asii: AtomArrays, density: Density) -> float:
        """Turn the output density on GPAW's grid into the next input, in place."""
        if self.given is None:
            self.given = nt_sX.data.copy(), D_asii.data.copy()
            return np.inf
        smooth, matrices = self.given
        on_site = D_asii.data - matrices
        residual = nt_sX.new(data=nt_sX.data - smooth)
        residual = self.add_compensation_charge(residual, on_site, density)
        weighted = self.metric(residual)
        step = Step(smooth, matrices, residual.data, on_site, weighted.data.copy())
        self.steps = [*self.steps[1 - REMEMBERED :], step]

        weights = pulay_weights([s.residual for s in self.steps], [s.weighted for s in self.steps])
        self.world.broadcast(weights, 0)
        smooth, matrices, left, on_site = (
            np.tensordot(weights, [getattr(step, part) for step in self.steps], 1)
            for part in ("smooth", "matrices", "residual", "on_site")
        )
        moved = self.amix * on_site
        nothing = nt_sX.new(data=np.zeros_like(nt_sX.data))
        charges = self.add_compensation_charge(nothing, moved, density)
        taken = fft.irfftn(fft.rfftn(left[0]) * self.shares, s=left.shape[1:])
        nt_sX.data[:] = smooth + taken - charges.data
        D_asii.data[:] = matrices + moved
        self.given = nt_sX.data.copy(), D_asii.data.copy()
        return float(self.calculate_charge_sloshing(residual))


def _wave_lengths(grid: UGDesc) -> np.ndarray:
    """Of the half spectrum of a grid, 1/angstrom, shape (nx, ny, nz // 2 + 1)."""
    indices = np.meshgrid(*half_frequencies(grid.size), indexing="ij")
    reciprocal = 2 * np.pi * np.linalg.inv(grid.cell_cv * Bohr).T
    return np.asarray(np.linalg.norm(np.stack(indices, -1) @ reciprocal, axis=-1))


def pulay_weights(residuals: Sequence[np.ndarray], weighted: Sequence[np.ndarray]) -> np.ndarray:
    """Weights, of sum one, that make the sum of the residuals shortest.

    Pulay, Chem. Phys. Lett. 73, 393, equation 6.

    Parameters
    ----------
    residuals
        Of the steps.
    weighted
        The same under the metric of the scalar product.

    Examples
    --------
    >>> pulay_weights([np.array([3.0])], [np.array([3.0])])
    array([1.])
    >>> steps = [np.array([2.0, 0.0]), np.array([-1.0, 0.0])]
    >>> pulay_weights(steps, steps).round(3)
    array([0.333, 0.667])
    """
    products = np.array([[np.vdot(one, other) for other in weighted] for one in residuals])
    # The constraint's multiplier is the last unknown; a solved problem leaves all weights open.
    bordered = np.ones((len(products) + 1,) * 2)
    bordered[:-1, :-1] = products / (products.max() or 1.0)
    bordered[-1, -1] = 0.0
    solution, *_ = np.linalg.lstsq(bordered, np.eye(len(bordered))[-1], rcond=None)
    return np.asarray(solution[:-1] / solution[:-1].sum())


class Kerker(Mixer):
    """What GPAW builds the mixer from.

    Parameters
    ----------
    amix, bmix, amin
        AMIX, BMIX (1/angstrom) and AMIN of the INCAR.
    """

    name = "kerker"

    def __init__(self, amix: float, bmix: float, amin: float) -> None:
        self.share = amix, bmix, amin

    def todict(self) -> dict[str, Any]:
        """For GPAW's log."""
        return {"name": self.name, **dict(zip(("amix", "bmix", "amin"), self.share, strict=True))}

    def build(self, **kwargs: Any) -> KerkerMixer:
        """Make the mixer of a calculation."""
        return KerkerMixer(self.share, metric=self._build_metric(**METRIC, **kwargs), **kwargs)
