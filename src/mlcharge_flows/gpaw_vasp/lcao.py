"""LCAO initial guess: atomic orbitals, diagonalized in the first potential.

GPAW's own guess takes matrix elements on the real-space grid, one orbital and periodic image at a
time, and transforms the result back, which costs as much as one or two electronic steps. Here an
atomic orbital is a radial transform, a spherical harmonic and the phase of its ion, all in plane
waves. The Hamiltonian between atomic orbitals then costs one application to that many bands, and is
that of the run itself.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from gpaw.core.pwacf import PWAtomCenteredFunctions
from gpaw.new.pwfd.ibzwfs import PWFDIBZWaveFunctions
from gpaw.new.pwfd.wave_functions import PWFDWaveFunctions

from mlcharge_flows.gpaw_vasp.projectors import Projectors

if TYPE_CHECKING:
    from gpaw.core.plane_waves import PWArray
    from gpaw.new.hamiltonian import Hamiltonian
    from gpaw.new.potential import Potential
    from gpaw.new.pw.builder import PWDFTComponentsBuilder

#: Eigenvalue, in hartree, of random bands beyond the span of the atomic orbitals: above all others.
EIGENVALUE_OF_RANDOM_BANDS = 100.0


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
