r"""A PAW data set: identity, valence, projector channels, and the free atom it was made from.

The form factor of the free atom is the Fourier transform of its spherical pseudo valence density
with compensation charge,

.. math::
    f(q) = 4\pi \int_0^\infty r^2 \rho(r) \frac{\sin qr}{qr} \, dr , \qquad f(0) = Z_{val} .
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import pi, sqrt
from typing import TYPE_CHECKING

import numpy as np
from scipy.interpolate import CubicSpline

from mlcharge_flows.density.augmentation import blocks, n_occupancies
from mlcharge_flows.density.dataset_difference import free_atom_difference
from mlcharge_flows.density.dataset_fingerprint import earlier_fingerprint, fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterable

_MIN_MESH_POINTS = 4  # of a cubic spline

NEUTRALITY_TOLERANCE = 1e-6
"""Electrons by which NELECT may differ from that of neutral atoms."""


@dataclass(frozen=True, eq=False)
class PartialWaves:
    """Radial functions of a PAW data set inside its augmentation sphere.

    Parameters
    ----------
    r
        Radial mesh in angstrom, shape (n,).
    all_electron
        All-electron partial waves r phi(r), shape (channels, n), in angstrom^(-1/2).
    pseudo
        Pseudo partial waves r phi~(r), shape (channels, n), in angstrom^(-1/2).
    compensation
        Compensation charge g_L(r) of each L from 0, shape (l_max + 1, n), normalized to a unit
        multipole, in angstrom^(-3-L).

    References
    ----------
    P. E. Bloechl, Phys. Rev. B 50, 17953 (1994); G. Kresse and D. Joubert, Phys. Rev. B 59, 1758
    (1999).
    """

    r: np.ndarray
    all_electron: np.ndarray
    pseudo: np.ndarray
    compensation: np.ndarray


@dataclass(frozen=True, eq=False)
class IonicPotential:
    """What a PAW data set adds to the Hamiltonian of its ion.

    Parameters
    ----------
    local
        Transform of the local potential without its Coulomb tail -4 pi Z e^2 / q^2, in eV
        angstrom^3, on the mesh of the form factor, shape (n,).
    core
        Form factor of the pseudo core that exchange and correlation see, in electrons, on the same
        mesh, shape (n,).
    projector_reach
        Radius at which each projector ends, in angstrom, shape (channels,).
    projectors
        Radial parts p(r) at r = i reach / 100, shape (channels, 100), in angstrom^(-3/2).
    energies
        Reference energy of each partial wave, in eV, shape (channels,).
    """

    local: np.ndarray
    core: np.ndarray
    projector_reach: np.ndarray
    projectors: np.ndarray
    energies: np.ndarray


@dataclass(frozen=True, eq=False)
class PawDataset:
    """One PAW data set, as far as it is known; unknown parts are None.

    Equality compares all fields but the arrays; :meth:`matches` compares those, too.

    Parameters
    ----------
    symbol
        Element.
    titel
        TITEL of the POTCAR, such as ``PAW_PBE Ti_pv 07Sep2000``.
    zval
        Valence electrons; None where only an OUTCAR's list of data sets is known.
    channels
        l of each projector channel, in the order of the POTCAR.
    q_step
        Step of the uniform mesh of wave numbers q = 0, q_step, 2 q_step, .. of the form factor, in
        1/angstrom. It may be known without the form factor itself.
    form_factor
        Form factor f(q) of the free atom on that mesh, shape (n,), in electrons. It is rescaled so
        that f(0) is `zval`.
    atomic_occupancies
        Augmentation occupancies of the free atom (layout:
        :mod:`mlcharge_flows.density.augmentation`).
    lexch
        Exchange-correlation functional, as LEXCH of the POTCAR names it: PE, CA, 91, ..
    enmax
        Recommended plane-wave cutoff in eV.
    mass
        Atomic mass in unified mass units.
    sha256
        SHA-256 of the text of the data set, in hexadecimal.
    partial_waves
        Partial waves and compensation charges.
    ionic_potential
        Local potential, pseudo core, projectors and energies.
    free_atom_sha256
        Fingerprint of a data set whose free atom is not available.

    Raises
    ------
    ValueError
        The form factor has no mesh, fewer than four points, no electrons or values that are not
        finite; or the number of occupancies is not that of the channels.

    Examples
    --------
    >>> q = 0.1 * np.arange(200)
    >>> hydrogen = PawDataset(
    ...     "H", "PAW_PBE H test", 1.0, (0,), q_step=0.1, form_factor=np.exp(-(q**2))
    ... )
    >>> hydrogen.form_factor_at(np.array([0.0, 1.0, 50.0])).round(4).tolist()
    [1.0, 0.3679, 0.0]
    """

    symbol: str
    titel: str
    zval: float | None
    channels: tuple[int, ...]
    q_step: float | None = None
    form_factor: np.ndarray | None = None
    atomic_occupancies: np.ndarray | None = None
    lexch: str | None = None
    enmax: float | None = None
    mass: float | None = None
    sha256: str | None = None
    partial_waves: PartialWaves | None = None
    ionic_potential: IonicPotential | None = None
    free_atom_sha256: str | None = None

    def __repr__(self) -> str:
        channels = "".join("spdfgh"[degree] for degree in self.channels)
        return f"<PawDataset {self.titel!r}: {self.zval} electrons, channels {channels}>"

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))
        n = n_occupancies(self.channels)
        if self.atomic_occupancies is not None:
            occupancies = np.asarray(self.atomic_occupancies, dtype=float)
            if occupancies.shape != (n,):
                raise ValueError(
                    f"{self.symbol}: the free atom has {occupancies.size} augmentation "
                    f"occupancies, channels {self.channels} need {n}"
                )
            object.__setattr__(self, "atomic_occupancies", occupancies)
        if self.form_factor is not None:
            object.__setattr__(self, "form_factor", self._normalized(self.form_factor))

    def _normalized(self, form_factor: np.ndarray) -> np.ndarray:
        """Form factor with f(0) = ZVAL."""
        values = np.asarray(form_factor, dtype=float)
        if self.q_step is None or not self.q_step > 0.0:
            raise ValueError(f"{self.symbol}: the form factor needs the step of its mesh")
        if self.zval is None:
            raise ValueError(f"{self.symbol}: the form factor needs the number of electrons")
        if values.ndim != 1 or len(values) < _MIN_MESH_POINTS:
            raise ValueError(
                f"{self.symbol}: the form factor needs a mesh of {_MIN_MESH_POINTS} points or more"
            )
        if not np.all(np.isfinite(values)) or values[0] == 0.0:
            raise ValueError(f"{self.symbol}: the form factor is not finite or holds no electrons")
        if values[0] != self.zval:
            values = values * (self.zval / values[0])
            values[0] = self.zval
        return values

    @property
    def has_free_atom(self) -> bool:
        """Whether form factor and occupancies of the free atom are known."""
        return self.form_factor is not None and self.atomic_occupancies is not None

    @cached_property
    def fingerprint(self) -> str | None:
        """SHA-256 of TITEL, valence, channels and free atom; None if it is not known.

        Unlike the hash of the text, it does not depend on comments and spaces of the POTCAR, and is
        known for the data sets of packed runs, too.
        """
        return fingerprint(self) if self.has_free_atom else self.free_atom_sha256

    def has_fingerprint(self, given: str | None) -> bool:
        """Whether a fingerprint that was kept on file is that of this data set.

        Parameters
        ----------
        given
            Of a calibration or checkpoint; None if it is not known.

        Returns
        -------
        bool
            True, too, for the fingerprint of earlier files, which held all digits of the numbers.
        """
        if given is None or given == self.fingerprint:
            return given is not None
        return self.has_free_atom and given == earlier_fingerprint(self)

    def without_free_atom(self) -> PawDataset:
        """Leave out all but identity and fingerprint.

        Returns
        -------
        PawDataset
            Of which nothing but a hash tells of the free atom.
        """
        known = self.symbol, self.titel, self.zval, self.channels
        return PawDataset(*known, free_atom_sha256=self.fingerprint)

    @property
    def electrons_by_channel(self) -> dict[int, float]:
        """Electrons of the free atom in each channel, by its index.

        Raises
        ------
        ValueError
            The occupancies of the free atom are not known.
        """
        if self.atomic_occupancies is None:
            raise ValueError(f"{self.titel}: the occupancies of the free atom are not known")
        return {
            block.a: sqrt(4 * pi) * self.atomic_occupancies[block.offset]
            for block in blocks(self.channels)
            if block.a == block.b and block.L == 0
        }

    @property
    def q(self) -> np.ndarray:
        """Mesh of the form factor, shape (n,), in 1/angstrom.

        Raises
        ------
        ValueError
            The form factor is not known.
        """
        return np.arange(len(self._known_form_factor)) * (self.q_step or 0.0)

    @property
    def _known_form_factor(self) -> np.ndarray:
        if self.form_factor is None:
            raise ValueError(f"{self.titel}: the form factor of the free atom is not known")
        return self.form_factor

    @cached_property
    def _spline(self) -> CubicSpline:
        # f is an even function of q: its slope vanishes at 0.
        return CubicSpline(self.q, self._known_form_factor, bc_type=((1, 0.0), "not-a-knot"))

    def form_factor_at(self, q: np.ndarray) -> np.ndarray:
        """Interpolate the form factor by a cubic spline.

        Parameters
        ----------
        q
            Wave numbers in 1/angstrom, any shape.

        Returns
        -------
        numpy.ndarray
            Electrons, shape of `q`; 0 beyond the end of the mesh.

        Raises
        ------
        ValueError
            The form factor is not known.
        """
        # The mesh is uniform, so that each q finds its interval without a search.
        x, coefficients = self._spline.x, self._spline.c
        step = x[-1] / (len(x) - 1)
        interval = np.minimum((q / step).astype(np.int32), len(x) - 2)
        beyond = q - interval * step
        values: np.ndarray = coefficients[0].take(interval)
        for power in coefficients[1:]:
            values *= beyond
            values += power.take(interval)
        values[q > x[-1]] = 0.0
        return values

    def density_at(self, r: np.ndarray) -> np.ndarray:
        r"""Spherical density of the free atom at given distances, from its form factor.

        .. math:: \rho(r) = \frac{1}{2\pi^2} \int f(q) \frac{\sin qr}{qr} q^2 \, dq

        Parameters
        ----------
        r
            Distances in angstrom, shape (n,).

        Returns
        -------
        numpy.ndarray
            Electrons per cubic angstrom, shape (n,), by the trapezoidal rule on the mesh.

        Raises
        ------
        ValueError
            The form factor is not known.
        """
        q = self.q
        bessel = np.sinc(np.outer(r, q) / pi)
        integral: np.ndarray = np.trapezoid(self._known_form_factor * bessel * q**2, q)
        return integral / (2 * pi**2)

    @property
    def _identity(self) -> tuple[object, ...]:
        names = "symbol titel zval channels q_step lexch enmax mass sha256"
        return tuple(getattr(self, name) for name in names.split())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PawDataset) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    def matches(self, other: PawDataset) -> bool:
        """Whether densities made with two data sets may be trained on together.

        Parameters
        ----------
        other
            Another data set.

        Returns
        -------
        bool
            True if TITEL and channels are the same, and the free atoms, too, or neither is known.
        """
        if (self.titel, self.channels) != (other.titel, other.channels):
            return False
        if not (self.has_free_atom and other.has_free_atom):
            return self.has_free_atom == other.has_free_atom
        return self.zval == other.zval and free_atom_difference(self, other) is None


def n_electrons(datasets: Iterable[PawDataset]) -> float:
    """Count the valence electrons of neutral atoms.

    Parameters
    ----------
    datasets
        PAW data set of each ion.

    Returns
    -------
    float
        Sum of ZVAL over the ions.

    Raises
    ------
    ValueError
        The valence of a data set is not known.

    Examples
    --------
    >>> silicon = PawDataset("Si", "PAW_PBE Si test", 4.0, (0, 0, 1, 1))
    >>> n_electrons([silicon, silicon])
    8.0
    """
    total = 0.0
    for dataset in datasets:
        if dataset.zval is None:
            raise ValueError(f"{dataset.titel}: the number of valence electrons is not known")
        total += dataset.zval
    return total
