"""The orbitals that a run begins with: atomic orbitals, diagonalised in the first potential.

GPAW finds them, too, but writes each on the grid, atom by atom and k-point by k-point, to transform
it back to plane waves, which takes as long as an electronic step. An atomic orbital is known in
plane waves as it is: the transform of its radial part, a harmonic and the phase of its ion.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from gpaw.core.pwacf import PWAtomCenteredFunctions
from gpaw.new.lcao.builder import create_lcao_ibzwfs
from gpaw.new.lcao.eigensolver import LCAOEigensolver
from gpaw.new.lcao.hamiltonian import LCAOHamiltonian
from gpaw.new.pwfd.ibzwfs import PWFDIBZWaveFunctions
from gpaw.new.pwfd.wave_functions import PWFDWaveFunctions

if TYPE_CHECKING:
    from gpaw.core.plane_waves import PWArray
    from gpaw.new.lcao.ibzwfs import LCAOIBZWaveFunctions
    from gpaw.new.lcao.wave_functions import LCAOWaveFunctions
    from gpaw.new.potential import Potential
    from gpaw.new.pw.builder import PWDFTComponentsBuilder

#: Eigenvalue of bands that the atomic orbitals do not span, hartree: above all others.
UNKNOWN = 100.0


def first_orbitals(
    builder: PWDFTComponentsBuilder, basis: Any, potential: Potential
) -> PWFDIBZWaveFunctions:
    """Diagonalise the Hamiltonian of a potential between atomic orbitals.

    Bands beyond their number are random.

    Parameters
    ----------
    builder
        The calculation.
    basis
        Its atomic orbitals.
    potential
        The potential.
    """
    atomic, _ = create_lcao_ibzwfs(
        basis,
        builder.ibz,
        builder.communicators,
        builder.setups,
        builder.relpos_ac,
        builder.grid,
        builder.dtype,
        min(builder.nbands, basis.Mmax),
        builder.ncomponents,
        builder.atomdist,
        builder.nelectrons,
    )
    LCAOEigensolver(basis).iterate(atomic, None, potential, LCAOHamiltonian(basis))
    return _in_plane_waves(builder, atomic)


def _in_plane_waves(
    builder: PWDFTComponentsBuilder, atomic: LCAOIBZWaveFunctions
) -> PWFDIBZWaveFunctions:
    """Turn combinations of atomic orbitals into plane waves, k-point by k-point."""

    def create(spin: int, q: int, k: int, kpt_c: np.ndarray, weight: float) -> PWFDWaveFunctions:
        combined = atomic._get_wfs(k, spin)
        orbitals = PWFDWaveFunctions(
            psit_nX=expand(combined, builder, kpt_c),
            spin=spin,
            q=q,
            k=k,
            weight=weight,
            setups=builder.setups,
            relpos_ac=builder.relpos_ac,
            atomdist=builder.atomdist,
            domain_band_comm=builder.communicators["K"],
            ncomponents=builder.ncomponents,
        )
        orbitals.eig_n = np.full(builder.nbands, UNKNOWN)
        orbitals.eig_n[: atomic.nbands] = combined.eig_n[: builder.nbands]
        return orbitals

    communicators = builder.communicators
    return PWFDIBZWaveFunctions.create(
        ibz=builder.ibz,
        ncomponents=builder.ncomponents,
        create_wfs_func=create,
        kpt_comm=communicators["k"],
        kpt_band_comm=communicators["D"],
        comm=communicators["w"],
    )


def expand(
    combined: LCAOWaveFunctions, builder: PWDFTComponentsBuilder, kpoint: np.ndarray
) -> PWArray:
    """Orbitals of one k-point in plane waves; bands that are not combined are random.

    Parameters
    ----------
    combined
        Coefficients of atomic orbitals.
    builder
        The calculation.
    kpoint
        In units of the reciprocal lattice vectors.

    Raises
    ------
    ValueError
        The grid does not hold the plane waves.
    """
    waves = builder.wf_desc.new(kpt=kpoint)
    # GPAW says so here, and not in the midst of the first step, if its grid is too small for them.
    nx, ny, nz = builder.grid.size
    waves.indices((nx, ny, nz // 2 + 1 if waves.dtype == float else nz))
    orbitals = waves.empty(builder.nbands, builder.communicators["b"])
    known = combined.C_nM.shape[0]
    functions = PWAtomCenteredFunctions(
        [setup.basis_functions_J for setup in builder.setups],
        builder.relpos_ac,
        waves,
        atomdist=builder.atomdist,
    )
    coefficients = combined.C_nM.copy()
    if waves.dtype == complex:
        # Plane waves hold exp(ikr) about each ion, atomic orbitals have the phase of their cell.
        phases = np.exp(-2j * np.pi * builder.relpos_ac @ kpoint)
        coefficients.data *= np.repeat(phases, [setup.nao for setup in builder.setups])
    functions.multiply(coefficients, orbitals[:known])
    if known < builder.nbands:
        orbitals[known:].randomize(seed=builder.communicators["w"].rank)
    return orbitals
