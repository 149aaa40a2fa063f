r"""Bloch sums of atomic orbitals: the pseudo partial waves of the bound states of PAW data sets.

The orbital of channel a of the ion at tau, with the radial function u(r) = r phi(r), is

.. math::
    c_{\mathbf{G}} = \frac{4\pi (-i)^l}{\sqrt{V}} \, e^{-i (\mathbf{k}+\mathbf{G}) \cdot \tau} \,
        Y_{lm}(\widehat{\mathbf{k}+\mathbf{G}}) \int_0^\infty u(r) \, j_l(|\mathbf{k}+\mathbf{G}| r)
        \, r \, dr

in plane waves exp(i (k + G) r) / sqrt(V). A data set's radial mesh ends near the augmentation
sphere; beyond it u continues as r exp(-kappa r), the tail of hydrogen, with the logarithmic
derivative that it has there.

References
----------
J. M. Soler, E. Artacho, J. D. Gale, A. Garcia, J. Junquera, P. Ordejon and D. Sanchez-Portal, J.
Phys.: Condens. Matter 14, 2745 (2002), section 4, for atomic orbitals as a basis; P. E. Bloechl,
Phys. Rev. B 50, 17953 (1994), for partial waves.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import pi, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.special import spherical_jn

from mlcharge_flows.density.harmonics import real_harmonics

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.density.paw_dataset import PawDataset

_REACH = 14.0
"""Radius in angstrom at which every orbital is cut: exp(-kappa r) is below 1e-5 there."""

_SLOWEST_DECAY = 0.9
"""Least kappa in 1/angstrom, of a state at -3.1 eV, the shallowest of free atoms being at -2 eV."""

_R_STEP = 0.02
"""Radial step in angstrom, 1/15 of the wavelength at 1,700 eV."""

_Q_STEP = 0.05
"""Step of the mesh of wave numbers in 1/angstrom; the transforms vary over 2 pi / 14 angstrom."""

_Q_BLOCK = 64
"""Meshes of wave numbers have multiples of this many points."""

_LEAST_PART = 0.05
"""Least norm of what an orbital adds to those before it, for it not to be left out."""


@dataclass(frozen=True, eq=False)
class RadialOrbital:
    """Radial part of the orbitals of one channel of a PAW data set.

    Parameters
    ----------
    degree
        Angular momentum l.
    electrons
        Electrons of the free atom in the channel, 0 to 2 (2l + 1).
    r
        Mesh from 0 to 14 angstrom, shape (n,).
    u
        r phi(r) on the mesh, shape (n,), normalized to one.
    """

    degree: int
    electrons: float
    r: np.ndarray
    u: np.ndarray
    _splines: dict[int, CubicSpline] = field(default_factory=dict, init=False, repr=False)

    @property
    def mean_radius(self) -> float:
        """Mean distance from the nucleus, in angstrom."""
        return float((self.u**2 * self.r).sum() * _R_STEP)

    @property
    def filling(self) -> float:
        """Electrons of each of the 2l + 1 orbitals, 0 to 2."""
        return self.electrons / (2 * self.degree + 1)

    def transform(self, q: np.ndarray) -> np.ndarray:
        """Compute the radial integral of the plane-wave expansion.

        Parameters
        ----------
        q
            Wave numbers |k + G| in 1/angstrom, any shape.

        Returns
        -------
        numpy.ndarray
            Integral of u(r) j_l(q r) r over r, in angstrom^(3/2), in the shape of `q`.
        """
        n = _Q_BLOCK * (int(q.max(initial=0.0) / _Q_STEP + 4) // _Q_BLOCK + 1)
        if n not in self._splines:  # the same for all k-points of a run
            mesh = np.arange(n) * _Q_STEP
            waves = spherical_jn(self.degree, mesh[:, None] * self.r)
            # The integrand vanishes at both ends: the trapezoidal rule is spectrally accurate.
            self._splines[n] = CubicSpline(mesh, waves @ (self.u * self.r) * _R_STEP)
        values: np.ndarray = self._splines[n](q)
        return values


def radial_orbitals(dataset: PawDataset) -> tuple[RadialOrbital, ...]:
    """Collect the bound states of the free atom among the pseudo partial waves of a data set.

    Bound are the channels that hold electrons in the free atom, and of each other l the first
    channel if its wave decays at the end of the mesh.

    Parameters
    ----------
    dataset
        Data set with partial waves and the occupancies of the free atom.

    Returns
    -------
    tuple of RadialOrbital
        In the order of the channels.

    Raises
    ------
    ValueError
        The data set has no partial waves or no occupancies.
    """
    waves = dataset.partial_waves
    if waves is None or dataset.atomic_occupancies is None:
        raise ValueError(f"{dataset.titel}: the partial waves of the free atom are not known")
    electrons = dataset.electrons_by_channel
    bound = {a for a, n in electrons.items() if n > 1e-6}
    taken = {dataset.channels[a] for a in bound}
    found = []
    for a, (degree, u) in enumerate(zip(dataset.channels, waves.pseudo, strict=True)):
        is_first = degree not in taken and degree not in dataset.channels[:a]
        if a in bound or (is_first and _slope(waves.r, u) < 0.0):
            found.append(RadialOrbital(degree, electrons[a], *_continued(waves.r, u)))
    return tuple(found)


def _slope(r: np.ndarray, u: np.ndarray) -> float:
    """Logarithmic derivative at the end of the mesh, in 1/angstrom."""
    return float(CubicSpline(r, u)(r[-1], 1) / u[-1])


def _continued(r: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Continue a wave beyond its mesh as ``r^s exp(-kappa r)``.

    With s = 1, or with the slowest decay where that makes kappa too small; the other of both is
    that of the logarithmic derivative.

    Returns
    -------
    mesh, u : numpy.ndarray
        From 0 to the reach, normalized.
    """
    slope, end = _slope(r, u), r[-1]
    kappa = max(1.0 / end - slope, _SLOWEST_DECAY)
    mesh = _R_STEP * np.arange(round(_REACH / _R_STEP) + 1)
    power = end * (slope + kappa)
    inner = CubicSpline(np.append(0.0, r), np.append(0.0, u)) if r[0] > 0.0 else CubicSpline(r, u)
    outside = np.maximum(mesh, end)
    tail = u[-1] * (outside / end) ** power * np.exp(-kappa * (outside - end))
    values = np.where(mesh < end, inner(np.minimum(mesh, end)), tail)
    return mesh, values / sqrt((values**2).sum() * _R_STEP)


