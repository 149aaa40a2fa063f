r"""Pulay mixing that begins with Kerker's guess for every wave, as VASP's default does.

VASP (IMIX = 4) mixes the waves of a mesh that just holds the sphere of the orbitals' cut-off by
Pulay's method; where that knows nothing yet, the charge density takes the share

.. math:: K(G) = \mathrm{AMIX} \, \max\Big(\frac{G^2}{G^2 + \mathrm{BMIX}^2}, \mathrm{AMIN}\Big)

of what the output differs by (VASP wiki, IMIX and AMIN; Kerker, Phys. Rev. B 23, 3082): long waves,
which would slosh, take little, short ones nearly AMIX. Residuals are compared under the metric of
Kresse and Furthmueller (Phys. Rev. B 54, 11169; VASP wiki, MIXPRE = 1)

.. math:: f(G) \propto 1 + q_1^2 / G^2,

where the shortest wave of the mesh counts once and the longest 20 times; occupancies count once, as
they stand in a CHGCAR. The waves beyond the mesh take a fixed share of their own difference,
whatever AMIX (both read off OUTCARs, docs/decisions.md). What GPAW offers has one factor for all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.units import Bohr
from gpaw.core.atom_arrays import AtomArrays
from gpaw.dft import Mixer
from gpaw.mixer.base import BaseMixer
from gpaw.mixer.metric import BaseMetric
from scipy import fft

from mlcharge_flows.density.augmentation import from_matrix
from mlcharge_flows.density.fourier import half_frequencies
from mlcharge_flows.gpaw_vasp.plane_waves import HBAR2_OVER_2M

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpaw.core import UGDesc
    from gpaw.new.density import Density

REMEMBERED = 16
"""Steps whose residuals are combined."""
BEYOND = 0.8
"""Share of the difference that waves beyond the mesh take."""
STEEPNESS = 20.0
"""Weight of the longest wave of the mesh; the shortest has one."""


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


def metric_weights(lengths: np.ndarray) -> np.ndarray:
    """Weight of each wave of the mesh when residuals are compared.

    Parameters
    ----------
    lengths
        Of the waves of the mesh, 1/angstrom, any shape. The wave of length zero, which no residual
        has, weighs nothing.

    Examples
    --------
    >>> metric_weights(np.array([0.0, 1.0, 3.0, 10.0])).round(2)
    array([ 0.  , 20.  ,  2.94,  1.  ])
    """
    inverse = np.divide(1.0, lengths**2, out=np.zeros_like(lengths), where=lengths > 0)
    most, least = inverse.max(), inverse[inverse > 0].min()
    # A mesh that is too small for this steepness is weighed as steeply as it can be: by 1/G^2.
    flat = max(most - STEEPNESS * least, 0.0) / (STEEPNESS - 1)
    return np.where(lengths > 0, flat + inverse, 0.0) / (flat + least)


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
    vector
        Residual and on-site occupancies as one vector, whose length is VASP's rms(c):
        (electrons^2 / angstrom^3)^(1/2).
    weighted
        The vector under the metric.
    """

    smooth: np.ndarray
    matrices: np.ndarray
    residual: np.ndarray
    on_site: np.ndarray
    vector: np.ndarray
    weighted: np.ndarray


