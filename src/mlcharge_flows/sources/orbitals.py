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

import shutil
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from monty.json import MSONable
from typing_extensions import override

from mlcharge_flows.errors import MlchargeError, one_line
from mlcharge_flows.file_kinds import not_a_file
from mlcharge_flows.io import UNREADABLE, compression, open_bytes, plain_or_compressed
from mlcharge_flows.sources.initial_wavecar import (
    FILE_NAME,
    InitialOrbitalsDocument,
    write_initial_wavecar,
)
from mlcharge_flows.sources.source import SourceError
from mlcharge_flows.vasp.wavecar import KPointOrbitals, WavecarError, WavecarReader

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlcharge_flows.sources.run_inputs import RunInputs
    from mlcharge_flows.vasp.irreducible_kpoints import IrreducibleKPoints

WORD = "orbitals"
"""Initial orbitals on the command line, behind a plus sign."""

_SAME_KPOINT = 1e-4
_SAME_LATTICE = 0.05
"""Largest difference of lattice vectors of the same structure, relaxed or not, in angstrom."""


class OrbitalSource(ABC, MSONable):
    """A source of initial orbitals: a small frozen dataclass that writes the WAVECAR of a run."""

    word: ClassVar[str]
    """Name of the source in documents and reports."""

    @property
    def argument(self) -> str:
        """What stands behind ``orbitals@`` on the command line; empty for the default."""
        return ""

    @property
    def identity(self) -> tuple[str, str]:
        """Kind, and what determines the orbitals: equal for one source under several names."""
        return self.word, self.argument

    def check(self) -> None:
        """See that the files of the source are there, before anything runs.

        Raises
        ------
        SourceError
            A file or folder is missing.
        """

    def document(self, inputs: RunInputs, folder: Path) -> InitialOrbitalsDocument:
        """Write the WAVECAR of a run, or tell why there is none.

        Parameters
        ----------
        inputs
            Inputs of the run.
        folder
            Where to write.

        Returns
        -------
        InitialOrbitalsDocument
            What was written, or the failure in one line: the run then begins with random orbitals.
        """
        began, cpu_before = perf_counter(), process_time()
        try:
            written = self.write(inputs, folder)
            written.preparation_time = perf_counter() - began
            written.preparation_cpu_time = process_time() - cpu_before
            return written
        except (MlchargeError, ValueError, OSError, KeyError) as error:
            return InitialOrbitalsDocument(source=self.word, failure=one_line(error))

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
        return f"{WORD}@{self.argument}" if self.argument else WORD


@dataclass(frozen=True)
class FromWavecar(OrbitalSource):
    """The orbitals of a WAVECAR of the same k-points, such as that of a run of the same crystal.

    VASP adapts them to another cutoff and a slightly different cell, and takes random orbitals for
    bands that the file lacks.

    Parameters
    ----------
    path
        The WAVECAR, plain or compressed, or the folder of its run. Jobs run in folders of their
        own: give an absolute path.
    """

    path: str
    word: ClassVar[str] = "wavecar"

    @property
    def argument(self) -> str:
        """Path of the file or of the folder."""
        return self.path

    @property
    def identity(self) -> tuple[str, str]:
        """Kind, and the path of the file without links and dots."""
        return self.word, str(self._file.resolve())

    @property
    def _file(self) -> Path:
        path = Path(self.path)
        return plain_or_compressed(path / FILE_NAME if path.is_dir() else path)

    @override
    def check(self) -> None:
        if reason := not_a_file(self._file):
            missing = f"has no {FILE_NAME}" if Path(self.path).is_dir() else reason
            raise SourceError(f"{self}: {missing}")

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
            The file cannot be read, is of another cell, spin or k-points, of the other kind of
            executable (Gamma-only or not), or exceeds the setting MAX_WAVECAR_SIZE.
        """
        kpoints, path = kpoints_of(inputs), self._file
        try:
            if compression(path) is None:
                return self._rewrite(path, inputs, kpoints, folder)
            with TemporaryDirectory(prefix=".mlcharge-", dir=folder) as unpacked:
                plain = Path(unpacked, FILE_NAME)
                with open_bytes(path) as content, plain.open("wb") as file:
                    shutil.copyfileobj(content, file)
                return self._rewrite(plain, inputs, kpoints, folder)
        except WavecarError as error:
            raise SourceError(f"initial orbitals: {error}") from None
        except SourceError:
            raise
        except UNREADABLE as error:
            reason = getattr(error, "strerror", None) or one_line(error)
            raise SourceError(f"{path}: cannot be read ({reason})") from None

    def _rewrite(
        self, path: Path, inputs: RunInputs, kpoints: IrreducibleKPoints, folder: Path
    ) -> InitialOrbitalsDocument:
        with WavecarReader(path) as file:
            header = file.header
            if difference := _difference(file, inputs, kpoints.points):
                raise SourceError(f"initial orbitals: {self.path}: {difference}")
            written = replace(header, fermi_level=0.0, record_length=None)

            def orbitals() -> Iterable[KPointOrbitals]:
                for spin in range(header.n_spins):
                    for k, point in enumerate(stored):
                        found = file.read(k, spin)
                        yield replace(found, kpoint=point, energies=np.zeros(header.n_bands))

            stored = np.array([file.read_kpoint(k)[1] for k in range(header.n_kpoints)])
            return write_initial_wavecar(folder, written, stored, orbitals(), self.word)


def kpoints_of(inputs: RunInputs) -> IrreducibleKPoints:
    """K-points of a run, in VASP's order.

    Parameters
    ----------
    inputs
        Inputs of the run.

    Returns
    -------
    IrreducibleKPoints
        Whose order is certain.

    Raises
    ------
    SourceError
        The order is not known, the mesh breaks the symmetry, or the run is not collinear.
    """
    if inputs.incar.get("LNONCOLLINEAR") or inputs.incar.get("LSORBIT"):
        raise SourceError("initial orbitals: a noncollinear run needs spinors")
    kpoints = inputs.irreducible_kpoints
    if not kpoints.is_symmetric:
        raise SourceError(
            "initial orbitals: the k-point mesh lacks rotations of the crystal, and VASP changes "
            "such a mesh; choose one that has them, such as a Gamma-centered one with equal "
            "divisions along equivalent axes, or list its points"
        )
    if not kpoints.is_certain:
        raise SourceError(
            "initial orbitals: VASP matches k-points by their index, and the order in which it "
            "lists those of this mesh is not known; list the points (explicit_kpoints=True, or in "
            "KPOINTS), without tetrahedra (ISMEAR = -5 or -4)"
        )
    return kpoints


def _difference(file: WavecarReader, inputs: RunInputs, points: np.ndarray) -> str | None:
    """In what a WAVECAR is not of a run; None if VASP can use it."""
    header = file.header
    if header.n_spins != inputs.incar.get("ISPIN", 1):
        return f"is of a run with ISPIN = {header.n_spins}"
    if bool(header.half) != inputs.gamma_only:
        return f"is of the {'Gamma-only' if header.half else 'standard'} version of VASP"
    if np.abs(header.lattice - inputs.crystal.lattice).max() > _SAME_LATTICE:
        return "is of another cell"
    if header.n_kpoints != len(points):
        return f"has {header.n_kpoints} k-points, the run {len(points)}"
    for k, point in enumerate(points):
        if np.abs(file.read_kpoint(k)[1] - point).max() > _SAME_KPOINT:
            return f"k-point {k + 1} is another one"
    return None
