"""Density of states and projections from the converged orbitals."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from ase.dft.dos import linear_tetrahedron_integration
from ase.units import Ha
from scipy.special import erf, erfc

if TYPE_CHECKING:
    from mlcharge_flows.gpaw_vasp.kohn_sham import KohnSham

#: Smallest width of the broadening, so that a coarse energy mesh misses no level, in mesh steps.
SMALLEST_WIDTH = 1.0

#: Projections go up to d: s, py, pz, px, dxy, dyz, dz2, dxz, dx2-y2.
N_ORBITALS = 9


class States(NamedTuple):
    """Eigenstates and their densities.

    Parameters
    ----------
    eigenvalues, occupations
        Shape (k, bands); eV, and 0 to 1.
    fermi_level
        eV.
    energies, dos, integrated
        Mesh in eV and total density of states, both spins, shape (NEDOS,).
    projections
        Shape (k, bands, ions, 9), or None.
    projected
        Shape (ions, 9, NEDOS), or None.
    """

    eigenvalues: np.ndarray
    occupations: np.ndarray
    fermi_level: float
    energies: np.ndarray
    dos: np.ndarray
    integrated: np.ndarray
    projections: np.ndarray | None
    projected: np.ndarray | None


def collect_states(solver: KohnSham) -> States:
    """Eigenvalues, occupations, densities of states, and projections if LORBIT asks for them."""
    settings = solver.inputs.settings
    orbitals = solver.orbitals
    eigenvalues, occupations = (
        values[0] for values in orbitals.get_all_eigs_and_occs(broadcast=True)
    )
    eigenvalues = eigenvalues * Ha
    lowest, highest = eigenvalues.min() - 1.0, eigenvalues.max() + 1.0
    energies = np.linspace(
        lowest if settings.emin is None else settings.emin,
        highest if settings.emax is None else settings.emax,
        settings.nedos,
    )
    projections = project(solver) if settings.lorbit >= 10 else None
    weights = solver.builder.ibz.weight_k
    ones = np.ones((*eigenvalues.shape, 1))
    total, integrated = density_of_states(solver, eigenvalues, weights, ones, energies)
    projected = None
    if projections is not None:
        flat = projections.reshape(*eigenvalues.shape, -1)
        curves, _ = density_of_states(solver, eigenvalues, weights, flat, energies)
        projected = curves.reshape(len(solver.inputs.crystal), N_ORBITALS, -1)
    return States(
        eigenvalues,
        occupations,
        float(orbitals.fermi_level * Ha),
        energies,
        total[0],
        integrated[0],
        projections,
        projected,
    )


def density_of_states(
    solver: KohnSham,
    eigenvalues: np.ndarray,
    weights: np.ndarray,
    characters: np.ndarray,
    energies: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Density of states and its integral, for any set of characters of the states.

    With ISMEAR = -5 by linear tetrahedra, else with the run's own broadening: Fermi (-1) or
    Gaussian of width SIGMA (Methfessel-Paxton orders above 0 are drawn as Gaussians too: their
    negative lobes are no density of states).

    Parameters
    ----------
    solver
        Finished run, for the scheme and the k-point mesh.
    eigenvalues
        Shape (k, bands), eV.
    weights
        Shape (k,), sum 1.
    characters
        Shape (k, bands, curves): contribution of each state to each curve.
    energies
        Shape (n,), eV.

    Returns
    -------
    tuple of numpy.ndarray
        Shapes (curves, n): states per eV, and states below each energy; both spins.
    """
    settings = solver.inputs.settings
    step = energies[1] - energies[0]
    bz = solver.builder.ibz.bz
    if settings.ismear == -5 and min(getattr(bz, "size_c", [0])) > 0:
        mesh = [*(int(n) for n in bz.size_c)]
        to_ibz = solver.builder.ibz.bz2ibz_K
        on_mesh = eigenvalues[to_ibz].reshape(*mesh, -1)
        weight_mesh = characters[to_ibz].reshape(*mesh, *characters.shape[1:])
        curves = linear_tetrahedron_integration(solver.atoms.cell, on_mesh, energies, weight_mesh)
        curves = 2.0 * np.atleast_2d(curves)
        return curves, np.cumsum(curves, axis=1) * step
    width = max(settings.sigma, SMALLEST_WIDTH * step)
    distance = (energies - eigenvalues.reshape(-1, 1)) / width
    if settings.ismear == -1:
        occupied = 0.5 * (1 + np.tanh(distance / 2))
        peaks = 0.25 / np.cosh(np.clip(distance / 2, -300, 300)) ** 2 / width
    else:
        occupied = np.where(distance > 0, 0.5 * (1 + erf(distance)), 0.5 * erfc(-distance))
        peaks = np.exp(-np.clip(distance**2, 0, 700)) / np.sqrt(np.pi) / width
    shares = 2.0 * (weights[:, None, None] * characters).reshape(distance.shape[0], -1)
    return shares.T @ peaks, shares.T @ occupied


def project(solver: KohnSham) -> np.ndarray:
    """Squared overlap of each state with the bound partial waves, shape (k, bands, ions, 9).

    GPAW's counterpart of LORBIT = 11: the weight of the projector function that belongs to the
    first partial wave of each l (the outermost one where several are bound).
    """
    ions = len(solver.inputs.crystal)
    ibz, bands = solver.builder.ibz, solver.orbitals.nbands
    result = np.zeros((len(ibz), bands, ions, N_ORBITALS))
    for wave in solver.orbitals:
        for ion, setup in enumerate(solver.builder.setups):
            first = np.concatenate([[0], np.cumsum(2 * np.asarray(setup.l_j) + 1)])
            valence = {
                l: start
                for start, l, n in zip(first, setup.l_j, setup.n_j, strict=False)
                if n > 0 and l <= 2
            }
            for l, start in valence.items():
                overlap = wave.P_ani[ion][:, start : start + 2 * l + 1]
                result[wave.k, :, ion, l**2 : (l + 1) ** 2] = np.abs(overlap) ** 2
    solver.orbitals.kpt_comm.sum(result)
    return result
