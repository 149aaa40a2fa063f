r"""Free atom of a PAW data set as reference of its Hamiltonian: potentials and on-site energies.

In the reference atom, the pseudo partial waves of bound states are solutions,

.. math::
    \Big(T + \tilde v + \sum_{ij} |\tilde p_i\rangle (D_{ij} - \epsilon_j q_{ij})
    \langle \tilde p_j| - \epsilon_j\Big) |\tilde\phi_j\rangle = 0 ,

where :math:`\langle \tilde p_i|\tilde\phi_j\rangle = \delta_{ij}`. Further partial waves of an l
are scattering states, from which some data sets have taken a part of the bound state:
:math:`H \phi_j = \sum_k E_{jk} \phi_k` outside of the sphere, with a matrix that follows from the
waves there. So that, whatever the functional of the data set and the form in which it lists its own
on-site energies,

.. math::
    D_{ij} = \sum_k E_{jk} (\langle \tilde\phi_i|\tilde\phi_k\rangle + q_{ik})
    - \langle \tilde\phi_i| T + \tilde v |\tilde\phi_j\rangle , \qquad
    q_{ij} = \langle\phi_i|\phi_j\rangle - \langle\tilde\phi_i|\tilde\phi_j\rangle .

All waves of an l are needed: with the bound one alone, the atom's d levels fall by up to 3 eV in a
span with contracted orbitals, whose part inside of the sphere nothing holds up then.

The smooth potential is that of the local ionic potential, of the pseudo density with compensation
charge, and of exchange and correlation in the local-density approximation, which is near enough for
orbitals that only begin a run.

References
----------
D. Vanderbilt, Phys. Rev. B 41, 7892 (1990), eqs. 5 to 12; P. E. Bloechl, Phys. Rev. B 50, 17953
(1994). Exchange: P. A. M. Dirac (1930). Correlation: T. Chachiyo, J. Chem. Phys. 145, 021101
(2016), eq. 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, pi
from typing import TYPE_CHECKING

import numpy as np
from scipy.constants import physical_constants
from scipy.interpolate import CubicSpline
from scipy.special import spherical_jn

if TYPE_CHECKING:
    from mlcharge_flows.density.paw_dataset import IonicPotential, PartialWaves, PawDataset

_RYDBERG: float = physical_constants["Rydberg constant times hc in eV"][0]
_BOHR: float = physical_constants["Bohr radius"][0] * 1e10

HBAR2_OVER_2M = _RYDBERG * _BOHR**2
"""hbar^2 / 2m of the electron, in eV angstrom^2."""

COULOMB = 2 * _RYDBERG * _BOHR
"""e^2 / (4 pi epsilon_0), in eV angstrom."""

_R_STEP = 0.005
"""Step of radial integrals, in angstrom."""

_Q_STEP = 0.05
_Q_MAX = 40.0
"""Mesh of the projectors' transforms, in 1/angstrom: to 6,000 eV."""

_OUTSIDE = 0.85
"""Beyond this part of its mesh a partial wave is outside of the sphere."""

_TOLERANCE = 1.5
"""Error in eV with which a partial wave has to fulfil its equation outside of the sphere."""


@dataclass(frozen=True, eq=False)
class PawAtom:
    """Reference of the Hamiltonian of all ions of one element.

    Parameters
    ----------
    charge
        Valence electrons.
    q
        Mesh of wave numbers of the next two, in 1/angstrom, shape (m,).
    local
        Transform of the local potential without its Coulomb tail, in eV angstrom^3, shape (m,).
    core
        Form factor of the pseudo core, in electrons, shape (m,).
    degrees
        l of each projector that is used, shape (n,).
    projectors
        Transforms 4 pi integral of p(r) j_l(q r) r^2 dr of the projectors, in angstrom^(3/2), as
        one spline of q in 1/angstrom with n values.
    energies
        D_ij in eV, shape (n, n), zero between different l.
    overlaps
        q_ij, shape (n, n), zero between different l.
    compensation
        Transform of the spherical compensation charge, 1 at q = 0, a spline of q.
    mean_potential
        Smooth potential of the atom, averaged with that charge, in eV.
    """

    charge: float
    q: np.ndarray
    local: np.ndarray
    core: np.ndarray
    degrees: tuple[int, ...]
    projectors: CubicSpline
    energies: np.ndarray
    overlaps: np.ndarray
    compensation: CubicSpline
    mean_potential: float


