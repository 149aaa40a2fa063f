r"""The density of overlapping free atoms: the default start (ICHARG=2) as an explicit density.

.. math::
    \rho(\mathbf r) = \frac{1}{V} \sum_{\mathbf G} e^{i \mathbf G \cdot \mathbf r}
        \sum_{s} f_s(|\mathbf G|) \sum_{j \in s} e^{-i \mathbf G \cdot \mathbf R_j}

with the form factor :math:`f_s` (electrons) of element s, :math:`f_s(0) = Z_{val}`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft
from scipy.interpolate import CubicSpline

from mlcharge_flows.density.density import Density
from mlcharge_flows.density.fourier import half_frequencies
from mlcharge_flows.density.occupancies import record_length

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlcharge_flows.density.crystal import Crystal

_POINTS_AT_ONCE = 1 << 16
"""Waves of which form and structure factors are held in memory."""


@dataclass(frozen=True, eq=False)
class AtomicStart:
    """A free atom as its PAW data set describes it.

    Parameters
    ----------
    symbol
        Element.
    zval
        Valence electrons.
    q
        Uniform mesh of wave numbers from 0, shape (n,), in 1/angstrom.
    form_factor
        Fourier transform of the radial pseudo valence density (with its compensation charge) on
        that mesh, in electrons. It is rescaled so that its value at q = 0 is `zval`.
    channels
        l of each projector channel.
    record
        On-site occupancies of the free atom (see :mod:`mlcharge_flows.density.occupancies`).
    """

    symbol: str
    zval: float
    q: np.ndarray
    form_factor: np.ndarray
    channels: tuple[int, ...]
    record: np.ndarray
    _spline: CubicSpline = field(init=False, repr=False)

    def __post_init__(self) -> None:
        q = np.asarray(self.q, dtype=float)
        form_factor = np.asarray(self.form_factor, dtype=float)
        if q.ndim != 1 or q.shape != form_factor.shape or len(q) < 4 or q[0] != 0.0:
            raise ValueError(f"{self.symbol}: the form factor needs a mesh of q that starts at 0")
        if not np.allclose(q, np.linspace(0.0, q[-1], len(q)), rtol=0.0, atol=1e-6 * q[1]):
            raise ValueError(f"{self.symbol}: the mesh of q of the form factor is not uniform")
        if not np.all(np.isfinite(form_factor)) or form_factor[0] == 0.0:
            raise ValueError(f"{self.symbol}: the form factor is not finite or holds no electrons")
        if np.shape(self.record) != (record_length(self.channels),):
            raise ValueError(
                f"{self.symbol}: the occupancy record has {np.size(self.record)} values, channels "
                f"{self.channels} need {record_length(self.channels)}"
            )
        form_factor = form_factor * (self.zval / form_factor[0])
        object.__setattr__(self, "q", q)
        object.__setattr__(self, "form_factor", form_factor)
        # An even function of q: its slope vanishes at 0.
        spline = CubicSpline(q, form_factor, bc_type=((1, 0.0), "not-a-knot"))
        object.__setattr__(self, "_spline", spline)

    def at(self, q: np.ndarray) -> np.ndarray:
        """Interpolate the form factor.

        Parameters
        ----------
        q
            Wave numbers in 1/angstrom, any shape.

        Returns
        -------
        numpy.ndarray
            Electrons; 0 beyond the end of the mesh.
        """
        # The mesh is uniform, so that each q finds its interval without a search.
        step = self.q[-1] / (len(self.q) - 1)
        interval = np.minimum((q / step).astype(np.intp), len(self.q) - 2)
        beyond = q - interval * step
        cubic, square, linear, constant = (c[interval] for c in self._spline.c)
        values = ((cubic * beyond + square) * beyond + linear) * beyond + constant
        return np.where(q <= self.q[-1], values, 0.0)


def superpose(
    crystal: Crystal,
    atoms: Mapping[str, AtomicStart],
    shape: Sequence[int],
    comment: str = "superposition of atoms",
) -> Density:
    """Superpose free atoms on a grid, with their on-site occupancies.

    The integral is the sum of the valence electrons because only G = 0 contributes to it and every
    form factor equals ZVAL there; nothing is rescaled afterwards. Waves at the Nyquist frequency
    of an even grid are left out, as in VASP: a shifted atom cannot be represented there.

    Parameters
    ----------
    crystal
        The ions.
    atoms
        One free atom per element.
    shape
        The fine grid (NGXF, NGYF, NGZF).
    comment
        First line of the CHGCAR that will hold this density.

    Returns
    -------
    Density
        In e/angstrom^3, with one occupancy record per ion.

    Raises
    ------
    ValueError
        If an element of the crystal has no atom, or the shape is not three positive numbers.
    """
    missing = sorted(set(crystal.symbols) - set(atoms))
    if missing:
        raise ValueError(f"no atomic density for {', '.join(missing)}: add their PAW data sets")
    nx, ny, nz = (int(n) for n in shape)
    if min(nx, ny, nz) < 1:
        raise ValueError(f"grid {(nx, ny, nz)} has an axis without points")
    waves = np.zeros((nx, ny, nz // 2 + 1), dtype=complex)
    for symbol in dict.fromkeys(crystal.symbols):
        sites = crystal.positions[[s == symbol for s in crystal.symbols]]
        _add_element(waves, crystal.reciprocal, sites, atoms[symbol], nz)
    for axis, n in enumerate((nx, ny, nz)):
        if n % 2 == 0:
            np.moveaxis(waves, axis, 0)[n // 2] = 0.0
    total = fft.irfftn(waves, s=(nx, ny, nz), overwrite_x=True)
    total *= nx * ny * nz / crystal.volume
    records = tuple(np.array(atoms[symbol].record, dtype=float) for symbol in crystal.symbols)
    return Density(crystal, total, records, comment=comment)


def _add_element(
    waves: np.ndarray, reciprocal: np.ndarray, sites: np.ndarray, atom: AtomicStart, nz: int
) -> None:
    """Add f(|G|) S(G) of one element to the half spectrum, some planes of G at a time."""
    hx, hy, hz = half_frequencies((*waves.shape[:2], nz))
    # The structure factor of a plane is one matrix product over the sites: the phases separate.
    phase_x, phase_y, phase_z = (
        np.exp(-2j * np.pi * np.outer(h, sites[:, axis])) for axis, h in enumerate((hx, hy, hz))
    )
    metric = reciprocal @ reciprocal.T
    plane = (
        metric[1, 1] * hy[:, None] ** 2
        + metric[2, 2] * hz[None, :] ** 2
        + 2 * metric[1, 2] * hy[:, None] * hz[None, :]
    )
    slope = 2 * (metric[0, 1] * hy[:, None] + metric[0, 2] * hz[None, :])
    n_planes = max(_POINTS_AT_ONCE // plane.size, 1)
    for first in range(0, len(hx), n_planes):
        some = slice(first, first + n_planes)
        h = hx[some, None, None]
        q = np.sqrt(np.maximum(plane + slope * h + metric[0, 0] * h * h, 0.0))
        factors = (phase_x[some, None] * phase_y) @ phase_z.T
        waves[some] += atom.at(q) * factors
