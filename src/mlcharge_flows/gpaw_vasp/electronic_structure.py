"""Electronic structure of a finished run: eigenvalues, density of states, projections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase.dft.dos import lti_dos1
from ase.units import Ha
from scipy.spatial import Delaunay
from scipy.special import erf, erfc

from mlcharge_flows.gpaw_vasp.errors import UnsupportedInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlcharge_flows.gpaw_vasp.kohn_sham import KohnSham

#: Least width of the broadening, in steps of the energy mesh: a coarse mesh must miss no level.
MIN_BROADENING = 1.0

#: Projections go up to d, s, py, pz, px, dxy, dyz, dz2, dxz, dx2-y2, or to f where an ion has f
#: projectors.
N_ORBITALS = 9
N_ORBITALS_WITH_F = 16


#: Occupation of the highest band from which on VASP warns of too few bands.
OCCUPIED = 1e-2


@dataclass(frozen=True, eq=False)
class ElectronicStructure:
    """Eigenstates of the final potential and their densities.

    Parameters
    ----------
    eigenvalues
        Shape (spins, k, bands), in eV.
    occupations
        Shape (spins, k, bands), between 0 and 1.
    fermi_level
        In eV; the mean of both spins' with NUPDOWN.
    energies
        Mesh of the density of states, shape (NEDOS,), in eV.
    dos
        Density of states of each spin, or of both with ISPIN = 1, shape (spins, NEDOS), in states
        per eV.
    integrated
        States below each energy, shape (spins, NEDOS).
    projections
        Weight of each state on the orbitals of each ion, shape (spins, k, bands, ions, 9 or
        16), or None.
    projected
        Density of states of each orbital, shape (spins, ions, 9 or 16, NEDOS), in states per eV, or
        None.
    site_moments
        Moment of each ion and l, shape (ions, l), in Bohr magnetons, or None.
    """

    eigenvalues: np.ndarray
    occupations: np.ndarray
    fermi_level: float
    energies: np.ndarray
    dos: np.ndarray
    integrated: np.ndarray
    projections: np.ndarray | None
    projected: np.ndarray | None
    site_moments: np.ndarray | None = None


def electronic_structure(solver: KohnSham) -> ElectronicStructure:
    """Collect eigenvalues, occupations, density of states, and projections if LORBIT asks for them.

    Parameters
    ----------
    solver
        Finished run.

    Returns
    -------
    ElectronicStructure
        On the mesh that NEDOS, EMIN and EMAX ask for; by default from 1 eV below the lowest
        eigenvalue to 1 eV above the highest one. With ISPIN = 2 there are two spins, the same ones
        where only one was computed.
    """
    settings = solver.inputs.settings
    orbitals = solver.orbitals
    eigenvalues, occupations = orbitals.get_all_eigs_and_occs(broadcast=True)
    eigenvalues = eigenvalues * Ha
    lowest, highest = eigenvalues.min() - 1.0, eigenvalues.max() + 1.0
    energies = np.linspace(
        lowest if settings.emin is None else settings.emin,
        highest if settings.emax is None else settings.emax,
        settings.nedos,
    )
    projections = project(solver) if settings.lorbit >= 10 else None
    weights = solver.builder.ibz.weight_k
    ones = np.ones((*eigenvalues.shape[1:], 1))
    share = 2 / settings.ispin  # states of a band at a k-point
    total, integrated, projected = [], [], []
    for spin, energies_of_spin in enumerate(eigenvalues):
        characters = ones
        if projections is not None:
            flat = projections[spin].reshape(*energies_of_spin.shape, -1)
            characters = np.concatenate([ones, flat], axis=-1)
        curves, integrals = density_of_states(
            solver, energies_of_spin, weights, characters, energies
        )
        total.append(share * curves[0])
        integrated.append(share * integrals[0])
        if projections is not None:
            shape = len(solver.inputs.crystal), projections.shape[-1], -1
            projected.append(share * curves[1:].reshape(shape))

    def of_spins(values: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        # Both spins are shown where only one was computed.
        return np.repeat(values, settings.ispin // solver.n_spins, axis=0)

    moments = settings.ispin == 2 and projections is not None
    return ElectronicStructure(
        of_spins(eigenvalues),
        of_spins(occupations),
        solver.fermi_level,
        energies,
        of_spins(total),
        of_spins(integrated),
        None if projections is None else of_spins(projections),
        of_spins(projected) if projected else None,
        site_moments(solver) if moments else None,
    )


def site_moments(solver: KohnSham) -> np.ndarray:
    """Integrate the spin density of each l within the augmentation sphere of each ion.

    The density is that of the partial waves, weighted by the atomic density matrices: GPAW's
    counterpart of LORBIT = 11. The sphere of two partial waves is the smaller of their cutoff radii
    (RCUT in the POTCAR).

    Parameters
    ----------
    solver
        Finished run.

    Returns
    -------
    numpy.ndarray
        In Bohr magnetons, shape (ions, l), l up to 2, or 3 where an ion has f projectors; zeros
        where only one spin was computed.

    References
    ----------
    VASP wiki, LORBIT; P. E. Bloechl, Phys. Rev. B 50, 17953 (1994), section IV.
    """
    setups = solver.builder.setups
    n_l = max(3, 1 + max(max(setup.l_j) for setup in setups))
    result = np.zeros((len(setups), n_l))
    if solver.n_spins == 1:
        return result
    density = solver.density
    for ion, setup in enumerate(setups):
        up, down = density.D_asii[ion]
        overlaps = (up - down) * density.N0_aii[ion]
        degrees = np.repeat(setup.l_j, 2 * np.asarray(setup.l_j) + 1)
        for l in range(n_l):
            result[ion, l] = overlaps[np.ix_(degrees == l, degrees == l)].sum()
    return result


def density_of_states(
    solver: KohnSham,
    eigenvalues: np.ndarray,
    weights: np.ndarray,
    characters: np.ndarray,
    energies: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Sum the density of states and its integral over states of given characters.

    With ISMEAR = -5 by linear tetrahedra, else with the broadening of the run: Fermi (-1) or
    Gaussian of width SIGMA. Methfessel-Paxton orders above 0 are drawn as Gaussians, too, since
    their negative lobes are no density of states.

    Parameters
    ----------
    solver
        Finished run, for the scheme and the k-point mesh.
    eigenvalues
        Shape (k, bands), in eV.
    weights
        Weights of the k-points, shape (k,), of sum 1.
    characters
        Contribution of each state to each curve, shape (k, bands, curves).
    energies
        Shape (n,), in eV.

    Returns
    -------
    density, integral : numpy.ndarray
        States of one spin per eV and below each energy, each of shape (curves, n).

    References
    ----------
    P. E. Bloechl, O. Jepsen and O. K. Andersen, Phys. Rev. B 49, 16223 (1994), for tetrahedra.
    """
    settings = solver.inputs.settings
    step = energies[1] - energies[0]
    bz = solver.builder.ibz.bz
    if settings.ismear == -5 and min(getattr(bz, "size_c", [0])) > 0:
        tetrahedra = irreducible_tetrahedra(
            solver.atoms.cell, bz.size_c, solver.builder.ibz.bz2ibz_K
        )
        curves = np.zeros((characters.shape[-1], len(energies)))
        for corners, volume in zip(*tetrahedra, strict=True):
            for band in range(eigenvalues.shape[1]):
                shares = volume * characters[corners, band]
                lti_dos1(eigenvalues[corners, band], shares, energies, curves)
        return curves, np.cumsum(curves, axis=1) * step
    width = max(settings.sigma, MIN_BROADENING * step)
    distance = (energies - eigenvalues.reshape(-1, 1)) / width
    if settings.ismear == -1:
        occupied = 0.5 * (1 + np.tanh(distance / 2))
        peaks = 0.25 / np.cosh(np.clip(distance / 2, -300, 300)) ** 2 / width
    else:
        occupied = np.where(distance > 0, 0.5 * (1 + erf(distance)), 0.5 * erfc(-distance))
        peaks = np.exp(-np.clip(distance**2, 0, 700)) / np.sqrt(np.pi) / width
    weighted = (weights[:, None, None] * characters).reshape(distance.shape[0], -1)
    return weighted.T @ peaks, weighted.T @ occupied


