"""One finished run as a model learns from it: its density as a difference from atoms."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Self

import numpy as np

from mlcharge_flows.density.augmentation import n_occupancies
from mlcharge_flows.density.density import Density
from mlcharge_flows.density.metrics import nmae
from mlcharge_flows.density.paw_dataset import n_electrons
from mlcharge_flows.density.superposition import superpose
from mlcharge_flows.training.quantized import Quantized, on_grid, quantize, quantize_waves, waves

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.density.paw_dataset import PawDataset

SHARE = 1e-3
"""Bound of the packing error, relative to the difference from atoms (L1 norms)."""
SHARE_WITHOUT_ATOMS = 5e-5
"""The same where no atoms are known, relative to the density itself."""


@dataclass(frozen=True, eq=False)
class Origin:
    """Where a record comes from.

    Parameters
    ----------
    id
        Identifier of the material, unique in a store.
    protocol
        Hash of the settings that all runs of a store share.
    source
        File or folder that it came from.
    split
        ``train``, ``validation``, ``recalled`` of what is no run but a prediction, or empty.
    """

    id: str
    protocol: str
    source: str = ""
    split: str = ""


@dataclass(frozen=True, eq=False)
class Record:
    """A converged density with its start, and what the run from atoms took.

    Parameters
    ----------
    origin
        Where it comes from.
    crystal
        The ions.
    shape
        VASP's fine grid.
    n_electrons
        NELECT.
    energy
        E0 of the run, eV.
    energies
        Free energy of each electronic step of the run from atoms, eV; empty if not known.
    encut
        Plane-wave cut-off of the run, eV; None if not known.
    start_error
        NMAE of the superposition's density, percent; NaN if the atoms are not known.
    paw
        PAW data set of each element.
    packed_total
        Plane waves of the difference from the superposition of atoms, electrons per cubic
        angstrom; of the density itself if there are no atoms.
    packed_occupancies
        The same for the occupancies of all ions, one after the other.
    """

    origin: Origin
    crystal: Crystal
    shape: tuple[int, int, int]
    n_electrons: float
    energy: float
    energies: tuple[float, ...]
    encut: float | None
    start_error: float
    paw: Mapping[str, PawDataset]
    packed_total: Quantized
    packed_occupancies: Quantized

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
        share: float | None = None,
    ) -> Self:
        """Pack a density; of a spin-polarized one, only the total is kept.

        Parameters
        ----------
        density
            Converged density with occupancies.
        paw
            PAW data set of each of its elements.
        origin, energy, energies, encut
            As for the record.
        n_electrons
            NELECT; that of the atoms, or what the density integrates to, if not given.
        share
            Bound of the packing error; :data:`SHARE`, or :data:`SHARE_WITHOUT_ATOMS`.

        Raises
        ------
        ValueError
            There are no occupancies, or they do not fit the channels.
        """
        crystal = density.crystal
        if density.augmentation is None:
            raise ValueError("the density has no occupancies")
        for symbol, record in zip(crystal.symbols, density.augmentation, strict=True):
            if len(record) != (expected := n_occupancies(paw[symbol].channels)):
                raise ValueError(
                    f"{symbol} has {len(record)} occupancies, {paw[symbol].titel} needs {expected}"
                )
        start = _superposed(crystal, paw, density.shape)
        total, occupancies = density.total, np.concatenate(density.augmentation)
        if start is not None and start.augmentation is not None:
            total = total - start.total
            occupancies = occupancies - np.concatenate(start.augmentation)
        if share is None:
            share = SHARE_WITHOUT_ATOMS if start is None else SHARE
        if n_electrons is None:
            n_electrons = (start or density).n_electrons
        return cls(
            origin=origin,
            crystal=crystal,
            shape=density.shape,
            n_electrons=n_electrons,
            energy=energy,
            energies=energies,
            encut=encut,
            start_error=float("nan") if start is None else nmae(start.total, density.total),
            paw={symbol: paw[symbol] for symbol in sorted(set(crystal.symbols))},
            packed_total=quantize_waves(total, share),
            packed_occupancies=quantize(occupancies, share),
        )

    @property
    def id(self) -> str:
        """Identifier of the material."""
        return self.origin.id

    @property
    def n_total(self) -> int:
        """Electronic steps of the run from atoms; 0 where not known."""
        return len(self.energies)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over ions and packed density, in hexadecimal."""
        digest = sha256(repr((self.crystal.symbols, self.shape)).encode())
        for array in (self.crystal.lattice, self.crystal.positions):
            digest.update(np.ascontiguousarray(array, dtype="<f8").data)
        for packed in (self.packed_total, self.packed_occupancies):
            digest.update(repr(packed.step).encode())
            digest.update(np.ascontiguousarray(packed.integers, dtype="<i4").data)
        return digest.hexdigest()

    def start(self) -> Density | None:
        """Superpose the free atoms: where the run began. None if the atoms are not known."""
        return _superposed(self.crystal, self.paw, self.shape)

    def waves(self) -> np.ndarray:
        """Half spectrum of what is packed, shape (nx, ny, nz // 2 + 1), electrons/angstrom^3.

        In FFT order, the first being the mean. The number of electrons is exact by this mean.
        """
        coefficients = waves(self.packed_total, self.shape)
        held = (
            n_electrons(self.paw[symbol] for symbol in self.crystal.symbols)
            if self.has_atoms
            else 0.0
        )
        coefficients[0, 0, 0] = (self.n_electrons - held) / self.crystal.volume
        return coefficients

    def difference(self) -> Density:
        """What is packed: converged less superposed density and occupancies.

        The density itself if the atoms are not known.
        """
        lengths = [n_occupancies(self.paw[symbol].channels) for symbol in self.crystal.symbols]
        flat = self.packed_occupancies.values
        records = tuple(flat[i:j] for i, j in pairwise(accumulate(lengths, initial=0)))
        total = on_grid(self.waves(), self.shape)
        return Density(self.crystal, total, records, comment=self.id)

    def density(self) -> Density:
        """Converged density with occupancies; integrates to NELECT."""
        difference, start = self.difference(), self.start()
        if start is None or start.augmentation is None or difference.augmentation is None:
            return difference
        records = tuple(
            a + b for a, b in zip(start.augmentation, difference.augmentation, strict=True)
        )
        total = start.total + difference.total
        return Density(self.crystal, total, records, comment=self.id)

    @property
    def has_atoms(self) -> bool:
        """Whether the free atom of every element is known."""
        return all(self.paw[symbol].has_free_atom for symbol in self.crystal.symbols)


def _superposed(
    crystal: Crystal, paw: Mapping[str, PawDataset], shape: tuple[int, int, int]
) -> Density | None:
    known = all(paw[symbol].has_free_atom for symbol in crystal.symbols)
    return superpose(crystal, paw, shape) if known else None