class KerkerMixer(BaseMixer):
    """Pulay's method on the waves of the mesh and on the density matrices.

    The charge is that of a CHGCAR, compensation charges included; the density matrices, which have
    no waves, take AMIX. Beyond the mesh the smooth density is mixed alone, for it is what exchange
    and correlation see of these waves.

    Parameters
    ----------
    share
        AMIX, BMIX and AMIN.
    encut
        Cut-off of the orbitals, eV.
    """

    def __init__(self, share: tuple[float, float, float], encut: float, **kwargs: Any) -> None:
        grid = kwargs["desc"]
        super().__init__(BaseMetric(None, kwargs["ncomponents"], grid), **kwargs)
        lengths = wave_lengths(grid)
        self.amix = share[0]
        self.mesh = mixing_mesh(grid, encut)
        self.shares = kerker_share(lengths, *share)
        self.weights = metric_weights(np.where(self.mesh, lengths, 0.0))

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
        given, matrices = self.given
        on_site = D_asii.data - matrices
        smooth_residual = nt_sX.data - given
        residual = self.add_compensation_charge(nt_sX.new(data=smooth_residual), on_site, density)
        step = Step(given, matrices, residual.data, on_site, *self._vectors(residual.data, on_site))
        self.steps = [*self.steps[1 - REMEMBERED :], step]

        weights = pulay_weights([s.vector for s in self.steps], [s.weighted for s in self.steps])
        self.world.broadcast(weights, 0)
        smooth, matrices, left, on_site = (
            np.tensordot(weights, [getattr(step, part) for step in self.steps], 1)
            for part in ("smooth", "matrices", "residual", "on_site")
        )
        moved = self.amix * on_site
        nothing = nt_sX.new(data=np.zeros_like(nt_sX.data))
        charges = self.add_compensation_charge(nothing, moved, density)
        within = smooth + self._filter(left, self.shares) - charges.data
        beyond = given + BEYOND * smooth_residual
        nt_sX.data[:] = beyond + self._filter(within - beyond, self.mesh)
        D_asii.data[:] = matrices + moved
        self.given = nt_sX.data.copy(), D_asii.data.copy()
        return float(np.linalg.norm(step.vector))

    def _vectors(self, residual: np.ndarray, on_site: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Difference of density and density matrices as a vector, and the same under the metric."""
        matrices = AtomArrays(layout=self.atom_layout, dims=self.ncomponents, data=on_site)
        records = [
            from_matrix(matrices[ion][0], tuple(setup.l_j)) for ion, setup in enumerate(self.setups)
        ]
        scale = np.sqrt(self.desc.volume / residual.size / Bohr**3)
        spectrum = fft.rfftn(residual[0])
        plain, weighted = (
            np.concatenate(
                [scale * fft.irfftn(spectrum * factors, s=residual.shape[1:]).ravel(), *records]
            )
            for factors in (self.mesh, self.weights)
        )
        return plain, weighted

    @staticmethod
    def _filter(values: np.ndarray, factors: np.ndarray) -> np.ndarray:
        """Multiply the waves of a density, shape (1, nx, ny, nz), by these factors."""
        return fft.irfftn(fft.rfftn(values[0]) * factors, s=values.shape[1:])[None]


def wave_lengths(grid: UGDesc) -> np.ndarray:
    """Of the half spectrum of a grid, 1/angstrom, shape (nx, ny, nz // 2 + 1)."""
    indices = np.meshgrid(*half_frequencies(grid.size), indexing="ij")
    reciprocal = 2 * np.pi * np.linalg.inv(grid.cell_cv * Bohr).T
    return np.asarray(np.linalg.norm(np.stack(indices, -1) @ reciprocal, axis=-1))


def mixing_mesh(grid: UGDesc, encut: float) -> np.ndarray:
    """Which waves of the half spectrum of a grid VASP's mixer holds, shape (nx, ny, nz // 2 + 1).

    Those whose index along each lattice vector is at most the largest whole number of waves below
    the cut-off along it (a run with 4.91 waves prints a mesh of 9 points, with 7.19 one of 15).

    Parameters
    ----------
    grid
        Real-space grid.
    encut
        Cut-off of the orbitals, eV.
    """
    lengths = np.linalg.norm(grid.cell_cv * Bohr, axis=1)
    most = np.floor(lengths * np.sqrt(encut / HBAR2_OVER_2M) / (2 * np.pi))
    x, y, z = (abs(axis) <= n for axis, n in zip(half_frequencies(grid.size), most, strict=True))
    return np.asarray(x[:, None, None] & y[:, None] & z)


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
    encut
        Cut-off of the orbitals, eV.
    """

    name = "kerker"

    def __init__(self, amix: float, bmix: float, amin: float, encut: float) -> None:
        self.share = amix, bmix, amin
        self.encut = encut

    def todict(self) -> dict[str, Any]:
        """For GPAW's log."""
        return {"name": self.name, **dict(zip(("amix", "bmix", "amin"), self.share, strict=True))}

    def build(self, **kwargs: Any) -> KerkerMixer:
        """Make the mixer of a calculation."""
        return KerkerMixer(self.share, self.encut, **kwargs)
