r"""Pulay mixing with Kerker's preconditioner, as VASP's default (IMIX = 4) does it.

The G vectors of a mesh that just holds the sphere of the orbitals' cutoff are mixed by Pulay's
method. The residual that it leaves is preconditioned by

.. math:: K(G) = \mathrm{AMIX} \, \max\Big(\frac{G^2}{G^2 + \mathrm{BMIX}^2}, \mathrm{AMIN}\Big),

which damps components of small |G|, the ones that slosh, and leaves those of large |G| nearly
AMIX. Residuals are compared under the metric

.. math:: f(G) \propto 1 + q_1^2 / G^2,

in which the largest |G| of the mesh has weight 1 and the smallest one weight 20; on-site
occupancies have weight 1, in the form that a CHGCAR gives them. G vectors beyond the mesh are mixed
linearly, with a fixed fraction that does not depend on AMIX. Mesh and fraction are read off public
OUTCARs (docs/decisions/0006-mixing.md). GPAW's own mixers have one factor for all G vectors.

A magnetization is mixed together with the charge density: its residual is preconditioned by
AMIX_MAG and BMIX_MAG, where G = 0, the total moment, takes the fraction of the shortest other G.
Its metric is 1 everywhere on the mesh.

References
----------
G. P. Kerker, Phys. Rev. B 23, 3082 (1981).
P. Pulay, Chem. Phys. Lett. 73, 393 (1980).
G. Kresse and J. Furthmueller, Phys. Rev. B 54, 11169 (1996), section III.
VASP wiki, IMIX, AMIX, BMIX, AMIN, MIXPRE, AMIX_MAG and BMIX_MAG.
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
from mlcharge_flows.density.grid import half_frequencies
from mlcharge_flows.vasp.plane_waves import HBAR2_OVER_2M

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpaw.core import UGDesc
    from gpaw.new.density import Density

MAX_HISTORY = 16
"""Steps whose residuals are combined."""

FRACTION_BEYOND_MESH = 0.8
"""Fraction of the residual that G vectors beyond the mixing mesh take."""

MAX_METRIC_WEIGHT = 20.0
"""Weight of the smallest |G| of the mesh in the metric; the largest one has weight 1."""


def kerker_preconditioner(lengths: np.ndarray, amix: float, bmix: float, amin: float) -> np.ndarray:
    """Evaluate Kerker's preconditioner: the fraction of the residual that a G vector takes.

    Parameters
    ----------
    lengths
        Lengths of G vectors, any shape, in 1/angstrom.
    amix
        AMIX: fraction at large |G|.
    bmix
        BMIX, in 1/angstrom.
    amin
        AMIN: least fraction, in units of `amix`.

    Returns
    -------
    numpy.ndarray
        Fractions, shape of `lengths`.

    References
    ----------
    G. P. Kerker, Phys. Rev. B 23, 3082 (1981); VASP wiki, IMIX and AMIN.

    Examples
    --------
    >>> kerker_preconditioner(np.array([0.0, 1.0, 3.0]), amix=0.4, bmix=1.0, amin=0.1).round(2)
    array([0.04, 0.2 , 0.36])
    """
    squares = lengths**2
    screened = np.divide(squares, squares + bmix**2, out=np.zeros_like(squares), where=squares > 0)
    return np.asarray(amix * np.maximum(screened, amin))


def metric_weights(lengths: np.ndarray) -> np.ndarray:
    """Weight G vectors in the scalar product of residuals.

    Parameters
    ----------
    lengths
        Lengths of the G vectors of the mesh, any shape, in 1/angstrom. G = 0, of which no residual
        has any, gets weight 0.

    Returns
    -------
    numpy.ndarray
        Weights from 1 to 20, shape of `lengths`.

    References
    ----------
    G. Kresse and J. Furthmueller, Phys. Rev. B 54, 11169 (1996), section III; VASP wiki, MIXPRE.

    Examples
    --------
    >>> metric_weights(np.array([0.0, 1.0, 3.0, 10.0])).round(2)
    array([ 0.  , 20.  ,  2.94,  1.  ])
    """
    inverse = np.divide(1.0, lengths**2, out=np.zeros_like(lengths), where=lengths > 0)
    most, least = inverse.max(), inverse[inverse > 0].min()
    # A mesh too small for this ratio of weights gets the largest possible one, that of 1/G^2.
    flat = max(most - MAX_METRIC_WEIGHT * least, 0.0) / (MAX_METRIC_WEIGHT - 1)
    return np.asarray(np.where(lengths > 0, flat + inverse, 0.0) / (flat + least))


@dataclass(frozen=True)
class Kerker:
    """Parameters of Kerker's preconditioner.

    Parameters
    ----------
    amix
        AMIX, or AMIX_MAG for the magnetization: fraction at large |G|.
    bmix
        BMIX or BMIX_MAG, in 1/angstrom.
    amin
        AMIN: least fraction, in units of `amix`.
    """

    amix: float
    bmix: float
    amin: float


@dataclass(frozen=True, eq=False)
class MixingStep:
    """Input density of one step and its residual (output less input).

    The first component is the charge density; the second one, with spin, the magnetization.

    Parameters
    ----------
    smooth
        Smooth density of the input, shape (components, nx, ny, nz), in electrons/bohr^3.
    matrices
        Atomic density matrices of the input, packed as GPAW packs them.
    residual
        Residual of smooth density plus compensation charges, shape of `smooth`.
    on_site
        Residual of the atomic density matrices.
    vector
        Residual of density and on-site occupancies as one vector, whose length is VASP's rms(c),
        in electrons per angstrom^(3/2); magnetization included.
    weighted
        The vector under the metric.
    """

    smooth: np.ndarray
    matrices: np.ndarray
    residual: np.ndarray
    on_site: np.ndarray
    vector: np.ndarray
    weighted: np.ndarray


class KerkerPulayMixer(BaseMixer):
    """Pulay's method on the G vectors of the mesh and on the density matrices.

    The density is that of a CHGCAR, with compensation charges; the density matrices take AMIX,
    their magnetization AMIX_MAG.
    Beyond the mesh only the smooth density is mixed, since it is what exchange and correlation see
    of these components.

    Parameters
    ----------
    encut
        Cutoff of the orbitals, in eV.
    kerkers
        Parameters of the charge density and, with spin, of the magnetization.
    **kwargs
        What GPAW gives to its mixers.
    """

    def __init__(self, encut: float, kerkers: Sequence[Kerker], **kwargs: Any) -> None:
        grid = kwargs["desc"]
        super().__init__(BaseMetric(None, kwargs["ncomponents"], grid), **kwargs)
        lengths = g_lengths(grid)
        kerkers = kerkers[: self.ncomponents]
        self.amix = [kerker.amix for kerker in kerkers]
        self.mesh = mixing_mesh(grid, encut)
        self.preconditioners = [
            kerker_preconditioner(lengths, kerker.amix, kerker.bmix, kerker.amin)
            for kerker in kerkers
        ]
        for fractions in self.preconditioners[1:]:
            fractions[lengths == 0] = fractions[lengths > 0].min()
        self.weights = [metric_weights(np.where(self.mesh, lengths, 0.0)), self.mesh.astype(float)]

    def _initialize_history_(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all steps."""
        self.steps: list[MixingStep] = []
        self.last_input: tuple[np.ndarray, np.ndarray] | None = None

    def _mix(self, nt_sX: Any, D_asii: AtomArrays, density: Density) -> float:
        """Turn the output density on GPAW's grid into the next input, in place; return rms(c)."""
        if self.last_input is None:
            self.last_input = nt_sX.data.copy(), D_asii.data.copy()
            return np.inf
        last, matrices = self.last_input
        on_site = D_asii.data - matrices
        smooth_residual = nt_sX.data - last
        residual = self.add_compensation_charge(nt_sX.new(data=smooth_residual), on_site, density)
        vectors = self._vectors(residual.data, on_site)
        step = MixingStep(last, matrices, residual.data, on_site, *vectors)
        self.steps = [*self.steps[1 - MAX_HISTORY :], step]

        weights = pulay_weights([s.vector for s in self.steps], [s.weighted for s in self.steps])
        self.world.broadcast(weights, 0)
        smooth, matrices, residual_left, on_site = (
            np.tensordot(weights, [getattr(step, part) for step in self.steps], 1)
            for part in ("smooth", "matrices", "residual", "on_site")
        )
        matrices_of = AtomArrays(layout=self.atom_layout, dims=self.ncomponents, data=on_site)
        for values in matrices_of.values():
            values *= np.array(self.amix)[:, None, None]
        change = on_site
        zero = nt_sX.new(data=np.zeros_like(nt_sX.data))
        charges = self.add_compensation_charge(zero, change, density)
        within = smooth + self._filter(residual_left, self.preconditioners) - charges.data
        beyond = last + FRACTION_BEYOND_MESH * smooth_residual
        nt_sX.data[:] = beyond + self._filter(within - beyond, [self.mesh] * self.ncomponents)
        D_asii.data[:] = matrices + change
        self.last_input = nt_sX.data.copy(), D_asii.data.copy()
        return float(np.linalg.norm(step.vector))

    def _vectors(self, residual: np.ndarray, on_site: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Residual of density and occupancies as one vector, plain and under the metric."""
        matrices = AtomArrays(layout=self.atom_layout, dims=self.ncomponents, data=on_site)
        scale = np.sqrt(self.desc.volume / residual[0].size / Bohr**3)
        plain: list[np.ndarray] = []
        weighted: list[np.ndarray] = []
        for component, values in enumerate(residual):
            occupancies = [
                from_matrix(matrices[ion][component], tuple(setup.l_j))
                for ion, setup in enumerate(self.setups)
            ]
            spectrum = fft.rfftn(values)
            for parts, factors in ((plain, self.mesh), (weighted, self.weights[component])):
                parts += [
                    scale * fft.irfftn(spectrum * factors, s=values.shape).ravel(),
                    *occupancies,
                ]
        return np.concatenate(plain), np.concatenate(weighted)

    @staticmethod
    def _filter(values: np.ndarray, factors: Sequence[np.ndarray]) -> np.ndarray:
        """Multiply the Fourier components of each component of a density by its factors."""
        return np.stack(
            [
                fft.irfftn(fft.rfftn(component) * factor, s=component.shape)
                for component, factor in zip(values, factors, strict=True)
            ]
        )


def g_lengths(grid: UGDesc) -> np.ndarray:
    """Compute the lengths of the G vectors in the half spectrum of a grid.

    Parameters
    ----------
    grid
        Real-space grid.

    Returns
    -------
    numpy.ndarray
        In 1/angstrom, shape (nx, ny, nz // 2 + 1).
    """
    indices = np.meshgrid(*half_frequencies(grid.size), indexing="ij")
    reciprocal = 2 * np.pi * np.linalg.inv(grid.cell_cv * Bohr).T
    return np.asarray(np.linalg.norm(np.stack(indices, -1) @ reciprocal, axis=-1))


def mixing_mesh(grid: UGDesc, encut: float) -> np.ndarray:
    """Find the G vectors of a half spectrum that VASP's mixer holds.

    They are those whose index along each lattice vector is at most the integer part of
    ``|a_i| k_max / 2 pi`` with k_max the cutoff wave number: public OUTCARs print a mesh of 9
    points for 4.91 and one of 15 points for 7.19.

    Parameters
    ----------
    grid
        Real-space grid.
    encut
        Cutoff of the orbitals, in eV.

    Returns
    -------
    numpy.ndarray
        Booleans, shape (nx, ny, nz // 2 + 1).
    """
    lengths = np.linalg.norm(grid.cell_cv * Bohr, axis=1)
    most = np.floor(lengths * np.sqrt(encut / HBAR2_OVER_2M) / (2 * np.pi))
    x, y, z = (abs(axis) <= n for axis, n in zip(half_frequencies(grid.size), most, strict=True))
    return np.asarray(x[:, None, None] & y[:, None] & z)


def pulay_weights(residuals: Sequence[np.ndarray], weighted: Sequence[np.ndarray]) -> np.ndarray:
    """Find the weights, of sum one, that make the sum of the residuals shortest.

    Parameters
    ----------
    residuals
        Residual vector of each step.
    weighted
        The same vectors under the metric of the scalar product.

    Returns
    -------
    numpy.ndarray
        One weight per step.

    References
    ----------
    P. Pulay, Chem. Phys. Lett. 73, 393 (1980), eq. 6.

    Examples
    --------
    >>> pulay_weights([np.array([3.0])], [np.array([3.0])])
    array([1.])
    >>> steps = [np.array([2.0, 0.0]), np.array([-1.0, 0.0])]
    >>> pulay_weights(steps, steps).round(3)
    array([0.333, 0.667])
    """
    products = np.array([[np.vdot(one, other) for other in weighted] for one in residuals])
    # The last unknown is the Lagrange multiplier. At a solution all weights are undetermined.
    bordered = np.ones((len(products) + 1,) * 2)
    bordered[:-1, :-1] = products / (products.max() or 1.0)
    bordered[-1, -1] = 0.0
    solution, *_ = np.linalg.lstsq(bordered, np.eye(len(bordered))[-1], rcond=None)
    return np.asarray(solution[:-1] / solution[:-1].sum())


class KerkerPulay(Mixer):
    """Mixer parameter from which GPAW builds a :class:`KerkerPulayMixer`.

    Parameters
    ----------
    encut
        Cutoff of the orbitals, in eV.
    charge
        Parameters of the charge density.
    magnetization
        Parameters of the magnetization.
    """

    name = "kerker-pulay"

    def __init__(self, encut: float, charge: Kerker, magnetization: Kerker) -> None:
        self.encut = encut
        self.kerkers = (charge, magnetization)

    def todict(self) -> dict[str, Any]:
        """Describe the mixer for GPAW's log.

        Returns
        -------
        dict
            Name and options.
        """
        return {"name": self.name, "encut": self.encut, "kerkers": self.kerkers}

    def build(self, **kwargs: Any) -> KerkerPulayMixer:
        """Make the mixer of a calculation.

        Parameters
        ----------
        **kwargs
            What GPAW gives to its mixers.

        Returns
        -------
        KerkerPulayMixer
            Without history.
        """
        return KerkerPulayMixer(self.encut, self.kerkers, **kwargs)