def enlarged(orbitals: Sequence[RadialOrbital]) -> tuple[RadialOrbital, ...]:
    """Add contracted and polarized orbitals to those of an element.

    Contracted ones are u(r) exp(-(2 x / 3)^2), x = r / r_0 with the mean radius r_0 of u. Polarized
    ones are u(r) x exp(-x^2 / 4), of the next l, of the outermost orbital and of the outermost one
    that has none of the next l beside it; and, if the outermost one is an s orbital, u(r) x^2
    exp(-x^2 / 4) with l = 2, since the d states of metals reach as far as their s states.

    Parameters
    ----------
    orbitals
        Bound states of the free atom.

    Returns
    -------
    tuple of RadialOrbital
        The given ones first.

    References
    ----------
    J. M. Soler et al., J. Phys.: Condens. Matter 14, 2745 (2002), section 4, for the idea.
    """
    by_radius = sorted(orbitals, key=lambda orbital: orbital.mean_radius, reverse=True)
    degrees = {orbital.degree for orbital in orbitals}
    polarized = by_radius[:1]
    polarized += [o for o in by_radius if o.degree + 1 not in degrees and o not in polarized][:1]
    return (
        *orbitals,
        *(_reshaped(orbital, 0, width=1.5) for orbital in orbitals),
        *(_reshaped(orbital, 1, width=2.0) for orbital in polarized),
        *(_reshaped(orbital, 2, width=2.0) for orbital in by_radius[:1] if orbital.degree == 0),
    )


