"""The orbitals that a run begins with: atomic orbitals, diagonalized in the first potential.

GPAW finds them, too, with matrix elements on the grid, orbital by orbital and image by image, and
writes what it finds on the grid, to transform it back. That takes as long as an electronic step or
two. An atomic orbital is known in plane waves as it is: the transform of its radial part, a
harmonic and the phase of its ion. There the Hamiltonian between atomic orbitals costs no more than
one application to so many bands, and is that of the run itself.
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

#: Eigenvalue of bands that the atomic orbitals do not span, hartree: above all others.
UNKNOWN = 100.0


def first_orbitals(
    builder: PWDFTComponentsBuilder, hamiltonian: Hamiltonian, potential: Potential
) -> PWFDIBZWaveFunctions:
    """Diagonalize the Hamiltonian of a potential between atomic orbitals.

    Bands beyond their number are random.

    Parameters
    ----------
    builder
        The calculation.
    hamiltonian
        What applies a potential to plane waves.
    potential
        The potential.

    Raises
    ------
    ValueError
        The grid does not hold the plane waves.
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
        atomic._pt_aiX = projectors  # GPAW would make its own, for either set of orbitals
        atomic.subspace_diagonalize(
            partial(hamiltonian.apply, potential.vt_sR, potential.dedtaut_sR, None, None),
            potential.deltaH,
            atomic.psit_nX.new(),
        )
        lowest = _lowest(atomic, builder)
        lowest._pt_aiX = projectors
        return lowest

    return PWFDIBZWaveFunctions.create(
        ibz=builder.ibz,
        ncomponents=builder.ncomponents,
        create_wfs_func=create,
        kpt_comm=communicators["k"],
        kpt_band_comm=communicators["D"],
        comm=communicators["w"],
    )


def atomic_orbitals(builder: PWDFTComponentsBuilder, kpoint: np.ndarray) -> PWArray:
    """Bloch sums of all atomic orbitals, in plane waves.

    Parameters
    ----------
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
    functions = PWAtomCenteredFunctions(
        [setup.basis_functions_J for setup in builder.setups],
        builder.relpos_ac,
        waves,
        atomdist=builder.atomdist,
    )
    orbitals = waves.zeros(builder.setups.nao, builder.communicators["b"])
    one_each = functions.empty(orbitals.dims, orbitals.comm)
    one_each.matrix.data[:] = np.eye(builder.setups.nao)
    functions.add_to(orbitals, one_each)
    return orbitals


def _lowest(atomic: PWFDWaveFunctions, builder: PWDFTComponentsBuilder) -> PWFDWaveFunctions:
    """As many bands as the run has, random ones where there are too few."""
    known = min(atomic.nbands, builder.nbands)
    orbitals = atomic.psit_nX.desc.empty(builder.nbands, builder.communicators["b"])
    orbitals.data[:known] = atomic.psit_nX.data[:known]
    if known < builder.nbands:
        orbitals[known:].randomize(seed=builder.communicators["w"].rank)
    lowest = PWFDWaveFunctions.from_wfs(atomic, orbitals)
    lowest.eig_n = np.full(builder.nbands, UNKNOWN)
    lowest.eig_n[:known] = atomic.eig_n[:known]
    return lowest
