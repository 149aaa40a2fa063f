"""Magnetization of a sample as tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from pymatgen.core import Composition

from mlcharge_flows.density.magnetization import SpinDensity, superpose_moments
from mlcharge_flows.models.orbital.spin import SPIN_BASIS
from mlcharge_flows.training.magnetic_run import MagneticRun

if TYPE_CHECKING:
    from mlcharge_flows.models.orbital.g_vectors import GVectors
    from mlcharge_flows.models.orbital.spin import SpinPart
    from mlcharge_flows.training.sample import DensitySample

_LEAST_MOMENT = 0.1
"""Error per ion that counts as much in the loss as all of the magnetization, Bohr magnetons."""

_D_SHELL = 6.0
"""Decay of the square of a form factor of unit moment, 1/angstrom."""


@dataclass(frozen=True, eq=False)
class SpinTarget:
    """The part of a magnetization that the loss needs.

    Parameters
    ----------
    target
        Fourier coefficients of the magnetization, Bohr magnetons, shape (G vectors,).
    total
        Its integral, Bohr magnetons.
    norm
        Weighted square sum of the target over all G vectors, and of a small moment on each ion.
    size
        Mean absolute magnetization on the grid, and that of such moments, Bohr
        magnetons/angstrom^3.
    least_square
        Mean square of a coefficient of such moments at small G, squared Bohr magnetons.
    in_spheres
        Moment in the sphere of each ion, Bohr magnetons, shape (ions,).
    magmom
        MAGMOM of the run, Bohr magnetons, shape (ions,).
    """

    target: torch.Tensor
    total: torch.Tensor
    norm: torch.Tensor
    size: torch.Tensor
    least_square: float
    in_spheres: torch.Tensor
    magmom: torch.Tensor

    def thinned(self, chosen: torch.Tensor) -> SpinTarget:
        """Leave out G vectors.

        Parameters
        ----------
        chosen
            Indices of those that are kept.

        Returns
        -------
        SpinTarget
            With fewer coefficients.
        """
        return SpinTarget(
            self.target[chosen],
            self.total,
            self.norm,
            self.size,
            self.least_square,
            self.in_spheres,
            self.magmom,
        )

    def moments(self, spin: SpinPart, species: torch.Tensor) -> torch.Tensor:
        """Moments of the ions.

        Parameters
        ----------
        spin
            Knows the moment of an ion over that of its sphere.
        species
            Of each ion, shape (ions,).

        Returns
        -------
        torch.Tensor
            Bohr magnetons, shape (ions,).
        """
        return self.in_spheres * spin.factor[species]

    def signs(self, spin: SpinPart, species: torch.Tensor) -> torch.Tensor:
        """Signs of the moments: those of the result, and of MAGMOM where that is zero.

        Parameters
        ----------
        spin
            Knows which elements carry moments.
        species
            Of each site, shape (sites,).

        Returns
        -------
        torch.Tensor
            1, -1 or 0, shape (sites,).
        """
        found = self.moments(spin, species[: len(self.magmom)])
        return spin.signs(species, torch.where(found.abs() < _LEAST_MOMENT, self.magmom, found))


@dataclass(frozen=True, eq=False)
class SpinSample(SpinTarget):
    """A magnetization with the quantities that its errors and the closed form need.

    Parameters
    ----------
    target, total, norm, size, least_square, in_spheres, magmom
        See :class:`SpinTarget`.
    grid
        The magnetization, Bohr magnetons/angstrom^3.
    augmentation
        Its occupancies, ion after ion.
    total_augmentation
        Occupancies of the total density, ion after ion.
    superposed
        Sums of the absolute errors of what VASP superposes for MAGMOM: on the grid, and of the
        occupancies.
    run
        What the closed form is fitted to.
    """

    grid: torch.Tensor
    augmentation: torch.Tensor
    total_augmentation: torch.Tensor
    superposed: tuple[float, float]
    run: MagneticRun

    @classmethod
    def of(cls, sample: DensitySample, g_vectors: GVectors, weight: torch.Tensor) -> Self | None:
        """Prepare the magnetization of a sample.

        Parameters
        ----------
        sample
            A converged density.
        g_vectors
            G vectors of its grid, within the sphere.
        weight
            Of each G vector in the loss.

        Returns
        -------
        SpinSample or None
            None without a magnetization, MAGMOM or free atoms.
        """
        density = sample.density()
        magnetization, paw, crystal = density.magnetization, sample.paw, sample.crystal
        if magnetization is None or magnetization.augmentation is None or not sample.has_free_atoms:
            return None
        settings = (sample.encut, sample.settings.functional)
        formula = Composition("".join(crystal.symbols)).reduced_formula
        run = MagneticRun.of(sample.id, formula, settings, density, magnetization, paw, SPIN_BASIS)
        if run is None:
            return None
        atoms = {symbol: SpinDensity.of_free_atom(dataset) for symbol, dataset in paw.items()}
        guess = superpose_moments(crystal, magnetization.moments, atoms, sample.shape)
        grid, augmentation = magnetization.grid, np.concatenate(magnetization.augmentation)
        target = g_vectors.from_grid(torch.from_numpy(grid))
        least = _LEAST_MOMENT**2 * len(crystal)
        size = float(np.abs(grid).mean()) + _LEAST_MOMENT * len(crystal) / crystal.volume
        error = np.concatenate(guess.augmentation or ()) - augmentation
        dtype = torch.get_default_dtype()
        return cls(
            target,
            torch.tensor(float(grid.mean()) * crystal.volume, dtype=dtype),
            (weight * (target.abs() ** 2 + small_moments(least, g_vectors.q))).sum(),
            torch.tensor(size, dtype=dtype),
            least,
            torch.from_numpy(run.in_spheres).to(dtype),
            torch.from_numpy(np.array(magnetization.moments)).to(dtype),
            torch.from_numpy(grid).to(dtype),
            torch.from_numpy(augmentation).to(dtype),
            torch.from_numpy(np.concatenate(density.augmentation or ())).to(dtype),
            (float(np.abs(guess.grid - grid).sum()), float(np.abs(error).sum())),
            run.light(),
        )


def small_moments(least_square: float, q: torch.Tensor) -> torch.Tensor:
    """Mean square of the coefficients of small moments on all ions.

    Parameters
    ----------
    least_square
        At small G, squared Bohr magnetons.
    q
        Lengths |G|, 1/angstrom, shape (G vectors,).

    Returns
    -------
    torch.Tensor
        Shape (G vectors,); of d shells, roughly.
    """
    return least_square * torch.exp(-((q / _D_SHELL) ** 2))