def paw_atom(dataset: PawDataset) -> PawAtom:
    """Make the reference of a PAW data set.

    Parameters
    ----------
    dataset
        Data set with free atom, partial waves and ionic potential.

    Returns
    -------
    PawAtom
        Projectors whose partial waves are no solutions, and so have no energies of their own, are
        left out.

    Raises
    ------
    ValueError
        Something is not known, or the partial wave of a bound state does not solve the equation of
        the atom, so that the numbers are not what they are taken for.
    """
    waves, ion = dataset.partial_waves, dataset.ionic_potential
    if waves is None or ion is None or not dataset.has_free_atom:
        raise ValueError(f"{dataset.titel}: its potentials or partial waves are not known")
    potential = CubicSpline(waves.r, _atomic_potential(dataset, ion, waves.r))
    matrix = _energies(dataset, waves, ion, potential)
    solutions = np.flatnonzero(np.isfinite(matrix.diagonal()))
    degrees = tuple(dataset.channels[a] for a in solutions)
    n = len(solutions)
    energies, overlaps = np.zeros((n, n)), np.zeros((n, n))
    q = np.arange(0.0, _Q_MAX + _Q_STEP, _Q_STEP)
    transforms = np.zeros((len(q), n))
    for degree in sorted(set(degrees)):
        rows = [row for row, own in enumerate(degrees) if own == degree]
        block = np.ix_(rows, rows)
        r, projectors, energies[block], overlaps[block] = _channel(
            degree, solutions[rows], matrix, waves, ion, potential
        )
        bessel = spherical_jn(degree, np.outer(q, r))
        transforms[:, rows] = 4 * pi * bessel @ (projectors * r).T * _R_STEP
    charge = waves.compensation[0] * waves.r**2
    norm = np.trapezoid(charge, waves.r)
    form = np.trapezoid(charge * np.sinc(np.outer(q, waves.r) / pi), waves.r) / norm
    mean = float(np.trapezoid(charge * potential(waves.r), waves.r) / norm)
    return PawAtom(
        float(dataset.form_factor_at(np.zeros(1))[0]),
        dataset.q,
        ion.local,
        ion.core,
        degrees,
        CubicSpline(q, transforms),
        energies,
        overlaps,
        CubicSpline(q, form),
        mean,
    )


def lda_potential(density: np.ndarray) -> np.ndarray:
    """Exchange-correlation potential of the local-density approximation.

    Parameters
    ----------
    density
        Electrons per cubic angstrom, any shape; what is negative counts as zero.

    Returns
    -------
    numpy.ndarray
        In eV.

    References
    ----------
    Dirac's exchange; T. Chachiyo, J. Chem. Phys. 145, 021101 (2016), eq. 1 with the constants of
    its eqs. 2 and 3.

    Examples
    --------
    At one electron per cubic bohr:

    >>> one = np.array([1.0 / 0.529177**3])
    >>> (lda_potential(one) / 27.2114).round(3).tolist()
    [-1.062]
    """
    n = np.maximum(density * _BOHR**3, 1e-12)
    radius = np.cbrt(3 / (4 * pi * n))
    a, b = (log(2) - 1) / (2 * pi**2), 20.4562557
    inside = 1 + b / radius + b / radius**2
    slope = -a * (b / radius**2 + 2 * b / radius**3) / inside
    correlation = a * np.log(inside) - radius / 3 * slope
    potential: np.ndarray = (correlation - np.cbrt(3 * n / pi)) * 2 * _RYDBERG
    return potential


def _atomic_potential(dataset: PawDataset, ion: IonicPotential, r: np.ndarray) -> np.ndarray:
    """Smooth potential of the neutral free atom, in eV, shape of `r`."""
    q, form = dataset.q, dataset.form_factor_at(dataset.q)
    neutral = ion.local + 0.0
    neutral[1:] += 4 * pi * COULOMB * (form - form[0])[1:] / q[1:] ** 2
    neutral[0] = (4 * neutral[1] - neutral[2]) / 3  # even in q
    weights = np.sinc(np.outer(r, q) / pi) * q**2 * (q[1] / (2 * pi**2))
    electrostatic: np.ndarray = weights @ neutral
    return np.asarray(electrostatic + lda_potential(weights @ (form + ion.core)))


