r"""Radial functions of GPAW's PAW data sets, in the units and on the meshes of a POTCAR.

GPAW holds densities and the local potential as coefficients of Y_00, partial waves as phi(r) on a
mesh of its own, and compensation charges as Gaussians.

References
----------
J. J. Mortensen, L. B. Hansen and K. W. Jacobsen, Phys. Rev. B 71, 035109 (2005).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase.units import Bohr, Ha
from gpaw.utilities import unpack_hermitian
from scipy.integrate import simpson
from scipy.interpolate import CubicSpline
from scipy.special import spherical_jn

if TYPE_CHECKING:
    from gpaw.setup import Setup

#: Radial mesh of the transforms to reciprocal space.
R_MAX = 40.0  # bohr
R_STEP = 0.008  # bohr
NEGLIGIBLE = 1e-14  # of the largest value, for the tail of a function to be left out

#: Logarithmic mesh of partial waves: points, first point, and last one in outermost cutoff radii.
MESH_POINTS = 400
MESH_FIRST = 1e-4  # angstrom
MESH_LAST = 1.5


def occupancies_in_atom(setup: Setup) -> np.ndarray:
    """Fill the channels as in the free atom.

    Only bound partial waves are occupied, each by ``f / (2 l + 1)`` electrons per m.

    Parameters
    ----------
    setup
        PAW data set.

    Returns
    -------
    numpy.ndarray
        Electrons per m of each pair of channels, shape (channels, channels), diagonal.
    """
    return np.diag([f / (2 * l + 1) for f, l in zip(setup.data.f_j, setup.l_j, strict=True)])


def compensation_electrons(setup: Setup) -> float:
    """Count the electrons in the spherical compensation charge of the free atom.

    It is the norm of the all-electron less that of the pseudo partial waves, weighted by their
    occupations: ``sqrt(4 pi) sum_i D_ii Delta_ii,00``.

    Parameters
    ----------
    setup
        PAW data set.

    Returns
    -------
    float
        Electrons.

    References
    ----------
    J. J. Mortensen, L. B. Hansen and K. W. Jacobsen, Phys. Rev. B 71, 035109 (2005), eq. 23.
    """
    per_m = np.repeat(np.diag(occupancies_in_atom(setup)), 2 * np.asarray(setup.l_j) + 1)
    return float(np.sqrt(4 * np.pi) * np.einsum("i,iiL->L", per_m, setup.Delta_iiL)[0])


def form_factor(setup: Setup, q: np.ndarray) -> np.ndarray:
    """Transform the pseudo valence density of the free atom to reciprocal space.

    It is the smooth density of the occupied pseudo partial waves plus the compensation charge of
    the same occupations, as in a CHGCAR.

    Parameters
    ----------
    setup
        PAW data set.
    q
        Wave numbers, shape (n,), in 1/angstrom.

    Returns
    -------
    numpy.ndarray
        Electrons, shape (n,); ZVAL at q = 0.
    """
    data = setup.data
    on_set = sum(f * wave**2 for f, wave in zip(data.f_j, data.phit_jg, strict=True) if f > 0)
    # The data set's mesh is too coarse for large q: go through a spline to a fine uniform one.
    r = np.arange(0.0, R_MAX, R_STEP)
    smooth = CubicSpline(data.rgd.r_g, on_set)(r)
    shape = setup.ghat_l[0]
    compensation = np.array([shape(radius) if radius < shape.get_cutoff() else 0.0 for radius in r])
    bessel = np.sinc(np.outer(q * Bohr, r) / np.pi) * r**2
    electrons = simpson(bessel * smooth, dx=R_STEP)
    spherical = simpson(bessel * compensation, dx=R_STEP)
    return np.asarray(electrons + compensation_electrons(setup) * spherical / spherical[0])


def logarithmic_mesh(setup: Setup) -> np.ndarray:
    """Make the mesh on which partial waves and core densities are listed.

    Parameters
    ----------
    setup
        PAW data set.

    Returns
    -------
    numpy.ndarray
        Distances in angstrom, shape (n,).
    """
    return np.geomspace(MESH_FIRST, MESH_LAST * max(setup.data.rcut_j) * Bohr, MESH_POINTS)


def on_mesh(setup: Setup, values: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Interpolate a radial function of a data set.

    Parameters
    ----------
    setup
        PAW data set.
    values
        On GPAW's mesh.
    r
        Distances in angstrom, any shape.

    Returns
    -------
    numpy.ndarray
        Shape of `r`.
    """
    return np.asarray(CubicSpline(setup.data.rgd.r_g, values)(r / Bohr))


