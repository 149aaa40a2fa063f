"""LCAO initial guess of the orbitals, and the PAW projectors that they are given.

GPAW's own guess takes matrix elements on the real-space grid, one orbital and periodic image at a
time, and transforms the result back, which costs as much as one or two electronic steps. Here an
atomic orbital is a radial transform, a spherical harmonic and the phase of its ion, all in plane
waves. The Hamiltonian between atomic orbitals then costs one application to that many bands, and is
that of the run itself. The projectors of a k-point are made once, and compute their contribution to
the stress in one pass over the plane waves.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from gpaw.core.pwacf import PWAtomCenteredFunctions
from gpaw.ffbt import rescaled_fourier_bessel_transform
from gpaw.new.pwfd.ibzwfs import PWFDIBZWaveFunctions
from gpaw.new.pwfd.wave_functions import PWFDWaveFunctions
from gpaw.sphere.spherical_harmonics import nablarlYL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpaw.core.plane_waves import PWArray
    from gpaw.core.pwacf import PWLFC
    from gpaw.new.hamiltonian import Hamiltonian
    from gpaw.new.potential import Potential
    from gpaw.new.pw.builder import PWDFTComponentsBuilder

#: Eigenvalue, in hartree, of random bands beyond the span of the atomic orbitals: above all others.
EIGENVALUE_OF_RANDOM_BANDS = 100.0

#: Step of the numerical derivative of a projector by |K|, in 1/bohr.
DERIVATIVE_STEP = 1e-4


def lcao_guess(
    builder: PWDFTComponentsBuilder, hamiltonian: Hamiltonian, potential: Potential
) -> PWFDIBZWaveFunctions:
    """Diagonalize the Hamiltonian of a potential between atomic orbitals.

    Bands beyond the number of atomic orbitals are random.

    Parameters
    ----------
    builder
        The calculation.
    hamiltonian
        Hamiltonian in plane waves.
    potential
        Potential to diagonalize in.

    Returns
    -------
    PWFDIBZWaveFunctions
        Orbitals of all irreducible k-points, ordered by eigenvalue.

    Raises
    ------
    ValueError
        If the grid does not hold the plane waves.
    """
    communicators = builder.communicators

    def create(spin: int, q: int, k: int, kpt_c: np.ndarray, weight: float) -> PWFDWaveFunctions:
        atomic = PWFDWaveFunctions(
            atomic_orbitals(builder, kpt_c),
            spin=spin,
            q=q,
            k=k,
            weight=weight,
            setups=builder.setups,
            relpos_ac=builder.relpos_ac,
            atomdist=builder.atomdist,
            domain_band_comm=communicators["K"],
            ncomponents=builder.ncomponents,
        )
        projectors = Projectors(
            [setup.pt_j for setup in builder.setups],
            builder.relpos_ac,
            atomic.psit_nX.desc,
            atomdist=builder.atomdist,
            save_memory=False,
        )
        atomic._pt_aiX = projectors  # GPAW would make its own for each set of orbitals
        atomic.subspace_diagonalize(
            partial(hamiltonian.apply, potential.vt_sR, potential.dedtaut_sR, None, None),
            potential.deltaH,
            atomic.psit_nX.new(),
        )
        lowest = _lowest_bands(atomic, builder)
        lowest._pt_aiX = projectors
        return lowest

    orbitals: PWFDIBZWaveFunctions = PWFDIBZWaveFunctions.create(
        ibz=builder.ibz,
        ncomponents=builder.ncomponents,
        create_wfs_func=create,
        kpt_comm=communicators["k"],
        kpt_band_comm=communicators["D"],
        comm=communicators["w"],
    )
    return orbitals


def atomic_orbitals(builder: PWDFTComponentsBuilder, kpoint: np.ndarray) -> PWArray:
    """Expand the Bloch sums of all atomic orbitals in plane waves.

    Parameters
    ----------
    builder
        The calculation.
    kpoint
        Fractional coordinates of the k-point, shape (3,).

    Returns
    -------
    PWArray
        One row per atomic orbital.

    Raises
    ------
    ValueError
        If the grid does not hold the plane waves.
    """
    waves = builder.wf_desc.new(kpt=kpoint)
    # Raises here, not in the midst of the first step, if GPAW's grid is too small.
    nx, ny, nz = builder.grid.size
    waves.indices((nx, ny, nz // 2 + 1 if waves.dtype == float else nz))
    functions = PWAtomCenteredFunctions(
        [setup.basis_functions_J for setup in builder.setups],
        builder.relpos_ac,
        waves,
        atomdist=builder.atomdist,
    )
    orbitals: PWArray = waves.zeros(builder.setups.nao, builder.communicators["b"])
    unit_coefficients = functions.empty(orbitals.dims, orbitals.comm)
    unit_coefficients.matrix.data[:] = np.eye(builder.setups.nao)
    functions.add_to(orbitals, unit_coefficients)
    return orbitals


def _lowest_bands(atomic: PWFDWaveFunctions, builder: PWDFTComponentsBuilder) -> PWFDWaveFunctions:
    """As many bands as the run has, random ones beyond the atomic orbitals."""
    n_known = min(atomic.nbands, builder.nbands)
    orbitals = atomic.psit_nX.desc.empty(builder.nbands, builder.communicators["b"])
    orbitals.data[:n_known] = atomic.psit_nX.data[:n_known]
    if n_known < builder.nbands:
        orbitals[n_known:].randomize(seed=builder.communicators["w"].rank)
    lowest = PWFDWaveFunctions.from_wfs(atomic, orbitals)
    lowest.eig_n = np.full(builder.nbands, EIGENVALUE_OF_RANDOM_BANDS)
    lowest.eig_n[:n_known] = atomic.eig_n[:n_known]
    return lowest


class Projectors(PWAtomCenteredFunctions):
    """Projectors whose stress contribution sums over bands first and over strain components last.

    GPAW's own method strains every projector nine times, overlaps each with every band, and
    evaluates its splines for one plane wave at a time.
    """

    def stress_contribution(
        self, a: PWArray, c: Mapping[int, np.ndarray] | float = 1.0
    ) -> np.ndarray:
        """Differentiate ``sum_an c_an <p_a|psi_n>`` by the strain.

        A strain changes the wave vectors ``K`` of ``f(K) S_lm(K) exp(-i K R)``, where ``S_lm`` is a
        solid harmonic and ``K R`` a constant; the derivative by ``K_w`` times ``K_v`` is
        ``K_v (K_w f'(K) / |K| S_lm + f dS_lm/dK_w)``.

        Parameters
        ----------
        a
            Orbitals.
        c
            Their coefficients with the projectors of each ion, shape (bands, projectors).

        Returns
        -------
        numpy.ndarray
            In hartree, shape (3, 3).
        """
        if isinstance(c, float):
            return np.asarray(super().stress_contribution(a, c))  # type: ignore[no-untyped-call]
        self._lazy_init()  # type: ignore[no-untyped-call]
        projectors: PWLFC = self._lfc  # type: ignore[assignment]
        waves = projectors.G_plus_k_Gv
        positions = np.asarray(projectors.pos_av)
        lengths = np.linalg.norm(waves, axis=1)
        harmonics = projectors.Y_GL.T
        gradients = np.array([nablarlYL(lm, waves.T) for lm in range(len(harmonics))])
        radial = {
            spline: _value_and_slope(spline, lengths)
            for spline in {spline for splines in self.functions for spline in splines}
        }
        along = np.zeros(len(waves))
        across = np.zeros((3, len(waves)))
        for ion, splines in enumerate(self.functions):
            # exp(i G R); the phase exp(i k R) that GPAW keeps apart cancels.
            phase = np.exp(1j * waves @ positions[ion])
            summed = (c[ion].T @ a.data) * phase
            first = 0
            for spline in splines:
                value, slope = radial[spline]
                m = slice(spline.l**2, (spline.l + 1) ** 2)
                part = (1j**spline.l * summed[first : first + 2 * spline.l + 1]).real
                along += slope * (harmonics[m] * part).sum(axis=0)
                across += value * (gradients[m] * part[:, None]).sum(axis=0)
                first += 2 * spline.l + 1
        # Real orbitals hold half of the plane waves; the one at K = 0 is not strained.
        halves = 2 if projectors.real else 1
        return np.asarray(-halves * waves.T @ (along[:, None] * waves + across.T))


def _value_and_slope(spline: object, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Radial transform f of a projector over ``|K|^l``, and ``f' / |K|``."""
    transform = rescaled_fourier_bessel_transform(spline)
    # f is even in K: below zero lies its mirror image.
    step = DERIVATIVE_STEP
    after, before = transform.map(lengths + step), transform.map(np.abs(lengths - step))
    slope = (after - before) / (2 * step * np.maximum(lengths, step))
    return transform.map(lengths), slope
