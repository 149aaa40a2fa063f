"""Initial orbitals of a run, written as a WAVECAR before VASP starts (ISTART = 1).

VASP begins with random orbitals, which need several steps at fixed density before they are worth a
new density (NELMDL = -5). Bloch sums of atomic orbitals are near the answer at once.

What decides whether VASP can use the file was read in its documentation and in its files, and tried
with the embedded executable; with VASP itself it was never tried.

References
----------
VASP wiki, ISTART, INIWAV, NELMDL and WAVECAR, https://www.vasp.at/wiki/index.php/ISTART.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from monty.json import MSONable
from pydantic import BaseModel, Field

from mlcharge_flows.density.atomic_orbitals import bloch_sums, radial_orbitals
from mlcharge_flows.io import file_sha256
from mlcharge_flows.settings import Settings
from mlcharge_flows.sources.source import SourceError
from mlcharge_flows.vasp.wavecar import KPointOrbitals, WavecarHeader
from mlcharge_flows.vasp.wavecar_writer import WavecarWriter

if TYPE_CHECKING:
    from pathlib import Path

    from mlcharge_flows.sources.run_inputs import RunInputs

FILE_NAME = "WAVECAR"
_GIGABYTE = 1e9


class InitialOrbitalsDocument(BaseModel):
    """Initial orbitals that were written: their file and source."""

    source: str = Field(description="Source of the orbitals: orbitals, ..")
    path: str | None = Field(None, description="The WAVECAR, absolute.")
    sha256: str | None = Field(None, description="SHA-256 of the file.")
    n_bands: int | None = Field(None, description="Bands in the file; VASP adds random ones.")
    n_kpoints: int | None = Field(None, description="Irreducible k-points.")
    preparation_time: float = Field(0.0, description="Wall time to make and write them, s.")
    failure: str | None = Field(None, description="Why there are none; None if there are.")


class OrbitalSource(ABC, MSONable):
    """A source of initial orbitals: a small frozen dataclass that writes the WAVECAR of a run."""

    word: ClassVar[str]
    """Name of the source on the command line and in documents."""

    @abstractmethod
    def write(self, inputs: RunInputs, folder: Path) -> InitialOrbitalsDocument:
        """Write the WAVECAR of a run.

        Parameters
        ----------
        inputs
            Inputs of the run.
        folder
            Where to write.

        Returns
        -------
        InitialOrbitalsDocument
            What was written.

        Raises
        ------
        SourceError
            The source has no orbitals for this run, or VASP could not use them.
        """

    def __str__(self) -> str:
        return self.word


@dataclass(frozen=True)
class AtomicOrbitals(OrbitalSource):
    """Bloch sums of the bound pseudo partial waves of the run's own PAW data sets.

    Those with most electrons in the free atom come first; VASP takes random orbitals for bands
    beyond their number. Both spins begin with the same orbitals, which the spin density separates.
    """

    word: ClassVar[str] = "orbitals"

    def write(self, inputs: RunInputs, folder: Path) -> InitialOrbitalsDocument:
        """Write the WAVECAR of a run, one k-point at a time.

        Parameters
        ----------
        inputs
            Inputs of the run.
        folder
            Where to write.

        Returns
        -------
        InitialOrbitalsDocument
            What was written.

        Raises
        ------
        SourceError
            The POTCAR has no partial waves, the run is not collinear, VASP's k-points or their
            order are not known, or the file would exceed the setting MAX_WAVECAR_SIZE.
        """
        began = perf_counter()
        if inputs.incar.get("LNONCOLLINEAR") or inputs.incar.get("LSORBIT"):
            raise SourceError("initial orbitals: a noncollinear run needs spinors")
        encut = inputs.encut
        if encut is None:
            raise SourceError("initial orbitals: neither INCAR nor POTCAR give ENCUT")
        kpoints = inputs.irreducible_kpoints
        if not kpoints.is_certain:
            raise SourceError(
                "initial orbitals: VASP matches k-points by their index, and the order in which it "
                "lists those of this mesh is not known; give an explicit list in KPOINTS"
            )
        crystal = inputs.crystal
        try:
            radial = {
                symbol: radial_orbitals(dataset) for symbol, dataset in inputs.datasets.items()
            }
        except ValueError as error:
            raise SourceError(f"initial orbitals: {error}") from None
        header = WavecarHeader(
            crystal.lattice, encut, len(kpoints.points), 1, int(inputs.incar.get("ISPIN", 1))
        )
        n_orbitals = sum(
            2 * orbital.degree + 1 for symbol in crystal.symbols for orbital in radial[symbol]
        )
        n_bands = min(n_orbitals, int(inputs.incar.get("NBANDS", n_orbitals)))
        if not n_bands:
            raise SourceError("initial orbitals: the PAW data sets have no bound states")
        writer = WavecarWriter(folder / FILE_NAME, replace(header, n_bands=n_bands), kpoints.points)
        largest = Settings().max_wavecar_size
        if writer.size > largest * _GIGABYTE:
            raise SourceError(
                f"initial orbitals: the WAVECAR would take {writer.size / _GIGABYTE:.3g} GB, the "
                f"setting MAX_WAVECAR_SIZE allows {largest:g}"
            )
        occupations = _occupations(inputs.n_electrons, n_bands)
        with writer as file:
            for _ in range(header.n_spins):
                for point in kpoints.points:
                    sums = bloch_sums(crystal, radial, header.plane_waves(point) + point)[:n_bands]
                    file.write(
                        KPointOrbitals(
                            point, np.zeros(n_bands), occupations, _completed(sums, n_bands)
                        )
                    )
        return InitialOrbitalsDocument(
            source=str(self),
            path=str(writer.path.absolute()),
            sha256=file_sha256(writer.path),
            n_bands=n_bands,
            n_kpoints=header.n_kpoints,
            preparation_time=perf_counter() - began,
        )


def _occupations(n_electrons: float, n_bands: int) -> np.ndarray:
    """Occupations, 0 to 1 per spin, that fill the bands in their order; VASP makes its own."""
    occupations: np.ndarray = np.clip(n_electrons / 2 - np.arange(n_bands), 0.0, 1.0)
    return occupations


def _completed(sums: np.ndarray, n_bands: int) -> np.ndarray:
    """Orbitals with random ones in place of those that depend on others at this k-point.

    Returns
    -------
    numpy.ndarray
        Shape (bands, plane waves).
    """
    rng = np.random.default_rng(len(sums))
    shape = (n_bands - len(sums), sums.shape[1])
    random = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    # Weights as of the atomic orbitals: smooth ones, with low kinetic energy.
    random *= np.linalg.norm(sums, axis=0)
    norms = np.linalg.norm(random, axis=1, keepdims=True)
    return np.concatenate([sums, random / np.where(norms, norms, 1.0)])
