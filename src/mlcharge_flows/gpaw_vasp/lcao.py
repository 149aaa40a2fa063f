"""LCAO initial guess of the orbitals: faster than VASP's random ones, and not VASP's.

GPAW's own guess takes matrix elements on the real-space grid, one orbital and periodic image at a
time, and transforms the result back, which costs as much as one or two electronic steps. Here an
atomic orbital is a radial transform, a spherical harmonic and the phase of its ion, all in plane
waves. The Hamiltonian between atomic orbitals then costs one application to that many bands, and is
that of the run itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from gpaw.core.pwacf import PWAtomCenteredFunctions

from mlcharge_flows.gpaw_vasp.initial_orbitals import diagonalized_orbitals

if TYPE_CHECKING:
    from gpaw.core.plane_waves import PWArray
    from gpaw.new.hamiltonian import Hamiltonian
    from gpaw.new.potential import Potential
    from gpaw.new.pw.builder import PWDFTComponentsBuilder
    from gpaw.new.pwfd.ibzwfs import PWFDIBZWaveFunctions


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

    def create(kpoint: np.ndarray, _k: int, _spin: int) -> PWArray:
        return atomic_orbitals(builder, kpoint)

    return diagonalized_orbitals(builder, hamiltonian, potential, create)


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