def waves_on_mesh(setup: Setup, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Interpolate the partial waves u = r phi(r).

    Parameters
    ----------
    setup
        PAW data set.
    r
        Distances in angstrom, shape (n,).

    Returns
    -------
    pseudo, all_electron : numpy.ndarray
        In angstrom^(-1/2), shape (channels, n).
    """
    pseudo, all_electron = (
        np.array([on_mesh(setup, wave, r) for wave in waves]) * r / Bohr**1.5
        for waves in (setup.data.phit_jg, setup.data.phi_jg)
    )
    return pseudo, all_electron


def core_on_mesh(setup: Setup, density: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Interpolate a core density as r^2 rho_00.

    Parameters
    ----------
    setup
        PAW data set.
    density
        Coefficient of Y_00 on GPAW's mesh.
    r
        Distances in angstrom, shape (n,).

    Returns
    -------
    numpy.ndarray
        In 1/angstrom; sqrt(4 pi) times its integral is the number of electrons.
    """
    return on_mesh(setup, density, r) * (r / Bohr) ** 2 / Bohr


def compensation_on_mesh(setup: Setup, r: np.ndarray) -> np.ndarray:
    """Evaluate the compensation charges g_L with unit multipoles.

    Parameters
    ----------
    setup
        PAW data set.
    r
        Distances in angstrom, shape (n,).

    Returns
    -------
    numpy.ndarray
        In angstrom^(-3-L), shape (l_max + 1, n).
    """
    fine = np.arange(0.0, R_MAX, R_STEP)
    charges = []
    for degree, shape in enumerate(setup.ghat_l):
        # GPAW's splines are those of g_L / r^L.
        values, norm = (
            np.array([shape(x) if x < shape.get_cutoff() else 0.0 for x in mesh]) * mesh**degree
            for mesh in (r / Bohr, fine)
        )
        charges.append(values / simpson(norm * fine ** (degree + 2), dx=R_STEP))
        charges[-1] /= Bohr ** (3 + degree)
    return np.array(charges)


def transform(setup: Setup, values: np.ndarray, degree: int, q: np.ndarray) -> np.ndarray:
    """Transform a radial function to reciprocal space: 4 pi int f(r) j_l(q r) r^2 dr.

    Parameters
    ----------
    setup
        PAW data set.
    values
        f on GPAW's mesh.
    degree
        l.
    q
        Wave numbers in 1/angstrom, shape (n,).

    Returns
    -------
    numpy.ndarray
        In units of f times bohr^3, shape (n,).
    """
    r = np.arange(0.0, R_MAX, R_STEP)
    fine = on_mesh(setup, values, r * Bohr) * r**2
    if not fine.any():  # hydrogen has no core
        return np.zeros(len(q))
    end = int(np.flatnonzero(np.abs(fine) > NEGLIGIBLE * np.abs(fine).max())[-1]) + 2
    waves = np.outer(q * Bohr, r[:end])
    # The same at l = 0, in a twentieth of the time.
    bessel = spherical_jn(degree, waves) if degree else np.sinc(waves / np.pi)
    return np.asarray(4 * np.pi * simpson(bessel * fine[:end], dx=R_STEP))


def core_form_factor(setup: Setup, q: np.ndarray) -> np.ndarray:
    """Transform the pseudo core density, which the exchange-correlation potential sees.

    Parameters
    ----------
    setup
        PAW data set.
    q
        Wave numbers in 1/angstrom, shape (n,).

    Returns
    -------
    numpy.ndarray
        Electrons, shape (n,).
    """
    return np.asarray(transform(setup, setup.data.nct_g, 0, q) / np.sqrt(4 * np.pi))


def local_potential(setup: Setup, q: np.ndarray, core: np.ndarray) -> np.ndarray:
    """Transform the local ionic potential without its Coulomb tail, -4 pi ZVAL / q^2.

    It is the potential of pseudo core and nuclear compensation charge, plus GPAW's local potential
    inside the sphere.

    Parameters
    ----------
    setup
        PAW data set.
    q
        Wave numbers from 0 in equal steps, shape (n,), in 1/angstrom.
    core
        Form factor of the pseudo core, shape (n,), in electrons.

    Returns
    -------
    numpy.ndarray
        In eV angstrom^3, shape (n,).
    """
    gaussian = setup.ghat_l[0]
    fine = np.arange(0.0, R_MAX, R_STEP)
    shape = np.array([gaussian(x) if x < gaussian.get_cutoff() else 0.0 for x in fine])
    bessel = np.sinc(np.outer(q * Bohr, fine[shape != 0.0]) / np.pi)
    unit = simpson(bessel * (shape * fine**2)[shape != 0.0], dx=R_STEP)
    unit /= unit[0]
    # Core less nucleus: the whole charge is -ZVAL.
    charge = core - (setup.Nv + core[0]) * unit
    wave_numbers = q[1:] * Bohr
    potential = np.empty(len(q))
    potential[1:] = 4 * np.pi * (charge[1:] + setup.Nv) / wave_numbers**2
    potential[0] = (4 * potential[1] - potential[2]) / 3  # even in q
    potential += transform(setup, setup.data.vbar_g, 0, q) / np.sqrt(4 * np.pi)
    return np.asarray(potential * Ha * Bohr**3)


def projector_strengths(setup: Setup) -> np.ndarray:
    """Collect the on-site energies of the bare ion: kinetic, core electrostatics, local potential.

    Parameters
    ----------
    setup
        PAW data set.

    Returns
    -------
    numpy.ndarray
        In eV, shape (channels, channels), between equal l.
    """
    matrix = unpack_hermitian(setup.K_p + setup.M_p + setup.MB_p) * Ha
    first = np.concatenate([[0], np.cumsum(2 * np.asarray(setup.l_j) + 1)])[:-1]
    return np.asarray(matrix[np.ix_(first, first)])
