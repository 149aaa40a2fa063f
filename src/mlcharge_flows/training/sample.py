"""A sample of a data set: one converged density as its difference from superposed free atoms."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Self

import numpy as np

from mlcharge_flows.density.augmentation import n_occupancies
from mlcharge_flows.density.density import Density, nmae, superpose
from mlcharge_flows.density.paw_dataset import n_electrons as count_electrons
from mlcharge_flows.training.origin import Origin, RunSettings
from mlcharge_flows.training.packed_magnetization import PackedMagnetization
from mlcharge_flows.training.quantization import (
    Quantized,
    coefficients_of,
    quantize,
    quantize_grid,
    to_grid,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.density.density import Magnetization
    from mlcharge_flows.density.paw_dataset import PawDataset

TOLERANCE = 1e-3
"""Bound of the packing error relative to the difference from the free atoms (L1 norms)."""
TOLERANCE_WITHOUT_ATOMS = 5e-5
"""Bound of the packing error relative to the density itself, if no free atoms are known."""


@dataclass(frozen=True, eq=False)
class DensitySample:
    """A converged density, packed, and the electronic steps of its run.

    Parameters
    ----------
    origin
        Identity of the sample.
    crystal
        The ions.
    shape
        VASP's fine grid (NGXF, NGYF, NGZF).
    n_electrons
        NELECT.
    energy
        Energy extrapolated to sigma -> 0 in the ionic step of this density, eV; NaN if not known.
    energies
        Free energy of each electronic step of this ionic step, eV; empty if not known.
    encut
        Plane-wave cutoff, eV; None if not known.
    baseline_nmae
        NMAE of the superposition of free atoms, percent; NaN if the atoms are not known.
    paw
        PAW data set of each element.
    packed_total
        G-vector coefficients of the density minus the superposition, electrons/angstrom^3; of the
        density itself if the free atoms are not known.
    packed_augmentation
        The same of the augmentation occupancies, ion after ion.
    settings
        Settings of the run that the density depends on, as far as they are known.
    packed_magnetization
        Converged magnetization with the MAGMOM of the run; None without spin polarization, or if
        it was not kept.
    """

    origin: Origin
    crystal: Crystal
    shape: tuple[int, int, int]
    n_electrons: float
    energy: float
    energies: tuple[float, ...]
    encut: float | None
    baseline_nmae: float
    paw: Mapping[str, PawDataset]
    packed_total: Quantized
    packed_augmentation: Quantized
    settings: RunSettings = field(default_factory=RunSettings)
    packed_magnetization: PackedMagnetization | None = None

    @classmethod
    def pack(
        cls,
        density: Density,
        paw: Mapping[str, PawDataset],
        origin: Origin,
        energy: float = float("nan"),
        energies: tuple[float, ...] = (),
        encut: float | None = None,
        n_electrons: float | None = None,
        tolerance: float | None = None,
    ) -> Self:
        """Pack a density, with its magnetization if it has one.

        Parameters
        ----------
        density
            Converged density with augmentation occupancies.
        paw
            PAW data set of each of its elements.
        origin
            Identity of the sample.
        energy
            Energy extrapolated to sigma -> 0, eV.
        energies
            Free energy of each electronic step, eV.
        encut
            Plane-wave cutoff, eV.
        n_electrons
            NELECT; by default the valence electrons of the atoms, or the integral of the density.
        tolerance
            Bound of the packing error of the density, relative; by default :data:`TOLERANCE`, or
            :data:`TOLERANCE_WITHOUT_ATOMS`.

        Returns
        -------
        DensitySample
            The packed density; settings of the run are not known.

        Raises
        ------
        ValueError
            There are no augmentation occupancies, or they do not fit the channels.
        """
        crystal = density.crystal
        if density.augmentation is None:
            raise ValueError("the density has no augmentation occupancies")
        for symbol, occupancies in zip(crystal.symbols, density.augmentation, strict=True):
            expected = n_occupancies(paw[symbol].channels)
            if len(occupancies) != expected:
                raise ValueError(
                    f"{symbol} has {len(occupancies)} augmentation occupancies, "
                    f"{paw[symbol].titel} needs {expected}"
                )
        superposition = _superpose(crystal, paw, density.shape)
        total, augmentation = density.total, np.concatenate(density.augmentation)
        if superposition is not None and superposition.augmentation is not None:
            total = total - superposition.total
            augmentation = augmentation - np.concatenate(superposition.augmentation)
        if tolerance is None:
            tolerance = TOLERANCE_WITHOUT_ATOMS if superposition is None else TOLERANCE
        if n_electrons is None:
            n_electrons = (superposition or density).n_electrons
        baseline = float("nan")
        if superposition is not None:
            baseline = nmae(superposition.total, density.total)
        spin = density.magnetization
        return cls(
            origin=origin,
            crystal=crystal,
            shape=density.shape,
            n_electrons=n_electrons,
            energy=energy,
            energies=energies,
            encut=encut,
            baseline_nmae=baseline,
            paw={symbol: paw[symbol] for symbol in sorted(set(crystal.symbols))},
            packed_total=quantize_grid(total, tolerance),
            packed_augmentation=quantize(augmentation, tolerance),
            packed_magnetization=None
            if spin is None
            else PackedMagnetization.pack(spin, crystal.volume),
        )

    @property
    def id(self) -> str:
        """Identifier of the material."""
        return self.origin.id

    @property
    def n_total(self) -> int:
        """Number of electronic steps of this ionic step; 0 if not known."""
        return len(self.energies)

    @property
    def has_free_atoms(self) -> bool:
        """Whether the free atom of every element is known."""
        return all(self.paw[symbol].has_free_atom for symbol in self.crystal.symbols)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of ions and packed density, hexadecimal."""
        digest = sha256(repr((self.crystal.symbols, self.shape)).encode())
        for array in (self.crystal.lattice, self.crystal.positions):
            digest.update(np.ascontiguousarray(array, dtype="<f8").data)
        parts = [self.packed_total, self.packed_augmentation]
        if (spin := self.packed_magnetization) is not None:
            parts += [spin.grid, spin.augmentation]
        for packed in parts:
            digest.update(repr(packed.step).encode())
            digest.update(np.ascontiguousarray(packed.integers, dtype="<i4").data)
        return digest.hexdigest()

    def superposition(self) -> Density | None:
        """Superposition of the free atoms, the initial density of the run.

        Returns
        -------
        Density or None
            With augmentation occupancies; None if the free atoms are not known.
        """
        return _superpose(self.crystal, self.paw, self.shape)

    def coefficients(self) -> np.ndarray:
        """G-vector coefficients of the packed density.

        The coefficient at G = 0 makes the number of electrons exact.

        Returns
        -------
        numpy.ndarray
            Half spectrum in FFT order, shape (nx, ny, nz // 2 + 1), electrons/angstrom^3; that at
            G = 0 is the mean.
        """
        coefficients = coefficients_of(self.packed_total, self.shape)
        electrons = self.n_electrons
        if self.has_free_atoms:
            electrons -= count_electrons(self.paw[symbol] for symbol in self.crystal.symbols)
        coefficients[0, 0, 0] = electrons / self.crystal.volume
        return coefficients

    def difference(self) -> Density:
        """Converged minus superposed density and augmentation occupancies.

        Returns
        -------
        Density
            The density itself if the free atoms are not known.
        """
        flat = self.packed_augmentation.values
        augmentation = tuple(
            flat[i:j] for i, j in pairwise(accumulate(self._n_occupancies, initial=0))
        )
        total = to_grid(self.coefficients(), self.shape)
        return Density(self.crystal, total, augmentation, comment=self.id)

    def magnetization(self) -> Magnetization | None:
        """Converged magnetization, with the MAGMOM of the run.

        Returns
        -------
        Magnetization or None
            None without spin polarization, or if it was not kept.
        """
        spin = self.packed_magnetization
        return None if spin is None else spin.unpack(self.shape, self._n_occupancies)

    @property
    def _n_occupancies(self) -> list[int]:
        """Number of augmentation occupancies of each ion."""
        return [n_occupancies(self.paw[symbol].channels) for symbol in self.crystal.symbols]

    def density(self) -> Density:
        """Converged density with augmentation occupancies, and magnetization if it has one.

        Returns
        -------
        Density
            It integrates to NELECT.
        """
        difference, superposition = self.difference(), self.superposition()
        magnetization = self.magnetization()
        if (
            superposition is None
            or superposition.augmentation is None
            or difference.augmentation is None
        ):
            return replace(difference, magnetization=magnetization)
        augmentation = tuple(
            a + b for a, b in zip(superposition.augmentation, difference.augmentation, strict=True)
        )
        total = superposition.total + difference.total
        return Density(self.crystal, total, augmentation, magnetization, comment=self.id)


def _superpose(
    crystal: Crystal, paw: Mapping[str, PawDataset], shape: tuple[int, int, int]
) -> Density | None:
    known = all(paw[symbol].has_free_atom for symbol in crystal.symbols)
    return superpose(crystal, paw, shape) if known else None
