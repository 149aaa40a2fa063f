"""Sums over sites at G vectors: direct ones for few sites, by Fourier transforms for many."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlcharge_flows.models.orbital.fourier_box import FourierBox
from mlcharge_flows.models.orbital.g_vectors import GVectors

if TYPE_CHECKING:
    from mlcharge_flows.density.crystal import Crystal

MAX_DIRECT_SITES = 12
"""Sites up to which sums over sites and G vectors are direct."""


def g_vectors_for_sites(
    crystal: Crystal, shape: tuple[int, int, int], g_max: float, lmax: int, n_sites: int
) -> GVectors | FourierBox:
    """G vectors of a grid, with the faster sums over sites whose Gaussians are all the same.

    Parameters
    ----------
    crystal
        The cell.
    shape
        The fine grid (NGXF, NGYF, NGZF).
    g_max
        Radius of the sphere, 1/angstrom.
    lmax
        Highest degree of the harmonics.
    n_sites
        Number of sites. Up to :data:`MAX_DIRECT_SITES` the sum over all pairs of sites and G
        vectors is faster than Fourier transforms.

    Returns
    -------
    GVectors or FourierBox
        On the CPU.
    """
    if n_sites > MAX_DIRECT_SITES:
        return FourierBox.of(crystal, shape, g_max)
    return GVectors.of(crystal, shape, g_max, lmax)
