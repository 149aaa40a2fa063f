"""Initial orbitals: random as in VASP, or given functions diagonalized in the first potential.

References
----------
VASP wiki, INIWAV and ISTART.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from ase.units import Ha
from gpaw.new.pwfd.ibzwfs import PWFDIBZWaveFunctions
from gpaw.new.pwfd.wave_functions import PWFDWaveFunctions

from mlcharge_flows.gpaw_vasp.projectors import Projectors

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpaw.core.plane_waves import PWArray
    from gpaw.new.hamiltonian import Hamiltonian
    from gpaw.new.potential import Potential
    from gpaw.new.pw.builder import PWDFTComponentsBuilder

    InitialOrbitals = Callable[
        [PWDFTComponentsBuilder, Hamiltonian, Potential], PWFDIBZWaveFunctions
    ]

#: Eigenvalue, in hartree, of random bands beyond those that are known: above all others.
EIGENVALUE_OF_RANDOM_BANDS = 100.0

#: Kinetic energy, in eV, above which random coefficients fall off: the energies of the first steps
#: are then those of VASP's random orbitals (benchmarks/gpaw_vasp_orbitals.py).
DAMPING_ENERGY = 60.0


def random_orbitals(
    builder: PWDFTComponentsBuilder, hamiltonian: Hamiltonian, potential: Potential
) -> PWFDIBZWaveFunctions:
    """Make orbitals of random plane-wave coefficients (INIWAV = 1).

    Parameters
    ----------
    builder
        The calculation.
    hamiltonian
        Hamiltonian in plane waves.
    potential
        Potential in which they are diagonalized.

    Returns
    -------
    PWFDIBZWaveFunctions
        Orbitals of all irreducible k-points, ordered by eigenvalue, the same in every run.
    """

    def create(kpoint: np.ndarray, _k: int, _spin: int) -> PWArray:
        waves = builder.wf_desc.new(kpt=kpoint)
        orbitals: PWArray = waves.empty(builder.nbands, builder.communicators["b"])
        randomize(orbitals)
        return orbitals

    return diagonalized_orbitals(builder, hamiltonian, potential, create)


def randomize(orbitals: PWArray) -> None:
    """Set orbitals to random coefficients that fall off with kinetic energy.

    They are the same in every run, and at k-points that a path passes twice.

    Parameters
    ----------
    orbitals
        Changed in place.
    """
    generator = np.random.default_rng(0)
    shape = orbitals.data.shape
    real, imaginary = generator.uniform(-0.5, 0.5, (2, *shape))
    kinetic = np.asarray(orbitals.desc.ekin_G) * Ha / DAMPING_ENERGY
    orbitals.data[:] = (real + 1j * imaginary) / (1 + kinetic**2)
    if orbitals.desc.dtype == float:
        orbitals.data[..., 0].imag = 0.0


def diagonalized_orbitals(
    builder: PWDFTComponentsBuilder,
    hamiltonian: Hamiltonian,
    potential: Potential,
    create: Callable[[np.ndarray, int, int], PWArray],
) -> PWFDIBZWaveFunctions:
    """Diagonalize the Hamiltonian of a potential between given functions at each k-point.

    Bands beyond their number are random.

    Parameters
    ----------
    builder
        The calculation.
    hamiltonian
        Hamiltonian in plane waves.
    potential
        Potential to diagonalize in.
    create
        Makes the functions of one k-point and spin from its coordinates, its index and that of the
        spin; fewer or more than bands.

    Returns
    -------
    PWFDIBZWaveFunctions
        Orbitals of all irreducible k-points, ordered by eigenvalue.

    Raises
    ------
    ValueError
        If the grid does not hold the plane waves.
    """

    def lowest(wave: PWFDWaveFunctions) -> PWFDWaveFunctions:
        diagonalize(wave, hamiltonian, potential)
        return wave if wave.nbands == builder.nbands else _lowest_bands(wave, builder)

    return make_orbitals(builder, create, lowest)


def diagonalize(wave: PWFDWaveFunctions, hamiltonian: Hamiltonian, potential: Potential) -> None:
    """Diagonalize the Hamiltonian of a potential between the orbitals of one k-point.

    Parameters
    ----------
    wave
        Changed in place.
    hamiltonian
        Hamiltonian in plane waves.
    potential
        Potential to diagonalize in.
    """
    wave.subspace_diagonalize(
        partial(hamiltonian.apply, potential.vt_sR, potential.dedtaut_sR, None, None),
        potential.deltaH,
        wave.psit_nX.new(),
    )


def make_orbitals(
    builder: PWDFTComponentsBuilder,
    create: Callable[[np.ndarray, int, int], PWArray],
    finish: Callable[[PWFDWaveFunctions], PWFDWaveFunctions] | None = None,
) -> PWFDIBZWaveFunctions:
    """Make GPAW's orbitals of all irreducible k-points, with projectors that are made once.

    Parameters
    ----------
    builder
        The calculation.
    create
        Makes the functions of one k-point and spin from its coordinates, its index and that of the
        spin.
    finish
        Applied to the orbitals of each k-point.

    Returns
    -------
    PWFDIBZWaveFunctions
        Orbitals.

    Raises
    ------
    ValueError
        If the grid does not hold the plane waves.
    """
    communicators = builder.communicators
    shared: dict[int, Projectors] = {}  # by both spins of a k-point

    def make(spin: int, q: int, k: int, kpt_c: np.ndarray, weight: float) -> PWFDWaveFunctions:
        functions = create(kpt_c, k, spin)
        # Raises here, not in the midst of the first step, if GPAW's grid is too small.
        nx, ny, nz = builder.grid.size
        desc = functions.desc
        desc.indices((nx, ny, nz // 2 + 1 if desc.dtype == float else nz))
        wave = PWFDWaveFunctions(
            functions,
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
        # GPAW would make its own for each set of orbitals.
        if k not in shared:
            shared[k] = Projectors(
                [setup.pt_j for setup in builder.setups],
                builder.relpos_ac,
                desc,
                atomdist=builder.atomdist,
                save_memory=False,
            )
        wave._pt_aiX = shared[k]
        return wave if finish is None else finish(wave)

    orbitals: PWFDIBZWaveFunctions = PWFDIBZWaveFunctions.create(
        ibz=builder.ibz,
        ncomponents=builder.ncomponents,
        create_wfs_func=make,
        kpt_comm=communicators["k"],
        kpt_band_comm=communicators["D"],
        comm=communicators["w"],
    )
    return orbitals


def _lowest_bands(wave: PWFDWaveFunctions, builder: PWDFTComponentsBuilder) -> PWFDWaveFunctions:
    """As many bands as the run has, random ones beyond those that are known."""
    n_known = min(wave.nbands, builder.nbands)
    orbitals = wave.psit_nX.desc.empty(builder.nbands, builder.communicators["b"])
    orbitals.data[:n_known] = wave.psit_nX.data[:n_known]
    if n_known < builder.nbands:
        randomize(orbitals[n_known:])
    lowest = PWFDWaveFunctions.from_wfs(wave, orbitals)
    lowest._pt_aiX = wave._pt_aiX
    lowest.eig_n = np.full(builder.nbands, EIGENVALUE_OF_RANDOM_BANDS)
    lowest.eig_n[:n_known] = wave.eig_n[:n_known]
    return lowest