def _reshaped(orbital: RadialOrbital, power: int, width: float) -> RadialOrbital:
    """Orbital times x^power exp(-(x / width)^2), of a degree that is higher by the power."""
    x = orbital.r / orbital.mean_radius
    u = orbital.u * x**power * np.exp(-((x / width) ** 2))
    u /= sqrt((u**2).sum() * _R_STEP)
    return RadialOrbital(orbital.degree + power, 0.0, orbital.r, u)


def angular_parts(
    lattice: np.ndarray, waves: np.ndarray, lmax: int
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Wave numbers and angular parts of the plane waves of one k-point.

    Parameters
    ----------
    lattice
        Lattice vectors as rows, shape (3, 3), in angstrom.
    waves
        k + G in units of the reciprocal lattice vectors, shape (n, 3).
    lmax
        Highest l.

    Returns
    -------
    q : numpy.ndarray
        |k + G| in 1/angstrom, shape (n,).
    angular : list of numpy.ndarray
        (-i)^l Y_lm of each l, shape (2l + 1, n).
    """
    vectors = waves @ (2 * pi * np.linalg.inv(lattice).T)
    q: np.ndarray = np.linalg.norm(vectors, axis=1)
    directions = vectors / np.where(q > 0.0, q, 1.0)[:, None]
    directions[q == 0.0] = (0.0, 0.0, 1.0)  # only l = 0 does not vanish there
    harmonics = real_harmonics(lmax, directions)
    return q, [(-1j) ** degree * values.T for degree, values in enumerate(harmonics)]


def bloch_sums(
    crystal: Crystal,
    orbitals: Mapping[str, Sequence[RadialOrbital]],
    waves: np.ndarray,
    dtype: type[np.complexfloating[Any, Any]] = np.complex128,
) -> np.ndarray:
    """Expand the atomic orbitals of all ions in the plane waves of one k-point.

    Parameters
    ----------
    crystal
        The ions.
    orbitals
        Radial orbitals of each element.
    waves
        k + G of the plane waves in units of the reciprocal lattice vectors, shape (n, 3).
    dtype
        Precision of the coefficients.

    Returns
    -------
    numpy.ndarray
        Coefficients, shape (orbitals, n), each with norm 1; those with most electrons in the free
        atom come first.
    """
    lmax = max((orbital.degree for own in orbitals.values() for orbital in own), default=0)
    q, angular = angular_parts(crystal.lattice, waves, lmax)
    shapes, fillings = {}, {}
    for symbol in set(crystal.symbols):
        shape = np.concatenate(
            [
                np.zeros((0, len(waves))),
                *(angular[own.degree] * own.transform(q) for own in orbitals[symbol]),
            ]
        )
        shape /= np.linalg.norm(shape, axis=1, keepdims=True)
        shapes[symbol] = shape.astype(dtype)
        fillings[symbol] = [
            own.filling for own in orbitals[symbol] for _ in range(2 * own.degree + 1)
        ]
    order = np.argsort(
        -np.round(np.concatenate([fillings[symbol] for symbol in crystal.symbols]), 6),
        kind="stable",
    )
    sums = np.empty((len(order), len(waves)), dtype)
    row_of, first = np.argsort(order), 0
    for symbol, position in zip(crystal.symbols, crystal.positions, strict=True):
        phase = np.exp(-2j * pi * (waves @ position)).astype(dtype)
        last = first + len(shapes[symbol])
        sums[row_of[first:last]] = shapes[symbol] * phase
        first = last
    return sums


def independent(sums: np.ndarray) -> np.ndarray:
    """Leave out what depends on orbitals before it to more than 99.75 %.

    Parameters
    ----------
    sums
        Coefficients, shape (orbitals, n), each with norm 1.

    Returns
    -------
    numpy.ndarray
        Shape (fewer, n).
    """
    parts = np.abs(np.diagonal(np.linalg.qr(sums.T, mode="r")))
    kept: np.ndarray = sums[: len(parts)][parts > _LEAST_PART]
    return kept
