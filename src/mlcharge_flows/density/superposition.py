r"""The superposition of free atoms, VASP's default initial density (ICHARG = 2).

.. math::
    \rho(\mathbf r) = \frac{1}{V} \sum_{\mathbf G} e^{i \mathbf G \cdot \mathbf r}
        \sum_{s} f_s(|\mathbf G|) \sum_{j \in s} e^{-i \mathbf G \cdot \mathbf R_j}

with the form factor :math:`f_s` (electrons) of element s, :math:`f_s(0) = Z_{val}`.

References
----------
VASP wiki, ICHARG, https://www.vasp.at/wiki/index.php/ICHARG.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

from mlcharge_flows.density.density import Density
from mlcharge_flows.density.grid import half_frequencies

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.density.paw_dataset import PawDataset

_POINTS_AT_ONCE = 1 << 16
"""G vectors whose form and structure factors are held in memory."""


def superpose(
    crystal: Crystal,
    datasets: Mapping[str, PawDataset],
    shape: Sequence[int],
    comment: str = "superposition of atoms",
) -> Density:
    """Superpose free atoms on a grid, with their augmentation occupancies.

    The integral is the sum of the valence electrons because only G = 0 contributes to it and every
    form factor equals ZVAL there; nothing is rescaled afterwards. Components at the Nyquist
    frequency of an even grid are left out, as in VASP: a shifted atom cannot be represented there.

    Parameters
    ----------
    crystal
        The ions.
    datasets
        PAW data set of each element, with its free atom.
    shape
        The fine grid (NGXF, NGYF, NGZF).
    comment
        First line of the CHGCAR that will hold this density.

    Returns
    -------
    Density
        In electrons/angstrom^3, with augmentation occupancies.

    Raises
    ------
    ValueError
        The free atom of an element is not known, or the shape is not three positive numbers.
    """
    known = {symbol for symbol, dataset in datasets.items() if dataset.has_free_atom}
    missing = sorted(set(crystal.symbols) - known)
    if missing:
        raise ValueError(f"no atomic density for {', '.join(missing)}: add their PAW data sets")
    nx, ny, nz = (int(n) for n in shape)
    if min(nx, ny, nz) < 1:
        raise ValueError(f"grid {(nx, ny, nz)} has an axis without points")
    spectrum = np.zeros((nx, ny, nz // 2 + 1), dtype=complex)
    for symbol in dict.fromkeys(crystal.symbols):
        sites = crystal.positions[[s == symbol for s in crystal.symbols]]
        _add_element(spectrum, crystal.reciprocal, sites, datasets[symbol], nz)
    for axis, n in enumerate((nx, ny, nz)):
        if n % 2 == 0:
            np.moveaxis(spectrum, axis, 0)[n // 2] = 0.0
    total = fft.irfftn(spectrum, s=(nx, ny, nz), overwrite_x=True)
    total *= nx * ny * nz / crystal.volume
    augmentation = tuple(np.array(datasets[s].atomic_occupancies) for s in crystal.symbols)
    return Density(crystal, total, augmentation, comment=comment)


def _add_element(
    spectrum: np.ndarray, reciprocal: np.ndarray, sites: np.ndarray, dataset: PawDataset, nz: int
) -> None:
    """Add f(|G|) S(G) of one element to the half spectrum, some planes of G at a time."""
    hx, hy, hz = half_frequencies((*spectrum.shape[:2], nz))
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
        spectrum[some] += dataset.form_factor_at(q) * factors
