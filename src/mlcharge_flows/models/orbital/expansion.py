"""What the network predicts for one crystal: expansions of density and magnetization."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch


class SpinExpansion(NamedTuple):
    """Predicted expansion of the magnetization of one crystal.

    Parameters
    ----------
    coefficients
        Of the Gaussians beside the spin densities of the ions, shape (sites, (lmax + 1)^2,
        exponents).
    signs
        Sign of the moment of each site: 1, -1 or 0, shape (sites,).
    sizes
        Size of the moment of each site, Bohr magnetons, shape (sites,).
    spreads
        Standard deviation of the sizes, Bohr magnetons, shape (sites,).
    """

    coefficients: torch.Tensor
    signs: torch.Tensor
    sizes: torch.Tensor
    spreads: torch.Tensor


class Expansion(NamedTuple):
    """Predicted expansion of the density change of one crystal in orbitals.

    Parameters
    ----------
    coefficients
        Of the Gaussians, shape (sites, (lmax + 1)^2, exponents).
    scales
        Factors of the exponents, shape (sites, lmax + 1, exponents), or None.
    species
        Species of each site, shape (sites,).
    n_ions
        Number of sites that are ions; they come first.
    spin
        Expansion of the magnetization, or None.
    """

    coefficients: torch.Tensor
    scales: torch.Tensor | None
    species: torch.Tensor
    n_ions: int
    spin: SpinExpansion | None = None

    @property
    def ions(self) -> torch.Tensor:
        """Element of each ion, shape (ions,)."""
        return self.species[: self.n_ions]

    def to(self, device: torch.device | str) -> Expansion:
        """Copy the expansion to a device.

        Parameters
        ----------
        device
            Such as ``cpu`` or ``cuda``.

        Returns
        -------
        Expansion
            The same there.
        """
        scales = None if self.scales is None else self.scales.to(device)
        spin = self.spin and SpinExpansion(*(tensor.to(device) for tensor in self.spin))
        species = self.species.to(device)
        return Expansion(self.coefficients.to(device), scales, species, self.n_ions, spin)