def irreducible_tetrahedra(
    cell: np.ndarray, mesh: np.ndarray, to_irreducible: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Cut a k-point mesh into tetrahedra, and collect those that have the same corners.

    Parameters
    ----------
    cell
        Lattice vectors, shape (3, 3).
    mesh
        Divisions of the mesh, shape (3,).
    to_irreducible
        Irreducible k-point of each point of the mesh, the last index fastest.

    Returns
    -------
    corners : numpy.ndarray
        Irreducible k-points at the corners of the different tetrahedra, shape (n, 4).
    volumes : numpy.ndarray
        Share of the Brillouin zone of each of them and its copies, shape (n,).

    References
    ----------
    P. E. Bloechl, O. Jepsen and O. K. Andersen, Phys. Rev. B 49, 16223 (1994), section II.

    Examples
    --------
    >>> mesh, to_irreducible = np.array([2, 2, 2]), np.array([0, 1, 1, 1, 1, 1, 1, 1])
    >>> corners, volumes = irreducible_tetrahedra(np.eye(3), mesh, to_irreducible)
    >>> corners.tolist(), volumes.round(9).tolist()
    ([[0, 1, 1, 1], [1, 1, 1, 1]], [0.5, 0.5])
    """
    steps = np.indices((2, 2, 2)).reshape(3, -1).T
    simplices = Delaunay(steps @ (np.linalg.inv(cell) / mesh).T).simplices
    edges = steps[simplices[:, 1:]] - steps[simplices[:, :1]]
    volume = np.abs(np.linalg.det(edges)) / 6 / mesh.prod()
    points = np.indices(tuple(mesh)).reshape(3, -1).T
    around = (points[:, None] + steps) % mesh
    irreducible = to_irreducible[np.ravel_multi_index(tuple(around.T), tuple(mesh))].T
    corners = np.sort(irreducible[:, simplices].reshape(-1, 4))
    different, kind = np.unique(corners, axis=0, return_inverse=True)
    return different, np.bincount(kind.ravel(), np.tile(volume, len(points)))


def project(solver: KohnSham) -> np.ndarray:
    """Project each state onto the bound partial waves of each ion.

    This is GPAW's counterpart of LORBIT = 11: the weight of the projector that belongs to the first
    partial wave of each l, or the outermost one where several are bound.

    Parameters
    ----------
    solver
        Finished run.

    Returns
    -------
    numpy.ndarray
        Squared overlaps, shape (spins, k, bands, ions, 9 or 16), in the order s, py, pz, px, dxy,
        dyz, dz2, dxz, dx2-y2, and m = -3 to 3 of f where an ion has f projectors.

    References
    ----------
    VASP wiki, LORBIT.
    """
    ions = len(solver.inputs.crystal)
    ibz, bands = solver.builder.ibz, solver.orbitals.nbands
    has_f = any(3 in setup.l_j for setup in solver.builder.setups)
    n_orbitals = N_ORBITALS_WITH_F if has_f else N_ORBITALS
    result = np.zeros((solver.n_spins, len(ibz), bands, ions, n_orbitals))
    for wave in solver.orbitals:
        for ion, setup in enumerate(solver.builder.setups):
            first = np.concatenate([[0], np.cumsum(2 * np.asarray(setup.l_j) + 1)])
            valence = {
                l: start
                for start, l, n in zip(first, setup.l_j, setup.n_j, strict=False)
                if n > 0 and l <= 3
            }
            for l, start in valence.items():
                overlap = wave.P_ani[ion][:, start : start + 2 * l + 1]
                result[wave.spin, wave.k, :, ion, l**2 : (l + 1) ** 2] = np.abs(overlap) ** 2
    solver.orbitals.kpt_comm.sum(result)
    return result


def check_highest_band(solver: KohnSham) -> list[str]:
    """Make sure that the electrons of a finished run do not need more bands.

    Parameters
    ----------
    solver
        Finished run.

    Returns
    -------
    list of str
        A warning where all bands are full, as in an insulator without empty bands.

    Raises
    ------
    UnsupportedInputError
        If the highest band is partly occupied: higher ones would be, too.
    """
    n_bands = solver.orbitals.nbands
    _, occupations = solver.orbitals.get_all_eigs_and_occs(broadcast=True)
    highest = occupations[:, :, -1].max(axis=1)
    if highest.max() < OCCUPIED:
        return []
    # All bands of one spin or of both.
    filled = np.einsum("k,skb->s", solver.builder.ibz.weight_k, occupations)
    full = np.abs(filled - n_bands) < 1e-6
    if np.all(full | (highest < OCCUPIED)):
        return ["TOO FEW BANDS unless this is an insulator: all bands are occupied"]
    raise UnsupportedInputError(
        f"INCAR: NBANDS = {n_bands}: TOO FEW BANDS, the highest one is occupied, "
        f"set NBANDS = {max(n_bands + 2, int(1.2 * n_bands))}"
    )