def _energies(
    dataset: PawDataset, waves: PartialWaves, ion: IonicPotential, potential: CubicSpline
) -> np.ndarray:
    """Energy matrix E of the channels, ``H phi_j = sum_k E_jk phi_k`` outside of the sphere.

    A bound state has its energy on the diagonal. A further wave of the same l is a solution, too,
    or one less c times the first bound state b, which makes it orthogonal to the projector of that
    one: ``E_jb = c (E_jj - E_bb)``.

    Returns
    -------
    numpy.ndarray
        In eV, shape (channels, channels); NaN on the diagonal where a wave is neither.

    Raises
    ------
    ValueError
        One that holds electrons in the free atom is not among them.
    """
    electrons = dataset.electrons_by_channel
    r = np.arange(_OUTSIDE * waves.r[-1], waves.r[-1], _R_STEP)
    matrix = np.diag(ion.energies)
    bound: dict[int, int] = {}
    for a, (degree, u) in enumerate(zip(dataset.channels, waves.pseudo, strict=True)):
        wave = CubicSpline(waves.r, u)
        residual = _hamiltonian(wave, degree, potential, r) - ion.energies[a] * wave(r)
        size = np.linalg.norm(wave(r))
        is_state = ion.energies[a] < 0.0 and np.linalg.norm(residual) < _TOLERANCE * size
        if degree in bound and not is_state:
            b = bound[degree]
            other = CubicSpline(waves.r, waves.pseudo[b])(r)
            matrix[a, b] = (residual @ other) / (other @ other)
            residual -= matrix[a, b] * other
        error = float(np.linalg.norm(residual) / size)
        if error < _TOLERANCE:
            bound.setdefault(degree, a)
        elif electrons[a] > 0.0:
            raise ValueError(
                f"{dataset.titel}: the partial wave of channel {a + 1} is {error:.1f} eV from "
                "the state that it is said to be"
            )
        else:
            matrix[a, a] = np.nan
    return matrix


def _hamiltonian(
    wave: CubicSpline, degree: int, potential: CubicSpline, r: np.ndarray
) -> np.ndarray:
    """Kinetic and smooth potential energy of a radial function u = r phi, times u; r > 0."""
    kinetic: np.ndarray = degree * (degree + 1) / r**2 * wave(r) - wave(r, 2)
    return np.asarray(HBAR2_OVER_2M * kinetic + potential(r) * wave(r))


def _channel(
    degree: int,
    channels: np.ndarray,
    matrix: np.ndarray,
    waves: PartialWaves,
    ion: IonicPotential,
    potential: CubicSpline,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Projectors times r on a mesh, D and q of the channels of one l."""
    end = min(waves.r[-1], max(ion.projector_reach[a] for a in channels))
    r = np.arange(waves.r[0], end, _R_STEP)
    pseudo, full = (
        [CubicSpline(waves.r, u[a]) for a in channels] for u in (waves.pseudo, waves.all_electron)
    )
    smooth, whole = (np.array([wave(r) for wave in some]) for some in (pseudo, full))
    projectors = np.zeros_like(smooth)
    for row, a in enumerate(channels):
        values = ion.projectors[a]
        mesh = np.arange(len(values) + 1) * ion.projector_reach[a] / len(values)
        inside = r < mesh[-1]
        projectors[row, inside] = CubicSpline(mesh, np.append(values, 0.0))(r[inside]) * r[inside]
    # Dual to the waves, whatever the norm of projectors in the file.
    projectors = np.linalg.solve(projectors @ smooth.T * _R_STEP, projectors)
    energies = matrix[np.ix_(channels, channels)]
    applied = np.array([_hamiltonian(wave, degree, potential, r) for wave in pseudo])
    overlaps = (whole @ whole.T - smooth @ smooth.T) * _R_STEP
    strengths = smooth @ (energies @ smooth - applied).T * _R_STEP + overlaps @ energies.T
    return r, projectors, (strengths + strengths.T) / 2, overlaps
